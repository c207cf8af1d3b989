//! `mc_cache`: from `mc_new` to `mc_free`.

use super::{bytes, guarded, mc_error, mc_load, mc_loader, report};
use crate::cache::Turn;
use crate::error::{Error, Status};
use crate::flight::Outcome;
use crate::manifest::Manifest;
use crate::{Cache, Policy};
use std::ffi::{c_char, c_void};
use std::ptr::null;
use std::time::Duration;

/// A cache of manifests. Any number of them may exist, and any thread may use any of them at
/// any time.
pub struct mc_cache(Cache);

/// A time to live of five minutes, in milliseconds.
pub const MC_TTL_DEFAULT: u64 = 300_000;

/// Makes a new, empty cache whose manifests stay fresh for ttl_ms milliseconds after their
/// load: MC_TTL_DEFAULT, MC_TTL_FOREVER, or any other number. With 0 nothing is kept, though
/// concurrent calls still share one load.
///
/// Returns the cache, to be freed with mc_free(), or NULL after a bug in this library. When
/// memory runs out, this and all other functions abort the process.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mc_new(ttl_ms: u64) -> *mut mc_cache {
    let new = || {
        let cache = Cache::new(Duration::ZERO);
        cache.set(Policy::TtlMs, ttl_ms);
        Box::into_raw(Box::new(mc_cache(cache)))
    };
    guarded(new).unwrap_or(std::ptr::null_mut())
}

/// The manifest of a plugin, loaded if need be.
///
/// A fresh manifest is returned at once: without calling the loader, without a lock, without
/// waiting for any load. Otherwise the loader is called on this thread; if another thread is
/// loading this plugin already, this call waits and shares that load's outcome, whatever it is,
/// for at most 30 seconds. Loads of different plugins run side by side.
///
/// plugin_id is any UTF-8 string; the empty one is an id like others. With a NULL loader the
/// call only looks: it neither loads nor waits. user_data is passed on to the loader. error may
/// be NULL.
///
/// Returns the manifest, byte for byte as it was loaded, as a string to be given back with
/// mc_string_free(). The string never changes and stays valid until then, whatever happens to
/// the cache. Callers may be given the same pointer, each with a share of its own to give back.
///
/// Returns NULL if there is no manifest, and says why in error: MC_NOT_FOUND,
/// MC_INVALID_ARGUMENT, MC_INVALID_MANIFEST, MC_LOAD_FAILED, MC_LOAD_CYCLE, MC_TIMEOUT or
/// MC_INTERNAL. No failure is cached: the next call loads again. So test the pointer, then read
/// the error.
///
/// An exception that the loader throws passes through to this call's caller; error is then left
/// as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_get(
    cache: *mut mc_cache,
    plugin_id: *const c_char,
    loader: mc_loader,
    user_data: *mut c_void,
    error: *mut mc_error,
) -> *const c_char {
    // SAFETY: the caller's arguments are NULL or valid for this call, and `error` is NULL or its own.
    unsafe {
        match guarded(|| hit(cache, plugin_id)) {
            Ok(Some(manifest)) => answer(Ok(manifest), error),
            Ok(None) => answer(miss(cache, plugin_id, loader, user_data), error),
            Err(bug) => answer(Err(bug), error),
        }
    }
}

/// # Safety
/// As for `report`.
#[inline]
unsafe fn answer(outcome: Outcome, error: *mut mc_error) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { report(&outcome, error) };
    outcome.map_or(null(), Manifest::into_raw)
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
unsafe fn miss(cache: *const mc_cache, plugin_id: *const c_char, loader: mc_loader, user_data: *mut c_void) -> Outcome {
    let refused = |what: &str| Err(Error::new(Status::InvalidArgument, what));
    // SAFETY: the caller's promise.
    let (Some(mc_cache(cache)), Some(id)) = (unsafe { cache.as_ref() }, unsafe { bytes(plugin_id) }) else {
        return refused("mc_get was given NULL for the cache or for the plugin id; both are needed");
    };
    let Ok(id) = std::str::from_utf8(id) else {
        return refused("mc_get was given a plugin id that is not UTF-8; encode it as UTF-8");
    };
    let Some(loader) = loader else {
        return guarded(|| Err(cache.look_missed(id)))?;
    };
    match guarded(|| cache.miss(id))? {
        Turn::Done(outcome) => outcome,
        Turn::Lead(mut lead) => {
            let load = (&raw mut lead.load).cast::<mc_load>();
            // SAFETY: the loader is the caller's; `load` is live and ours alone until it returns. Should it throw, `lead`
            // is dropped, which ends the load.
            unsafe { loader(plugin_id, load, user_data) };
            guarded(|| lead.land())?
        }
    }
}

/// Forgets the manifest of one plugin, or of all plugins if plugin_id is NULL. The empty string
/// is an ordinary id.
///
/// An mc_get() that begins after this returned neither shares a load that began before nor sees
/// what it brings: it loads anew. Loads in progress end normally for those who already wait,
/// but are not cached. Strings handed out stay valid.
///
/// Returns how many manifests were forgotten, expired ones included; 0 if cache is NULL or the
/// id is not UTF-8.
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

/// Statistics as a JSON object, in this order:
///
/// total_entries: manifests held, expired ones included.
/// expired_entries: those of them whose time to live is over; they go when they are loaded
/// again or cleared.
/// ttl_seconds: the time to live, a number that may have decimals, or null for MC_TTL_FOREVER.
/// hits: calls of mc_get() answered with a fresh manifest at once.
/// misses: calls that called the loader, closed a circle, or looked and found nothing.
/// loads: loaders called.
/// load_failures: loads that failed, brought no valid manifest, gave no answer or threw.
/// not_found: loads that answered so.
/// waits: calls that waited for another thread's load, however that ended.
/// discarded: loads whose outcome was not cached because mc_clear() or MC_TIMEOUT came between.
/// load_time_ms: time spent in loads, all together.
/// bytes: length of the manifests held, all together.
///
/// Every mc_get() with valid arguments is counted in exactly one of hits, misses and waits.
///
/// Returns a string to be given back with mc_string_free(), or NULL if cache is NULL. Does not
/// hold up hits.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_stats(cache: *const mc_cache) -> *const c_char {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let stats = unsafe { cache.as_ref() }.map(|mc_cache(cache)| guarded(|| Manifest::report(&cache.stats().to_json())));
    stats.and_then(Result::ok).map_or(null(), Manifest::into_raw)
}

/// Frees a cache. It must be the last call on it, with no other in progress, not even in a
/// loader that the cache called. Strings handed out stay valid. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_free(cache: *mut mc_cache) {
    if !cache.is_null() {
        // SAFETY: it came from `mc_new`, and the caller uses it no more.
        let _ = guarded(|| drop(unsafe { Box::from_raw(cache) }));
    }
}

/// The version of the library that is running, "MAJOR.MINOR.PATCH", to be compared with the
/// MC_VERSION_ macros of the header that the caller was compiled with. Returns a static string
/// that must not be freed.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
