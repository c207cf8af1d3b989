//! `mc_status` and `mc_error`.

use crate::error::{Error, Status, char_boundary};
use std::ffi::c_char;

/// How a call ended: one of the status constants, MC_OK to MC_PENDING.
pub type mc_status = i32;

/// The call succeeded.
pub const MC_OK: mc_status = 0;
/// There is no such plugin or no such file; or the loader is NULL and the cache has no fresh
/// manifest.
pub const MC_NOT_FOUND: mc_status = 1;
/// An argument is invalid: NULL where that is not allowed, an id that is not UTF-8, an unknown
/// option or a value that it does not allow, an id or file name that mc_load_directory() cannot
/// use, or mc_load_unchanged() with nothing cached.
pub const MC_INVALID_ARGUMENT: mc_status = 2;
/// The manifest is not a JSON object in UTF-8 in the syntax that MC_OPT_SYNTAX selects, or is too
/// large. Unless it is too large, line and column of the error say where it is wrong.
pub const MC_INVALID_MANIFEST: mc_status = 3;
/// The loader failed, gave no answer or threw an exception, or its file could not be read; or the
/// cache was freed before the load ended.
pub const MC_LOAD_FAILED: mc_status = 4;
/// The load would have waited for itself. The message names the cycle (a -> b -> a).
pub const MC_LOAD_CYCLE: mc_status = 5;
/// Another caller's load of this plugin did not end within MC_OPT_WAIT_MS.
pub const MC_TIMEOUT: mc_status = 6;
/// A bug in this library; please report it. Any function that reports a status can report it.
pub const MC_INTERNAL: mc_status = 7;
/// The call returned an expired manifest, as MC_OPT_STALE_IF_ERROR_MS allows. The message says why
/// its reload failed.
pub const MC_STALE: mc_status = 8;
/// mc_begin() or mc_begin_async() began a load, which the caller is to answer and to end with
/// mc_end(). This is no error.
pub const MC_BEGUN: mc_status = 9;
/// mc_begin_async() waits for the load of another caller, and its mc_done function will receive the
/// outcome. This is no error.
pub const MC_PENDING: mc_status = 10;

const _: () = assert!(
    MC_NOT_FOUND == Status::NotFound as mc_status
        && MC_INVALID_ARGUMENT == Status::InvalidArgument as mc_status
        && MC_INVALID_MANIFEST == Status::InvalidManifest as mc_status
        && MC_LOAD_FAILED == Status::LoadFailed as mc_status
        && MC_LOAD_CYCLE == Status::LoadCycle as mc_status
        && MC_TIMEOUT == Status::Timeout as mc_status
        && MC_INTERNAL == Status::Internal as mc_status
        && MC_STALE == Status::Stale as mc_status
);

/// What went wrong. The caller provides these 512 bytes, for instance on the stack, and need not
/// initialize them.
///
/// A function that takes an mc_error fills it whenever it returns, also with MC_OK. It leaves it
/// unchanged only when an exception of a loader passes through. With MC_STALE, code, line and
/// column are those of the reload that failed.
#[repr(C)]
pub struct mc_error {
    /// The kind of error, or MC_OK.
    pub status: mc_status,
    /// errno of a file operation, or the code given to mc_load_fail(), which can be any number; 0
    /// if there is none.
    pub code: i32,
    /// Line of the manifest, from 1; 0 if the error has no place in the manifest.
    pub line: u32,
    /// Column in that line in bytes, from 1; 0 if the error has no place in the manifest.
    pub column: u32,
    /// One line of UTF-8 for a person. It names the plugin and the file, and is empty with MC_OK.
    /// Long ids and paths are shortened in the middle; control characters are escaped.
    pub message: [c_char; 496],
}

/// The status of a result.
pub(super) fn status_of<T>(result: &Result<T, Error>) -> mc_status {
    result.as_ref().map_or_else(|error| error.status() as mc_status, |_| MC_OK)
}

/// Fills the caller's `mc_error`; without an error it says `MC_OK`.
///
/// # Safety
/// `target` is NULL or points to an `mc_error` that only this call uses.
#[inline]
pub(super) unsafe fn fill(target: *mut mc_error, error: Option<&Error>) {
    match error {
        _ if target.is_null() => {}
        // SAFETY: the caller's promise.
        Some(error) => unsafe { fill_with(target, error) },
        // SAFETY: the caller's promise; field by field, as the memory may be uninitialized.
        None => unsafe {
            (&raw mut (*target).status).write(MC_OK);
            (&raw mut (*target).code).write(0);
            (&raw mut (*target).line).write(0);
            (&raw mut (*target).column).write(0);
            (&raw mut (*target).message).cast::<c_char>().write(0);
        },
    }
}

#[cold]
unsafe fn fill_with(target: *mut mc_error, error: &Error) {
    let whole = mc_error {
        status: error.status() as mc_status,
        code: error.code(),
        line: error.line(),
        column: error.column(),
        message: c_message(error.message()),
    };
    // SAFETY: as for `fill`.
    unsafe { target.write(whole) };
}

fn c_message(text: &str) -> [c_char; 496] {
    let mut message = [0; 496];
    let fitting = &text[..char_boundary(text, message.len() - 1)];
    for (to, from) in message.iter_mut().zip(fitting.bytes()) {
        *to = from as c_char;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_512_bytes() {
        assert_eq!(size_of::<mc_error>(), 512);
    }

    #[test]
    fn a_message_is_cut_between_characters_and_ends_in_a_nul() {
        let message = c_message(&format!("x{}", "ä".repeat(300)));
        let bytes: Vec<u8> = message.iter().map(|c| *c as u8).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        assert_eq!(end, 495);
        assert!(std::str::from_utf8(&bytes[..end]).is_ok());
        assert_eq!(c_message(&"ä".repeat(300))[494], 0, "half a character is left out");
    }
}
