//! Loads that have ended. Using one is an error of the host. In debug builds the memory of the last
//! loads that ended is kept for a while, so that such a use is noticed.

use super::load::mc_load;

/// Ends the process, because the host used a load that has ended.
#[cold]
pub(super) fn used() -> ! {
    eprintln!("manifest cache: an mc_load was used after mc_end() had ended it; set it to NULL");
    std::process::abort();
}

/// Frees a load that has ended.
///
/// # Safety
/// It came from `Box::into_raw`, and the caller does not use it again.
#[cfg(not(debug_assertions))]
pub(super) unsafe fn free(load: *mut mc_load) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(load) });
}

/// Frees the load that ended 64 loads ago, and keeps this one until then.
///
/// # Safety
/// It came from `Box::into_raw`, and the caller does not use it again.
#[cfg(debug_assertions)]
pub(super) unsafe fn free(load: *mut mc_load) {
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    static KEPT: [AtomicPtr<mc_load>; 64] = [const { AtomicPtr::new(null_mut()) }; 64];
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    let slot = &KEPT[NEXT.fetch_add(1, Ordering::Relaxed) % KEPT.len()];
    let oldest = slot.swap(load, Ordering::AcqRel);
    if !oldest.is_null() {
        // SAFETY: the caller of that time promised the same, and the swap gave it to us alone.
        drop(unsafe { Box::from_raw(oldest) });
    }
}
