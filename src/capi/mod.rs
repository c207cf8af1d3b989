//! The C interface: check the arguments, call the safe cache, turn the result into C.
//!
//! Rust's own panics stop here (`guarded`). A loader's exception is not caught but passes through,
//! so every function that calls one is `C-unwind` and keeps `guarded` around our code only, never
//! around the loader.

mod cache;
mod error;
mod load;
mod string;

pub use cache::*;
pub use error::*;
pub use load::*;
pub use string::*;

use crate::{Error, Status};
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs our own code; a panic in it is a bug of ours and becomes an error.
#[inline]
fn guarded<R>(ours: impl FnOnce() -> R) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(ours)).map_err(|_| bug())
}

#[cold]
fn bug() -> Error {
    Error::new(
        Status::Internal,
        "a bug in the manifest cache: please report it with what was printed on stderr",
    )
}

/// The bytes of a C string, none for NULL.
///
/// # Safety
/// `text` is NULL or a C string that stays as it is for the `'a` that the caller uses it.
#[inline]
unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Exactly `len` bytes, none for NULL.
///
/// # Safety
/// `start` is NULL or the start of `len` readable bytes that stay as they are for the `'a` that
/// the caller uses them.
unsafe fn slice<'a>(start: *const c_char, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise; no object in memory is longer than `isize::MAX`.
    (!start.is_null() && len <= isize::MAX as usize)
        .then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
}
