//! `mc_cache`: from `mc_new` to `mc_free`.

use super::boundary::{bytes, guarded, invalid_argument, owned, slice};
use super::error::{fill, mc_error, mc_status, status_of};
use super::load::{mc_load, mc_loader};
use crate::cache::{Cache, Turn};
use crate::error::{Error, Quoted};
use crate::load::outcome::{Fetched, Outcome};
use crate::manifest::Manifest;
use crate::options::CacheOption;
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::time::Duration;

/// A cache of manifests. A process may have any number of them, and any thread may use any of them
/// at any time.
pub struct mc_cache(pub(super) Cache);

/// A time to live of five minutes, in milliseconds.
pub const MC_TTL_DEFAULT: u64 = 300_000;

/// Creates an empty cache. Its manifests stay fresh for ttl_ms milliseconds after their load:
/// MC_TTL_DEFAULT, MC_TTL_FOREVER, or any other number. With 0 the cache keeps nothing, but
/// concurrent calls still share one load.
///
/// Returns the cache, to be freed with mc_free(), or NULL after a bug in this library. When memory
/// runs out, this and all other functions abort the process.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mc_new(ttl_ms: u64) -> *mut mc_cache {
    let new = || {
        let cache = Cache::new(Duration::ZERO);
        let _ = cache.set(CacheOption::TtlMs, ttl_ms);
        Box::into_raw(Box::new(mc_cache(cache)))
    };
    guarded(new).unwrap_or(null_mut())
}

/// Returns the manifest of a plugin, and loads it if the cache has no fresh one.
///
/// A fresh manifest is returned at once: the call takes no lock, does not call the loader and waits
/// for no load. Otherwise the call runs the loader on this thread. If another thread is loading
/// this plugin already, the call waits for that load instead, for at most MC_OPT_WAIT_MS, and
/// shares its outcome. Loads of different plugins run at the same time.
///
/// plugin_id is any UTF-8 string; the empty string is an ordinary id. user_data is passed to the
/// loader. error may be NULL. With a NULL loader the call neither loads nor waits: if the cache has
/// no fresh manifest, it fails with the failure that is remembered, or else with MC_NOT_FOUND.
///
/// Returns the manifest, byte for byte as it was loaded, to be freed with mc_string_free(). The
/// error says MC_OK, or MC_STALE if the manifest has expired (see MC_OPT_STALE_IF_ERROR_MS). The
/// string never changes and stays valid until it is freed, whatever happens to the cache. Several
/// calls may return the same pointer; each of them is to be freed once.
///
/// Returns NULL if there is no manifest. The error says why: MC_NOT_FOUND, MC_INVALID_ARGUMENT,
/// MC_INVALID_MANIFEST, MC_LOAD_FAILED, MC_LOAD_CYCLE, MC_TIMEOUT or MC_INTERNAL. Failures and "not
/// found" are cached only with MC_OPT_FAILURE_TTL_MS and MC_OPT_NEGATIVE_TTL_MS; otherwise the next
/// call loads again. To tell success from failure, compare the pointer with NULL.
///
/// An exception that the loader throws passes through this call, which leaves error unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_get(
    cache: *mut mc_cache,
    plugin_id: *const c_char,
    loader: mc_loader,
    user_data: *mut c_void,
    error: *mut mc_error,
) -> *const c_char {
    // SAFETY: the caller's arguments are NULL or valid for this call, and `error` is its own.
    unsafe {
        match guarded(|| hit(cache, plugin_id)) {
            Ok(Some(manifest)) => {
                fill(error, None);
                manifest.into_raw()
            }
            Ok(None) => into_c(miss(cache, plugin_id, loader, user_data), error),
            Err(bug) => into_c(Err(bug), error),
        }
    }
}

/// # Safety
/// As for `fill`.
#[cold]
unsafe fn into_c(outcome: Outcome, error: *mut mc_error) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        match outcome {
            Ok(Fetched { manifest, stale }) => {
                fill(error, stale.as_ref());
                manifest.into_raw()
            }
            Err(failure) => {
                fill(error, Some(&failure));
                null()
            }
        }
    }
}

