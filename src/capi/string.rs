//! Owned strings: manifests and reports.

use super::boundary::guarded;
use crate::local;
use crate::manifest::Manifest;
use std::ffi::c_char;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Frees a string that this library returned.
///
/// Each returned string is to be freed once, on any thread, also after mc_free(), and also in
/// destructors that run at thread exit or process exit. Do not use the pointer afterwards, and
/// never pass it to free(). NULL is allowed.
///
/// Each thread keeps references to up to 1024 strings, 768 KiB together, to return them again
/// quickly; the list of them takes 37 KiB. Such a string can stay in memory after it was freed and
/// cleared, until the thread uses its place for another string or ends.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_free(string: *const c_char) {
    if let Some(string) = NonNull::new(string.cast_mut()) {
        // SAFETY: the caller got it from this library and frees it once.
        let manifest = unsafe { Manifest::from_raw(string) };
        let _ = guarded(|| local::try_with(|local| local.magazine.give_back(manifest)));
    }
}

/// Returns the length in bytes of a string that this library returned, without the NUL at its end.
/// The length is stored, so the string is not searched. Returns 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_len(string: *const c_char) -> usize {
    // SAFETY: the caller owns or borrows this string during the call.
    unsafe { borrowed(string) }.map_or(0, |manifest| manifest.len())
}

/// Returns the revision of a manifest that mc_get() returned. A manifest gets its revision when it
/// is made. Revisions are unique among all caches of the process, never used again, and never 0.
///
/// Returns 0 for NULL and for what mc_stats() or mc_entries() returned.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_revision(string: *const c_char) -> u64 {
    // SAFETY: the caller owns or borrows this string during the call.
    unsafe { borrowed(string) }.map_or(0, |manifest| manifest.revision())
}

/// # Safety
/// `string` is NULL or came from this library and stays valid while the result is used.
unsafe fn borrowed(string: *const c_char) -> Option<ManuallyDrop<Manifest>> {
    // SAFETY: the caller's promise; the reference is not given up, as the result is never dropped.
    NonNull::new(string.cast_mut()).map(|s| ManuallyDrop::new(unsafe { Manifest::from_raw(s) }))
}
