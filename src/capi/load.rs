//! `mc_load`: what a loader answers.

use super::boundary::{bytes, guarded, invalid_argument, slice};
use super::ended;
use super::error::{MC_INTERNAL, MC_INVALID_ARGUMENT, MC_OK, mc_status, status_of};
use super::string::{attach, mc_destroy};
use crate::cache::LoadGuard;
use crate::error::Error;
use crate::load::answer::Load;
use crate::load::outcome::Outcome;
use crate::load::within::Within;
use crate::manifest::HostValue;
use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

/// A load in progress. The loader, or the caller of mc_begin(), answers it with the mc_load_
/// functions; the last answer counts.
///
/// A load that a loader is given is valid only until the loader returns, and only on the thread
/// that runs the loader. A load from mc_begin() or mc_begin_async() is valid until mc_end(), on any
/// thread, but on one thread at a time. It must be ended: until then, who gets the plugin waits.
pub struct mc_load {
    /// None if it has ended.
    guard: Option<LoadGuard>,
    ends: Ends,
}

/// Who ends a load.
#[derive(PartialEq)]
enum Ends {
    /// `mc_get`, on whose stack it is, when its loader has returned.
    WithLoader,
    /// The host, by `mc_end`.
    ByHost,
}

impl mc_load {
    pub(super) fn for_loader(mut guard: LoadGuard) -> Self {
        guard.leave_to_loader();
        mc_load { guard: Some(guard), ends: Ends::WithLoader }
    }

    pub(super) fn for_host(guard: LoadGuard) -> *mut Self {
        Box::into_raw(Box::new(mc_load { guard: Some(guard), ends: Ends::ByHost }))
    }

    pub(super) fn end(&mut self) -> Outcome {
        self.guard.take().unwrap_or_else(|| ended::used()).end()
    }

    /// Ends a load of the host, and sets its pointer to NULL.
    ///
    /// # Safety
    /// `load` is NULL, or `*load` is NULL or a load that this call alone uses.
    pub(super) unsafe fn end_of(load: *mut *mut mc_load) -> Outcome {
        // SAFETY: the caller's promise.
        let Some(live) = (unsafe { load.as_ref().and_then(|load| load.as_mut()) }) else {
            let what = "mc_end was given NULL; give it the address of a load that has not ended";
            return Err(invalid_argument(what));
        };
        if live.ends == Ends::WithLoader {
            let what = "mc_end was given the load of a loader; mc_get ends it when the loader \
                returns";
            return Err(invalid_argument(what));
        }
        let guard = live.guard.take().unwrap_or_else(|| ended::used());
        // SAFETY: the caller's promise; `for_host` made the pointer from a box.
        unsafe { ended::free(load.replace(null_mut())) };
        guard.end()
    }
}

/// The load that waits for a call, as the host says it.
///
/// # Safety
/// `within` is NULL, MC_THREAD, or a load that does not end for the `'a` that the caller uses it.
pub(super) unsafe fn within_of<'a>(within: *const mc_load) -> Within<'a> {
    const THREAD: usize = 1;
    match within.addr() {
        0 => Within::NOTHING,
        THREAD => Within::THREAD,
        // SAFETY: the caller's promise.
        _ => unsafe { live(&(*within).guard) }.within(),
    }
}

/// The load, which the host must not use after its end.
fn live(guard: &Option<LoadGuard>) -> &Load {
    guard.as_ref().unwrap_or_else(|| ended::used())
}

/// A function of the host that brings a plugin's manifest. mc_get() calls it when the cache has no
/// fresh manifest.
///
/// It runs on the thread that called mc_get(), with no lock held, and answers through load. If it
/// returns without an answer, the load fails with MC_LOAD_FAILED. plugin_id and user_data are the
/// pointers that mc_get() was given.
///
/// It may call any function of this library on any cache, also mc_get() and mc_begin() for other
/// plugins, except mc_free() on the cache that called it. If the loader waits for another thread,
/// and that thread gets the same plugin, both wait until the call of the other thread returns
/// MC_TIMEOUT.
///
/// A C++ exception may leave the loader only if host and library use the same unwinder, as they do
/// when both are linked to the shared libgcc_s. With another one (-static-libgcc, LLVM's libunwind)
/// the process aborts. The exception passes through mc_get() to the caller, and threads that wait
/// for this load get MC_LOAD_FAILED. The classes of manifest_cache.hpp let no exception through
/// mc_get() and work with any unwinder.
///
/// longjmp(), pthread_exit(), pthread_cancel() and the like (a Go panic that is recovered in a
/// caller, an exception of Mono, Ruby's throw, Lua's error) must not leave the loader. They skip
/// the library's clean-up, so this load never ends: later calls for this plugin return MC_TIMEOUT,
/// or MC_LOAD_CYCLE on the same thread. Such hosts use mc_begin() and mc_end().
pub type mc_loader = Option<
    unsafe extern "C-unwind" fn(
        plugin_id: *const c_char,
        load: *mut mc_load,
        user_data: *mut c_void,
    ),
>;

