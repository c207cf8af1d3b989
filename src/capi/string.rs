//! Owned strings: manifests and reports.

use super::boundary::guarded;
use crate::local;
use crate::manifest::{HostValue, Manifest, Value};
use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{NonNull, null_mut};

/// Frees a string that this library returned.
///
/// Each returned string is to be freed once, on any thread, also after mc_free(), and also in
/// destructors that run at thread exit or process exit. Do not use the pointer afterwards, and
/// never pass it to free(). NULL is allowed.
///
/// Each thread keeps references to up to 1024 strings, 1 MiB together, to return them again
/// quickly; the list of them takes 36 KiB. Such a string can stay in memory after it was freed and
/// cleared, until the thread uses its place for another string or ends.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_free(string: *const c_char) {
    if let Some(string) = NonNull::new(string.cast_mut()) {
        // SAFETY: the caller got it from this library and frees it once.
        let manifest = unsafe { Manifest::from_raw(string) };
        let _ = guarded(|| local::give_back(manifest));
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

/// A function of the host that destroys a value; see mc_string_attach().
pub type mc_destroy = Option<unsafe extern "C-unwind" fn(value: *mut c_void)>;

/// Returns the value that is attached to a manifest, if it is of this type; NULL otherwise.
///
/// type is any address that stands for a type: in C usually that of a static variable, in C++ that
/// of an inline variable of a template. Only the address counts, so that no value is ever taken for
/// one of another type, also across shared objects.
///
/// The value is borrowed as long as the caller holds the string, or as long as the string is valid
/// if it is borrowed itself. This costs a hit next to nothing: it takes no lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_value(
    manifest: *const c_char,
    r#type: *const c_void,
) -> *mut c_void {
    // SAFETY: the caller owns or borrows this string during the call.
    let manifest = unsafe { borrowed(manifest) };
    manifest.and_then(|manifest| value_of(&manifest, r#type)).unwrap_or(null_mut())
}

/// Attaches a value to a manifest, if it has none yet. A manifest keeps the first value that is
/// attached to it, by this function or by mc_load_value().
///
/// Returns the value that is attached now, if it is of this type: the given one, or the one that
/// another thread attached before. Returns NULL if that is of another type, or if manifest or type
/// is NULL. The value is borrowed as mc_string_value() says.
///
/// The library takes the value over in any case, and calls destroy(value) once in each process: at
/// once if the value was not attached; otherwise after the last string of the manifest was freed
/// and the cache has dropped it. A forked child destroys its own copy. destroy may be NULL.
///
/// destroy runs on whatever thread that happens, within any function of this library or at the exit
/// of a thread, with no lock held. It may call any function of this library, but must not be left
/// by an exception or longjmp(). It must not close the shared object that its own code is in. A
/// value must not own a string of its own manifest: neither would ever be freed.
///
/// A thread that keeps references to a manifest with a value (see mc_string_free()) lets go of them
/// at its next mc_get(), mc_begin(), mc_revision() or mc_string_free() after the manifest was
/// cleared or replaced; the thread that cleared or replaced it does so at once. So a thread that is
/// idle keeps such a value until it calls one of these or ends, and what is still kept at the end
/// of the process is not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_string_attach(
    manifest: *const c_char,
    r#type: *const c_void,
    value: *mut c_void,
    destroy: mc_destroy,
) -> *mut c_void {
    let value = HostValue { kind: r#type, value, destroy };
    // SAFETY: the caller owns or borrows this string during the call.
    let manifest = unsafe { borrowed(manifest) };
    manifest.and_then(|manifest| attach(&manifest, value)).unwrap_or(null_mut())
}

fn value_of(manifest: &Manifest, kind: *const c_void) -> Option<*mut c_void> {
    match manifest.attached()? {
        Value::Host(host) if host.kind == kind => Some(host.value),
        _ => None,
    }
}

/// Attaches a value, or destroys it; returns the one that is attached, if it is of this type.
pub(super) fn attach(manifest: &Manifest, value: HostValue) -> Option<*mut c_void> {
    let kind = value.kind;
    if !kind.is_null() {
        drop(manifest.attach_value(Value::Host(value)));
    }
    value_of(manifest, kind)
}

/// # Safety
/// `string` is NULL or came from this library and stays valid while the result is used.
unsafe fn borrowed(string: *const c_char) -> Option<ManuallyDrop<Manifest>> {
    // SAFETY: the caller's promise; the reference is not given up, as the result is never dropped.
    NonNull::new(string.cast_mut()).map(|s| ManuallyDrop::new(unsafe { Manifest::from_raw(s) }))
}
