//! `mc_load`: what a loader answers.

use super::{MC_INTERNAL, MC_INVALID_ARGUMENT, MC_OK, bytes, guarded, mc_status, slice};
use crate::{Error, Load};
use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A load in progress, to be answered by the loader that was given it with the mc_load_
/// functions.
///
/// Valid only until the loader returns, and only on the thread that called it. The last answer
/// stands.
pub struct mc_load {
    _opaque: (),
}

/// Brings a plugin's manifest: called by mc_get() when there is no fresh one.
///
/// It runs on the thread that called mc_get(), with no lock held, and answers through load. If
/// it returns without an answer, the load has failed (MC_LOAD_FAILED). plugin_id is the pointer
/// that mc_get() was given, user_data likewise.
///
/// It may call any function of this library on any cache, mc_get() for other plugins included,
/// except mc_free() on the cache that called it. Waiting for another thread that calls mc_get()
/// for the same plugin ends only with MC_TIMEOUT.
///
/// A C++ exception may leave it: it passes through mc_get() to its caller, and threads that
/// waited get MC_LOAD_FAILED. It must not be left by longjmp(), pthread_exit(),
/// pthread_cancel() and their kin (a Go panic recovered further up, an exception of Mono, Ruby's
/// throw, Lua's error): they skip the clean-up, and later calls for this plugin end with
/// MC_TIMEOUT, or on the same thread with MC_LOAD_CYCLE.
pub type mc_loader = Option<
    unsafe extern "C-unwind" fn(
        plugin_id: *const c_char,
        load: *mut mc_load,
        user_data: *mut c_void,
    ),
>;

/// Answers with the manifest itself, of which len bytes from json on are copied. The caller
/// keeps its buffer; no NUL need end it.
///
/// Returns MC_OK, or MC_INVALID_MANIFEST at once if the text is not a JSON object (RFC 8259) in
/// UTF-8 or is longer than MC_OPT_MAX_MANIFEST_BYTES (16 MiB at first), or MC_INVALID_ARGUMENT for
/// NULL or a len that no object in memory can have; this is then what mc_get() returns too,
/// unless another answer follows. An object without members ({}) is handed out but not cached.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_json(
    load: *mut mc_load,
    json: *const c_char,
    len: usize,
) -> mc_status {
    // SAFETY: the caller of this function has a live load and `len` bytes.
    unsafe {
        answer(load, |load| match slice(json, len) {
            Some(json) => load.json(json),
            None => load
                .misused("mc_load_json was given NULL or a negative length; give it the JSON text"),
        })
    }
}

/// Answers with the content of the file at path, as by mc_load_json().
///
/// Returns the same, and also MC_NOT_FOUND if there is no such file, or MC_LOAD_FAILED if it
/// cannot be read or is not a regular file (a directory, a FIFO, a device). What errno said of
/// it is in the error's code. Never blocks on a FIFO or device.
///
/// What was read is remembered with the entry: when it has expired and the file is still the
/// same (path, device, inode, size, times), it is renewed without being read. A file that
/// changed less than 100 ms before it was read is read again; equal bytes are unchanged too.
///
/// A file replaced by rename is always seen, and seen whole. One that changes while it is read
/// is read again, twice at most, then it is MC_LOAD_FAILED; one caught half-written is
/// MC_INVALID_MANIFEST. A rewrite in place that leaves a valid manifest halfway cannot be told
/// from a whole one, so rename.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_file(load: *mut mc_load, path: *const c_char) -> mc_status {
    // SAFETY: the caller of this function has a live load and a C string or NULL.
    unsafe {
        answer(load, |load| match bytes(path) {
            Some(path) => load.file(Path::new(OsStr::from_bytes(path))),
            None => {
                load.misused("mc_load_file was given NULL; give it the path of the manifest's file")
            }
        })
    }
}

/// Answers with the content of the file root/plugin_id/manifest.json, as by mc_load_file().
///
/// Returns the same, and MC_INVALID_ARGUMENT without touching any file if the plugin id is not
/// one plain component of a path: empty, ".", "..", or with a slash or backslash in it.
///
/// To look in several directories, call it for one after the other until it does not return
/// MC_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_directory(
    load: *mut mc_load,
    root: *const c_char,
) -> mc_status {
    // SAFETY: the caller of this function has a live load and a C string or NULL.
    unsafe {
        answer(load, |load| match bytes(root) {
            Some(root) => load.directory(Path::new(OsStr::from_bytes(root))),
            None => load.misused(
                "mc_load_directory was given NULL; give it the directory that holds the plugins",
            ),
        })
    }
}

/// Answers that there is no such plugin: mc_get() returns NULL with MC_NOT_FOUND. That is
/// cached only with MC_OPT_NEGATIVE_TTL_MS.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_not_found(load: *mut mc_load) {
    let not_found = |load: &mut Load| {
        load.not_found();
        Ok(())
    };
    // SAFETY: the caller of this function has a live load.
    unsafe { answer(load, not_found) };
}

/// Answers that the load failed: mc_get() returns NULL with MC_LOAD_FAILED, the code given here
/// in the error's code, and the message, which is copied, in the error's message. The code can
/// be any number; 0 stands for none. The message may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_fail(
    load: *mut mc_load,
    code: i32,
    message: *const c_char,
) {
    // SAFETY: the caller of this function has a live load and a C string or NULL.
    unsafe {
        answer(load, |load| {
            load.fail(code, &String::from_utf8_lossy(bytes(message).unwrap_or_default()));
            Ok(())
        })
    };
}

/// Gives the manifest that this load brings a time to live of its own, in milliseconds, before
/// or after it is answered; MC_TTL_FOREVER is for ever, with 0 it is not cached.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_ttl(load: *mut mc_load, ttl_ms: u64) {
    let own_ttl = |load: &mut Load| {
        load.ttl_ms(ttl_ms);
        Ok(())
    };
    // SAFETY: the caller of this function has a live load.
    unsafe { answer(load, own_ttl) };
}

/// The expired manifest that this load is to replace, or NULL if there is none. It is borrowed
/// for the time of the load, and must not be given back. mc_string_len() and
/// mc_string_revision() may be used on it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_cached(load: *const mc_load) -> *const c_char {
    // SAFETY: the caller of this function has a live load.
    let load = unsafe { load.cast::<Load>().as_ref() };
    load.and_then(Load::cached).map_or(std::ptr::null(), |manifest| manifest.as_c_str().as_ptr())
}

/// Answers that the expired manifest is still right: it is kept, with its revision, for another
/// time to live (its own, if it had one).
///
/// Returns MC_OK, or MC_INVALID_ARGUMENT if there is none, with which the load fails.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_unchanged(load: *mut mc_load) -> mc_status {
    // SAFETY: the caller of this function has a live load.
    unsafe { answer(load, Load::unchanged) }
}

/// # Safety
/// `load` is NULL or what the running loader was given, used on its thread.
unsafe fn answer(
    load: *mut mc_load,
    give: impl FnOnce(&mut Load) -> Result<(), Error>,
) -> mc_status {
    // SAFETY: `mc_get` made this pointer from its own `Load` and does not touch that while the
    // loader runs.
    match unsafe { load.cast::<Load>().as_mut() } {
        None => MC_INVALID_ARGUMENT,
        Some(load) => match guarded(|| give(load)) {
            Ok(Ok(())) => MC_OK,
            Ok(Err(error)) => error.status() as mc_status,
            Err(_) => MC_INTERNAL,
        },
    }
}
