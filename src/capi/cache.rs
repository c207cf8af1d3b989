//! `mc_cache`: from `mc_new` to `mc_free`.

use super::boundary::{bytes, cache_of, guarded, invalid_argument, owned, slice, utf8};
use super::error::{fill, mc_error, mc_status, status_of};
use crate::cache::Cache;
use crate::options::CacheOption;
use std::ffi::c_char;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

/// A cache of manifests. A process may have any number of them, and any thread may use any of them
/// at any time.
pub struct mc_cache {
    _opaque: (),
}

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
        Arc::into_raw(Arc::new(cache)).cast::<mc_cache>().cast_mut()
    };
    guarded(new).unwrap_or(null_mut())
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
    let (cache, id) = unsafe { (cache_of(cache), bytes(plugin_id)) };
    let clear = |cache: &Cache| match id.map(std::str::from_utf8) {
        None => cache.clear_all(),
        Some(Ok(id)) => usize::from(cache.clear(id)),
        Some(Err(_)) => 0,
    };
    cache.map_or(0, |cache| guarded(|| clear(cache)).unwrap_or(0))
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
    const MISSING: &str = "mc_put was given NULL for the cache or the id; both are needed";
    const MISSING_JSON: &str =
        "mc_put was given NULL for the text or a length above PTRDIFF_MAX; give it the JSON text";
    // SAFETY: the caller's arguments are NULL or valid for this call.
    let (cache, id, json) = unsafe { (cache_of(cache), bytes(plugin_id), slice(json, len)) };
    let put = || {
        let cache = cache.ok_or_else(|| invalid_argument(MISSING))?;
        cache.put(utf8(id, MISSING)?, json.ok_or_else(|| invalid_argument(MISSING_JSON))?)
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
    let (cache, id) = unsafe { (cache_of(cache), bytes(plugin_id)) };
    let (Some(cache), Some(id)) = (cache, id) else { return 0 };
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
    let cache = unsafe { cache_of(cache) };
    cache.map_or(null(), |cache| owned(|| cache.entries_json()))
}

/// Drops the entries that have expired and that no stale option allows to be returned any more.
/// Loads in progress are not fenced. Asynchronous waits that have lasted for MC_OPT_WAIT_MS end
/// with MC_TIMEOUT: this call runs their mc_done functions.
///
/// Returns how many entries were dropped; 0 if cache is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_purge(cache: *mut mc_cache) -> usize {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let cache = unsafe { cache_of(cache) };
    cache.map_or(0, |cache| guarded(|| cache.purge()).unwrap_or(0))
}

/// Makes the cache behave as if ms milliseconds had passed, for a host's tests of expiry: entries
/// expire, and calls that wait for another caller's load time out. Other caches do not notice, and
/// the time cannot be set back. Advance by a second more than a time to live, as an entry can
/// expire late. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_advance(cache: *mut mc_cache, ms: u64) {
    // SAFETY: the caller's argument is NULL or valid for this call.
    if let Some(cache) = unsafe { cache_of(cache) } {
        let _ = guarded(|| cache.advance(Duration::from_millis(ms)));
    }
}

/// Frees a cache. It must be the last call on it: no other call may be in progress, and a loader,
/// an mc_done function or a logger must not free the cache that called it. Strings returned before
/// stay valid. NULL is allowed.
///
/// Loads from mc_begin() and mc_begin_async() may still be in progress, and may be ended later or
/// meanwhile, on any thread. Who waits for such a load gets MC_LOAD_FAILED: this call runs their
/// mc_done functions. mc_end() then returns what the load brought, and stores nothing. The logger
/// is not called after this has returned, unless an mc_end() on another thread was calling it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_free(cache: *mut mc_cache) {
    if !cache.is_null() {
        // SAFETY: it came from `mc_new`, and the caller does not use it again.
        let cache = unsafe { Arc::from_raw(cache.cast::<Cache>()) };
        let _ = guarded(|| {
            cache.close();
            drop(cache);
        });
    }
}

/// Returns the version of the library that is running, "MAJOR.MINOR.PATCH". The MC_VERSION_ macros
/// are the version of the header that the caller was compiled with. The string is static; do not
/// free it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
