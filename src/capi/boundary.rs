//! What the exported functions share: panics, C strings, and owned strings.

use crate::error::{Error, Status};
use crate::manifest::Manifest;
use std::ffi::{CStr, c_char};
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
