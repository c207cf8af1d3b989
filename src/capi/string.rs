//! Owned strings: manifests and reports.

use super::guarded;
use crate::local;
use crate::manifest::Manifest;
use std::ffi::c_char;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Gives back a string that this library returned.
///
/// Each returned string is given back once, from any thread, also after mc_free() and in
/// destructors that run at thread exit or process exit. Afterwards the pointer must not be
/// used. Never pass it to free(). NULL is fine.
///
/// To hand them out again, a thread may keep up to 16 strings, of 256 KiB together, allocated
/// after they were given back and cleared; it lets them go when it ends.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_free(string: *const c_char) {
    if let Some(string) = NonNull::new(string.cast_mut()) {
        // SAFETY: the caller got it from this library and gives it back once.
        let manifest = unsafe { Manifest::from_raw(string) };
        let _ = guarded(|| local::try_with(|local| local.magazine.give_back(manifest)));
    }
}

/// Length in bytes of a string that this library returned, without counting them and without
/// the NUL at the end.
///
/// Only for such strings, not for others; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_len(string: *const c_char) -> usize {
    // SAFETY: the caller owns this string for the time of the call; it is only looked at, not taken
    // back.
    let manifest = NonNull::new(string.cast_mut())
        .map(|s| ManuallyDrop::new(unsafe { Manifest::from_raw(s) }));
    manifest.map_or(0, |manifest| manifest.len())
}

/// The revision of a manifest that mc_get() returned: a number that it was given when it was
/// made, unique among all caches of the process, never used again, and never 0.
///
/// Only for such strings; 0 for NULL and for what mc_stats() or mc_entries() returned.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_revision(string: *const c_char) -> u64 {
    // SAFETY: the caller owns this string for the time of the call; it is only looked at, not taken
    // back.
    let manifest = NonNull::new(string.cast_mut())
        .map(|s| ManuallyDrop::new(unsafe { Manifest::from_raw(s) }));
    manifest.map_or(0, |manifest| manifest.revision())
}