/// # Safety
/// The pointers are NULL or valid, as the caller of `mc_get` promises.
#[inline]
unsafe fn hit(cache: *const mc_cache, id: *const c_char) -> Option<Manifest> {
    // SAFETY: the caller's promise.
    let (mc_cache(cache), id) = unsafe { (cache.as_ref()?, bytes(id)?) };
    cache.hit(id)
}

/// # Safety
/// As for `hit`.
#[cold]
unsafe fn miss(
    cache: *const mc_cache,
    plugin_id: *const c_char,
    loader: mc_loader,
    user_data: *mut c_void,
) -> Outcome {
    // SAFETY: the caller's promise.
    let (cache, id) = unsafe { (cache.as_ref(), bytes(plugin_id)) };
    let (mc_cache(cache), id) = both(cache, id, "mc_get was given NULL for the cache or the id")?;
    let Some(loader) = loader else {
        return guarded(|| Err(cache.look_missed(id)))?;
    };
    match guarded(|| cache.miss(id))? {
        Turn::Done(outcome) => outcome,
        Turn::Load(mut guard) => {
            let load = (&raw mut guard.load).cast::<mc_load>();
            // SAFETY: the loader is the caller's; `load` is live and used by nobody else until it
            // returns. If it throws, `guard` is dropped, which ends the load.
            unsafe { loader(plugin_id, load, user_data) };
            guarded(|| guard.end())?
        }
    }
}

/// A cache and an id, if the caller gave both and the id is UTF-8.
fn both<'a>(
    cache: Option<&'a mc_cache>,
    id: Option<&'a [u8]>,
    missing: &str,
) -> Result<(&'a mc_cache, &'a str), Error> {
    let (Some(cache), Some(id)) = (cache, id) else {
        return Err(invalid_argument(&format!("{missing}; both are needed")));
    };
    let not_utf8 = |_| {
        let id = String::from_utf8_lossy(id);
        invalid_argument(&format!("plugin {}: this id is not UTF-8; encode it so", Quoted(&id)))
    };
    Ok((cache, std::str::from_utf8(id).map_err(not_utf8)?))
}

/// Drops the manifest of one plugin, or of all plugins if plugin_id is NULL. The empty string is an
/// ordinary id.
///
/// The call also fences the loads of the plugin that are in progress, even if it drops no entry: an
/// mc_get() that begins after this returned does not share such a load and does not see its
/// outcome, but loads again. A fenced load ends normally for its caller and for those who wait
/// already, but its outcome is not cached. Strings returned before stay valid.
///
/// Returns how many entries were dropped, expired ones included; 0 if cache is NULL or the id is
/// not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_clear(cache: *mut mc_cache, plugin_id: *const c_char) -> usize {
    // SAFETY: the caller's arguments are NULL or valid for this call.
    let (cache, id) = unsafe { (cache.as_ref(), bytes(plugin_id)) };
    let clear = |cache: &Cache| match id.map(std::str::from_utf8) {
        None => cache.clear_all(),
        Some(Ok(id)) => usize::from(cache.clear(id)),
        Some(Err(_)) => 0,
    };
    cache.map_or(0, |mc_cache(cache)| guarded(|| clear(cache)).unwrap_or(0))
}

