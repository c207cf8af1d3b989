//! What the exported functions share: panics, C strings, and owned strings.

use super::cache::mc_cache;
use crate::cache::Cache;
use crate::error::{Error, Quoted, Status};
use crate::manifest::Manifest;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;

/// Calls code of this crate. A panic in it is a bug of this crate and becomes an error.
#[inline]
pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| bug())
}

#[cold]
fn bug() -> Error {
    let what = "a bug in the manifest cache: please report it with what was printed on stderr";
    Error::new(Status::Internal, what)
}

/// The bytes of a C string; none for NULL.
///
/// # Safety
/// `text` is NULL or a C string that stays as it is for the `'a` that the caller uses it.
#[inline]
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Exactly `len` bytes; none for NULL, and for a length above `PTRDIFF_MAX`.
///
/// # Safety
/// `start` is NULL or the start of `len` readable bytes that stay as they are for the `'a` that the
/// caller uses them.
pub(super) unsafe fn slice<'a>(start: *const c_char, len: usize) -> Option<&'a [u8]> {
    if start.is_null() || len > isize::MAX as usize {
        return None;
    }
    // SAFETY: the caller's promise; no object in memory is longer than `isize::MAX`.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// An error for arguments that are wrong.
pub(super) fn invalid_argument(what: &str) -> Error {
    Error::new(Status::InvalidArgument, what)
}

/// A text as an owned C string, or NULL after a bug.
pub(super) fn owned(text: impl FnOnce() -> String) -> *const c_char {
    guarded(|| Manifest::report(&text())).map_or(null(), Manifest::into_raw)
}

/// The cache behind the host's pointer; none for NULL.
///
/// # Safety
/// `cache` is NULL or from `mc_new`, and is not freed for the `'a` that the caller uses it.
#[inline]
pub(super) unsafe fn cache_of<'a>(cache: *const mc_cache) -> Option<&'a Cache> {
    // SAFETY: the caller's promise; `mc_new` made this pointer from an `Arc<Cache>`.
    unsafe { cache.cast::<Cache>().as_ref() }
}

/// An id, if the caller gave one and it is UTF-8.
pub(super) fn utf8<'a>(id: Option<&'a [u8]>, missing: &str) -> Result<&'a str, Error> {
    let id = id.ok_or_else(|| invalid_argument(missing))?;
    std::str::from_utf8(id).map_err(|_| {
        let id = String::from_utf8_lossy(id);
        invalid_argument(&format!("plugin {}: this id is not UTF-8; encode it so", Quoted(&id)))
    })
}

/// What the host wants its own function to be given, on any thread.
pub(super) struct UserData(*mut c_void);

// SAFETY: it is only passed on; the header says on which threads the host's function uses it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    pub(super) fn new(user_data: *mut c_void) -> Self {
        UserData(user_data)
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.0
    }
}