/// Answers with the manifest itself: len bytes at json, which are copied. They need not end with a
/// NUL.
///
/// Returns MC_OK; MC_INVALID_MANIFEST if the text is not a JSON object in UTF-8 in the syntax that
/// MC_OPT_SYNTAX selects, or is longer than MC_OPT_MAX_MANIFEST_BYTES (16 MiB by default);
/// MC_INVALID_ARGUMENT if json is NULL or len is above PTRDIFF_MAX. After an error the load fails
/// with it, unless the loader gives another answer. An object without members ({}) is returned but
/// not cached.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_json(
    load: *mut mc_load,
    json: *const c_char,
    len: usize,
) -> mc_status {
    const MISUSE: &str =
        "mc_load_json was given NULL or a length above PTRDIFF_MAX; give it the JSON text";
    // SAFETY: the caller has a live load and `len` bytes.
    unsafe {
        answer(load, |load| match slice(json, len) {
            Some(json) => load.json(json),
            None => load.misused(MISUSE),
        })
    }
}

/// Answers with the content of the file at path, as mc_load_json() does.
///
/// Returns what mc_load_json() returns, and also MC_NOT_FOUND if there is no such file or the path
/// is too long for one, or MC_LOAD_FAILED if it cannot be read or is not a regular file (a
/// directory, a FIFO, a device). The error's code is then the errno of the operation that failed.
///
/// The call never blocks on a FIFO or a device. If another process holds a lease on the file, as
/// file servers do, it waits until that process or the kernel ends the lease, as open() does.
///
/// The cache remembers with the entry which file it read. When the entry has expired and the file
/// is still the same (path, device, inode, size, times), the entry is renewed and the file is not
/// read. The file is read again if it could have changed without a change of these: if it changed
/// less than 100 ms before it was read (2.1 s where times are whole seconds), and always on a file
/// system that is not known to be local (NFS, SMB, FUSE). Equal bytes count as unchanged too. A
/// file longer than MC_OPT_MAX_MANIFEST_BYTES is refused even if it is unchanged and was shorter
/// than that option before.
///
/// To change a file, write a new one and rename it over the old one: that is always noticed, and no
/// reader sees half of it. A file that changes while it is read is read again, at most twice; then
/// the load fails with MC_LOAD_FAILED. A file read when half of it was written is
/// MC_INVALID_MANIFEST, unless that half happens to be a valid manifest.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_file(load: *mut mc_load, path: *const c_char) -> mc_status {
    const MISUSE: &str = "mc_load_file was given NULL; give it the path of the manifest's file";
    // SAFETY: the caller has a live load and a C string or NULL.
    unsafe {
        answer(load, |load| match bytes(path) {
            Some(path) => load.file(Path::new(OsStr::from_bytes(path))),
            None => load.misused(MISUSE),
        })
    }
}

/// Answers with the content of the file root/plugin_id/manifest.json, as mc_load_file() does. The
/// plugin id is one plain component of a path, or two that are separated by a slash if the first
/// one begins with an at sign, as in the scoped names of npm.
///
/// Returns what mc_load_file() returns, and also MC_INVALID_ARGUMENT, without touching any file, if
/// the plugin id is anything else. A plain component is not empty, ".", or "..", and contains no
/// slash and no backslash.
///
/// To search several directories, call it for one after the other until it does not return
/// MC_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_directory(
    load: *mut mc_load,
    root: *const c_char,
) -> mc_status {
    const MISUSE: &str =
        "mc_load_directory was given NULL; give it the directory that holds the plugins";
    // SAFETY: the caller has a live load and a C string or NULL.
    unsafe {
        answer(load, |load| match bytes(root) {
            Some(root) => load.directory(Path::new(OsStr::from_bytes(root))),
            None => load.misused(MISUSE),
        })
    }
}

/// Answers with the content of the file root/plugin_id/name, as mc_load_directory() does with the
/// name manifest.json.
///
/// Returns what mc_load_directory() returns, and MC_INVALID_ARGUMENT, without touching any file,
/// also if the name is not one plain component of a path.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_directory_file(
    load: *mut mc_load,
    root: *const c_char,
    name: *const c_char,
) -> mc_status {
    const MISUSE: &str = "mc_load_directory_file was given NULL; give it the directory that holds \
        the plugins, and the name of the file that each has";
    // SAFETY: the caller has a live load and C strings or NULL.
    unsafe {
        answer(load, |load| match (bytes(root), bytes(name)) {
            (Some(root), Some(name)) => {
                load.directory_file(Path::new(OsStr::from_bytes(root)), OsStr::from_bytes(name))
            }
            _ => load.misused(MISUSE),
        })
    }
}

/// Answers that there is no such plugin: mc_get() returns NULL with MC_NOT_FOUND. The cache
/// remembers this only if MC_OPT_NEGATIVE_TTL_MS is set.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_not_found(load: *mut mc_load) {
    // SAFETY: the caller has a live load.
    unsafe { tell(load, Load::not_found) }
}