/// Stores a manifest that the caller already has: len bytes at json, which are copied.
///
/// It replaces the plugin's entry. It is not stored if it is an object without members ({}), if the
/// time to live is 0, or if its entry alone exceeds MC_OPT_MAX_BYTES; the old entry is dropped all
/// the same. It is newer than any load in progress: those of this plugin are fenced as by
/// mc_clear().
///
/// Returns MC_OK, or MC_INVALID_MANIFEST or MC_INVALID_ARGUMENT; then nothing changes. error may be
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_put(
    cache: *mut mc_cache,
    plugin_id: *const c_char,
    json: *const c_char,
    len: usize,
    error: *mut mc_error,
) -> mc_status {
    const MISSING_JSON: &str =
        "mc_put was given NULL for the text or a length above PTRDIFF_MAX; give it the JSON text";
    // SAFETY: the caller's arguments are NULL or valid for this call.
    let (cache, id, json) = unsafe { (cache.as_ref(), bytes(plugin_id), slice(json, len)) };
    let put = || {
        let (mc_cache(cache), id) =
            both(cache, id, "mc_put was given NULL for the cache or the id")?;
        cache.put(id, json.ok_or_else(|| invalid_argument(MISSING_JSON))?)
    };
    let outcome = guarded(put).unwrap_or_else(Err);
    // SAFETY: the caller's `error` is NULL or its own.
    unsafe { fill(error, outcome.as_ref().err()) };
    status_of(&outcome)
}

/// Returns the revision of the fresh manifest of a plugin, or 0 if the cache has none, for NULL,
/// and for an id that is not UTF-8. Never loads and never blocks.
///
/// Compare it with mc_string_revision() to see whether data derived from a manifest is current. An
/// answer other than 0 counts as a hit and as a use of the entry.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_revision(
    cache: *const mc_cache,
    plugin_id: *const c_char,
) -> u64 {
    // SAFETY: the caller's arguments are NULL or valid for this call.
    let (cache, id) = unsafe { (cache.as_ref(), bytes(plugin_id)) };
    let (Some(mc_cache(cache)), Some(id)) = (cache, id) else { return 0 };
    guarded(|| cache.revision(id)).ok().flatten().unwrap_or(0)
}

/// Returns the entries as a JSON array in no particular order. Each is an object with these
/// members:
///
/// - plugin_id: the id of the plugin.
/// - age_ms: milliseconds since it was stored or renewed.
/// - ttl_ms: its time to live in milliseconds, or null if it never expires.
/// - bytes: length of the manifest; 0 for a remembered "not found" or failure.
/// - revision: as mc_string_revision() returns it; 0 for a remembered "not found" or failure.
/// - expired: whether the time to live is over.
///
/// The string is to be freed with mc_string_free(). Returns NULL if cache is NULL or after a bug in
/// this library. The call does not delay hits.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_entries(cache: *const mc_cache) -> *const c_char {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let cache = unsafe { cache.as_ref() };
    cache.map_or(null(), |mc_cache(cache)| owned(|| cache.entries_json()))
}

/// Drops the entries that have expired and that no stale option allows to be returned any more.
/// Loads in progress are not fenced.
///
/// Returns how many entries were dropped; 0 if cache is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_purge(cache: *mut mc_cache) -> usize {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let cache = unsafe { cache.as_ref() };
    cache.map_or(0, |mc_cache(cache)| guarded(|| cache.purge()).unwrap_or(0))
}

/// Makes the cache behave as if ms milliseconds had passed, for a host's tests of expiry: entries
/// expire, and calls that wait for another thread's load time out. Other caches do not notice, and
/// the time cannot be set back. Advance by a second more than a time to live, as an entry can
/// expire late. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_advance(cache: *mut mc_cache, ms: u64) {
    // SAFETY: the caller's argument is NULL or valid for this call.
    if let Some(mc_cache(cache)) = unsafe { cache.as_ref() } {
        let _ = guarded(|| cache.advance(Duration::from_millis(ms)));
    }
}

/// Frees a cache. It must be the last call on it: no other call may be in progress, and a loader or
/// logger must not free the cache that called it. Strings returned before stay valid. NULL is
/// allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_free(cache: *mut mc_cache) {
    if !cache.is_null() {
        // SAFETY: it came from `mc_new`, and the caller does not use it again.
        let _ = guarded(|| drop(unsafe { Box::from_raw(cache) }));
    }
}

/// Returns the version of the library that is running, "MAJOR.MINOR.PATCH". The MC_VERSION_ macros
/// are the version of the header that the caller was compiled with. The string is static; do not
/// free it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