/// Answers that the load failed: mc_get() returns NULL with MC_LOAD_FAILED. The error's code is
/// code, which can be any number; 0 means none. The error's message contains message, which is
/// copied, is UTF-8 and may be NULL.
///
/// A loader can refuse in this way what it has just answered with: it lets mc_load_directory() read
/// the manifest, checks mc_load_text(), and fails the load. With MC_OPT_STALE_IF_ERROR_MS the last
/// good manifest then stays in use, with its value.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_fail(
    load: *mut mc_load,
    code: i32,
    message: *const c_char,
) {
    // SAFETY: the caller has a live load and a C string or NULL.
    unsafe {
        let message = bytes(message).unwrap_or_default();
        tell(load, |load| load.fail(code, &String::from_utf8_lossy(message)));
    }
}

/// Gives the manifest of this load a time to live of its own, in milliseconds. It may be called
/// before or after the answer. With MC_TTL_FOREVER the manifest never expires; with 0 nothing
/// of this load is cached, not even a failure or "not found". The last call counts.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_ttl(load: *mut mc_load, ttl_ms: u64) {
    // SAFETY: the caller has a live load.
    unsafe { tell(load, |load| load.ttl_ms(ttl_ms)) }
}

/// Returns the expired manifest that this load is to replace, or NULL if the cache has none. The
/// string is borrowed until the load ends; do not free it. mc_string_len() and mc_string_revision()
/// accept it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_cached(load: *const mc_load) -> *const c_char {
    // SAFETY: the caller has a live load or NULL.
    let load = unsafe { load.as_ref() };
    load.and_then(|load| live(&load.guard).cached())
        .map_or(null(), |manifest| manifest.as_c_str().as_ptr())
}

/// Answers that the expired manifest is still right. The cache keeps it, with its revision, for
/// another time to live: the one that mc_load_ttl() sets in this load, or else the one that
/// mc_load_ttl() gave it before, or else MC_OPT_TTL_MS.
///
/// Returns MC_OK, or MC_INVALID_MANIFEST if the expired manifest is longer than
/// MC_OPT_MAX_MANIFEST_BYTES, or MC_INVALID_ARGUMENT if there is none; then the load fails.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_unchanged(load: *mut mc_load) -> mc_status {
    // SAFETY: the caller has a live load.
    unsafe { answer(load, Load::unchanged) }
}

/// Returns the manifest that this load is answered with so far, or NULL if it is answered with
/// none. So a host can decode or check what mc_load_directory() read, and refuse it with
/// mc_load_fail().
///
/// The string is borrowed until the next answer or the end of the load; do not free it.
/// mc_string_len(), mc_string_revision() and mc_string_value() accept it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_text(load: *const mc_load) -> *const c_char {
    // SAFETY: the caller has a live load or NULL.
    let load = unsafe { load.as_ref() };
    load.and_then(|load| live(&load.guard).manifest())
        .map_or(null(), |manifest| manifest.as_c_str().as_ptr())
}

/// Attaches a value of the host, usually what it decoded, to the manifest that this load is
/// answered with. mc_string_value() returns it from then on, for this manifest. type is any address
/// that stands for the type of the value, such as that of a static variable; see mc_string_value().
///
/// The library takes the value over in any case, and calls destroy(value) once when it is not
/// needed any more: after the last string of the manifest was freed and the cache has dropped it,
/// or at once if the value is not attached. mc_string_attach() says more. destroy may be NULL.
///
/// A manifest that was found unchanged keeps the value that it has, and the new one is destroyed;
/// look with mc_string_value(mc_load_text(load), type) before you decode again. If another answer
/// replaces the manifest, its value is destroyed.
///
/// Returns MC_OK if the manifest has a value of this type now, or else MC_INVALID_ARGUMENT: the
/// load is not answered with a manifest, its manifest has a value of another type, or load or type
/// is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_load_value(
    load: *mut mc_load,
    r#type: *const c_void,
    value: *mut c_void,
    destroy: mc_destroy,
) -> mc_status {
    let value = HostValue { kind: r#type, value, destroy };
    // SAFETY: the caller has a live load or NULL.
    let load = unsafe { load.as_ref() };
    let manifest = load.and_then(|load| live(&load.guard).manifest());
    match manifest.and_then(|manifest| attach(manifest, value)) {
        Some(_) => MC_OK,
        None => MC_INVALID_ARGUMENT,
    }
}

/// # Safety
/// `load` is NULL or a load that has not ended and that only this thread uses.
unsafe fn answer(
    load: *mut mc_load,
    give: impl FnOnce(&mut Load) -> Result<(), Error>,
) -> mc_status {
    // SAFETY: the caller's promise. `mc_get` does not touch its load while the loader runs.
    match unsafe { load.as_mut() } {
        None => MC_INVALID_ARGUMENT,
        Some(load) => {
            let load = load.guard.as_mut().unwrap_or_else(|| ended::used());
            guarded(|| give(load)).map_or(MC_INTERNAL, |given| status_of(&given))
        }
    }
}

/// The same for what cannot fail.
///
/// # Safety
/// As for `answer`.
unsafe fn tell(load: *mut mc_load, give: impl FnOnce(&mut Load)) {
    // SAFETY: the caller's promise.
    unsafe {
        answer(load, |load| {
            give(load);
            Ok(())
        });
    }
}
