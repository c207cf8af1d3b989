//! `mc_cache`: from `mc_new` to `mc_free`.

use super::{
    MC_INVALID_ARGUMENT, MC_OK, bytes, guarded, mc_error, mc_load, mc_loader, mc_status, report,
    slice,
};
use crate::cache::Turn;
use crate::error::{Error, Quoted, Status};
use crate::flight::{Got, Outcome};
use crate::manifest::Manifest;
use crate::{Cache, CacheOption, EntryReport, Level, Stat};
use serde_json::Value;
use std::ffi::{CString, c_char, c_void};
use std::ptr::null;
use std::time::Duration;

/// A cache of manifests. Any number of them may exist, and any thread may use any of them at
/// any time.
pub struct mc_cache(Cache);

/// A time to live of five minutes, in milliseconds.
pub const MC_TTL_DEFAULT: u64 = 300_000;

/// Option: the time to live of what is stored from now on, in milliseconds; MC_TTL_FOREVER is
/// for ever, 0 stores nothing. At first what mc_new() was given.
pub const MC_OPT_TTL_MS: i32 = 1;
/// Option: how long past its expiry a manifest is still returned, with MC_STALE, when its
/// reload fails or brings an invalid one. "Not found" is an answer, not a failure. Default 0,
/// off.
pub const MC_OPT_STALE_IF_ERROR_MS: i32 = 2;
/// Option: how long the loader is left alone after such a failure. Default 1 000.
pub const MC_OPT_RETRY_MS: i32 = 3;
/// Option: how long past its expiry a manifest is still returned, with MC_OK, to others while
/// one caller reloads it, instead of having them wait. So with it MC_OK no longer means fresh.
/// Default 0, off.
pub const MC_OPT_STALE_WHILE_REVALIDATE_MS: i32 = 4;
/// Option: how long "not found" is remembered. mc_clear() forgets it. Default 0, off.
pub const MC_OPT_NEGATIVE_TTL_MS: i32 = 5;
/// Option: how many entries are held at most, remembered "not found"s included. What has
/// expired goes first, then what was not used lately (by SIEVE). Default 0, no bound.
pub const MC_OPT_MAX_ENTRIES: i32 = 6;
/// Option: how long all manifests held may be together, in bytes; a longer one is returned but
/// not stored. Default 0, no bound.
pub const MC_OPT_MAX_BYTES: i32 = 7;
/// Option: a manifest of more bytes is invalid. Default 16 MiB; from 1 to SIZE_MAX / 2.
pub const MC_OPT_MAX_MANIFEST_BYTES: i32 = 8;
/// Option: how long a call waits for another thread's load before it returns MC_TIMEOUT. The
/// load it waited for is then fenced as by mc_clear(). Default 30 000; 0 is for ever.
pub const MC_OPT_WAIT_MS: i32 = 9;

/// For mc_set_logger(): nothing.
pub const MC_LOG_OFF: i32 = 0;
/// For mc_set_logger(): failures.
pub const MC_LOG_ERROR: i32 = 1;
/// For mc_set_logger(): and what the cache had to help itself with.
pub const MC_LOG_WARN: i32 = 2;
/// For mc_set_logger(): and what was cleared.
pub const MC_LOG_INFO: i32 = 3;
/// For mc_set_logger(): and everything else.
pub const MC_LOG_DEBUG: i32 = 4;

/// For mc_stat(): total_entries of mc_stats().
pub const MC_STAT_TOTAL_ENTRIES: i32 = 1;
/// For mc_stat(): expired_entries of mc_stats().
pub const MC_STAT_EXPIRED_ENTRIES: i32 = 2;
/// For mc_stat(): ttl_seconds of mc_stats(), in milliseconds.
pub const MC_STAT_TTL_MS: i32 = 3;
/// For mc_stat(): hits of mc_stats().
pub const MC_STAT_HITS: i32 = 4;
/// For mc_stat(): misses of mc_stats().
pub const MC_STAT_MISSES: i32 = 5;
/// For mc_stat(): loads of mc_stats().
pub const MC_STAT_LOADS: i32 = 6;
/// For mc_stat(): load_failures of mc_stats().
pub const MC_STAT_LOAD_FAILURES: i32 = 7;
/// For mc_stat(): not_found of mc_stats().
pub const MC_STAT_NOT_FOUND: i32 = 8;
/// For mc_stat(): waits of mc_stats().
pub const MC_STAT_WAITS: i32 = 9;
/// For mc_stat(): discarded of mc_stats().
pub const MC_STAT_DISCARDED: i32 = 10;
/// For mc_stat(): load_time_ms of mc_stats().
pub const MC_STAT_LOAD_TIME_MS: i32 = 11;
/// For mc_stat(): bytes of mc_stats().
pub const MC_STAT_BYTES: i32 = 12;
/// For mc_stat(): stale_hits of mc_stats().
pub const MC_STAT_STALE_HITS: i32 = 13;
/// For mc_stat(): negative_hits of mc_stats().
pub const MC_STAT_NEGATIVE_HITS: i32 = 14;
/// For mc_stat(): unchanged of mc_stats().
pub const MC_STAT_UNCHANGED: i32 = 15;
/// For mc_stat(): evictions of mc_stats().
pub const MC_STAT_EVICTIONS: i32 = 16;
/// For mc_stat(): timeouts of mc_stats().
pub const MC_STAT_TIMEOUTS: i32 = 17;

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
        let _ = cache.set(CacheOption::TtlMs, ttl_ms);
        Box::into_raw(Box::new(mc_cache(cache)))
    };
    guarded(new).unwrap_or(std::ptr::null_mut())
}

/// The manifest of a plugin, loaded if need be.
///
/// A fresh manifest is returned at once: without calling the loader, without a lock, without
/// waiting for any load. Otherwise the loader is called on this thread; if another thread is
/// loading this plugin already, this call waits and shares that load's outcome, whatever it is,
/// for at most MC_OPT_WAIT_MS. Loads of different plugins run side by side.
///
/// plugin_id is any UTF-8 string; the empty one is an id like others. With a NULL loader the
/// call only looks: it neither loads nor waits, and says MC_NOT_FOUND if no fresh manifest is
/// there. user_data is passed on to the loader. error may be NULL.
///
/// Returns the manifest, byte for byte as it was loaded, with MC_OK, or with MC_STALE if it is
/// an expired one (see MC_OPT_STALE_IF_ERROR_MS), as a string to be given back with
/// mc_string_free(). The string never changes and stays valid until then, whatever happens to
/// the cache. Callers may be given the same pointer, each with a share of its own to give back.
///
/// Returns NULL if there is no manifest, and says why in error: MC_NOT_FOUND,
/// MC_INVALID_ARGUMENT, MC_INVALID_MANIFEST, MC_LOAD_FAILED, MC_LOAD_CYCLE, MC_TIMEOUT or
/// MC_INTERNAL. No failure is cached, and "not found" only with MC_OPT_NEGATIVE_TTL_MS: the next
/// call loads again. So test the pointer, then read the error.
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
    // SAFETY: the caller's arguments are NULL or valid for this call, and `error` is NULL or its
    // own.
    unsafe {
        match guarded(|| hit(cache, plugin_id)) {
            Ok(Some(manifest)) => {
                report(None, error);
                manifest.into_raw()
            }
            Ok(None) => answer(miss(cache, plugin_id, loader, user_data), error),
            Err(bug) => answer(Err(bug), error),
        }
    }
}

/// # Safety
/// As for `report`.
#[cold]
unsafe fn answer(outcome: Outcome, error: *mut mc_error) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        match outcome {
            Ok(Got { manifest, stale }) => {
                report(stale.as_ref(), error);
                manifest.into_raw()
            }
            Err(failure) => {
                report(Some(&failure), error);
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
    let refused = |what: &str| Err(Error::new(Status::InvalidArgument, what));
    // SAFETY: the caller's promise.
    let (Some(mc_cache(cache)), Some(id)) =
        (unsafe { cache.as_ref() }, unsafe { bytes(plugin_id) })
    else {
        return refused(
            "mc_get was given NULL for the cache or for the plugin id; both are needed",
        );
    };
    let Ok(id) = std::str::from_utf8(id) else {
        let id = String::from_utf8_lossy(id);
        return refused(&format!("plugin {}: this id is not UTF-8; encode it so", Quoted(&id)));
    };
    let Some(loader) = loader else {
        return guarded(|| Err(cache.look_missed(id)))?;
    };
    match guarded(|| cache.miss(id))? {
        Turn::Done(outcome) => outcome,
        Turn::Lead(mut lead) => {
            let load = (&raw mut lead.load).cast::<mc_load>();
            // SAFETY: the loader is the caller's; `load` is live and ours alone until it returns.
            // Should it throw, `lead` is dropped, which ends the load.
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

/// Stores a manifest that the caller already has: len bytes from json on, which are copied.
///
/// It is stored as what a load brings: not with a time to live of 0, nor if it is longer than
/// MC_OPT_MAX_BYTES. It is newer than any load in progress, which is fenced as by mc_clear(): what
/// that brings is not cached. An object without members ({}) clears the plugin, as it is never
/// cached.
///
/// Returns MC_OK, or MC_INVALID_MANIFEST or MC_INVALID_ARGUMENT, with which nothing has
/// changed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_put(
    cache: *mut mc_cache,
    plugin_id: *const c_char,
    json: *const c_char,
    len: usize,
    error: *mut mc_error,
) -> mc_status {
    let refused = |what: &str| Err(Error::new(Status::InvalidArgument, what));
    // SAFETY: the caller's arguments are NULL or valid for this call.
    let outcome = match unsafe { (cache.as_ref(), bytes(plugin_id), slice(json, len)) } {
        (Some(mc_cache(cache)), Some(id), Some(json)) => match std::str::from_utf8(id) {
            Ok(id) => guarded(|| cache.put(id, json)).unwrap_or_else(Err),
            Err(_) => refused("mc_put was given a plugin id that is not UTF-8; encode it so"),
        },
        _ => refused(
            "mc_put was given NULL for the cache, the plugin id or the text; all are needed",
        ),
    };
    // SAFETY: the caller's `error` is NULL or its own.
    unsafe { report(outcome.as_ref().err(), error) };
    outcome.map_or_else(|error| error.status() as mc_status, |()| MC_OK)
}

/// The revision of the fresh manifest of a plugin, or 0 if there is none. Never loads, and
/// never blocks.
///
/// With mc_string_revision() it tells a caller that keeps something made of a manifest whether
/// that is still of the current one. An answer other than 0 is a use of the entry, and counts
/// as a hit.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_revision(
    cache: *const mc_cache,
    plugin_id: *const c_char,
) -> u64 {
    // SAFETY: the caller's arguments are NULL or valid for this call.
    let (Some(mc_cache(cache)), Some(id)) = (unsafe { (cache.as_ref(), bytes(plugin_id)) }) else {
        return 0;
    };
    guarded(|| cache.revision(id)).ok().flatten().unwrap_or(0)
}

/// Statistics as a JSON object, in this order:
///
/// - total_entries: entries held: manifests, expired ones included, and remembered "not
///   found"s.
/// - expired_entries: those of them whose time to live is over; they go when they are loaded
///   again or cleared.
/// - ttl_seconds: the time to live of new entries, a number that may have decimals, or null
///   for MC_TTL_FOREVER.
/// - hits: calls of mc_get() or mc_revision() answered with a fresh manifest at once.
/// - misses: calls that called the loader, closed a circle, or looked and found nothing.
/// - loads: loaders called.
/// - load_failures: loads that failed, brought no valid manifest, gave no answer or threw.
/// - not_found: loads that answered so.
/// - waits: calls that waited for another thread's load, however that ended.
/// - discarded: loads whose outcome was not cached because mc_clear(), mc_put() or MC_TIMEOUT
///   came between.
/// - load_time_ms: time spent in loads, all together.
/// - bytes: length of the manifests held, all together.
/// - stale_hits: calls answered with an expired manifest at once, as a stale option allows.
/// - negative_hits: calls answered at once by a remembered "not found".
/// - unchanged: loads that found the expired manifest to be still right.
/// - evictions: entries that had to go because of MC_OPT_MAX_ENTRIES or MC_OPT_MAX_BYTES.
/// - timeouts: waits that ended with MC_TIMEOUT.
///
/// Every mc_get() with valid arguments is counted in exactly one of hits, stale_hits,
/// negative_hits, misses and waits.
///
/// Returns a string to be given back with mc_string_free(), or NULL if cache is NULL or after a
/// bug in this library. Does not hold up hits.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_stats(cache: *const mc_cache) -> *const c_char {
    // SAFETY: the caller's argument is NULL or valid for this call.
    unsafe { written(cache, |cache| cache.stats().to_json()) }
}

/// One statistic as a number: which is one of the MC_STAT_ constants. 0 for any other number,
/// and if cache is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_stat(cache: *const mc_cache, which: i32) -> u64 {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let (Some(mc_cache(cache)), Some(stat)) = (unsafe { cache.as_ref() }, Stat::from_number(which))
    else {
        return 0;
    };
    guarded(|| cache.stat(stat)).unwrap_or(0)
}

/// The entries as a JSON array, in no order, each an object:
///
/// - plugin_id: the plugin.
/// - age_ms: time since it was stored or renewed.
/// - ttl_ms: its time to live, or null for ever.
/// - bytes: length of the manifest; 0 for a remembered "not found".
/// - revision: as by mc_string_revision(); 0 for a remembered "not found".
/// - expired: true once the time to live is over.
///
/// Returns a string to be given back with mc_string_free(), or NULL if cache is NULL or after a
/// bug in this library. Does not hold up hits.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_entries(cache: *const mc_cache) -> *const c_char {
    let member = |entry: &EntryReport| {
        let ttl_ms = if entry.ttl_ms == u64::MAX { Value::Null } else { entry.ttl_ms.into() };
        let EntryReport { plugin_id, age_ms, bytes, revision, expired, .. } = entry;
        let id = Value::from(plugin_id.as_str());
        format!(
            r#"{{"plugin_id":{id},"age_ms":{age_ms},"ttl_ms":{ttl_ms},"bytes":{bytes},"revision":{revision},"expired":{expired}}}"#
        )
    };
    // SAFETY: the caller's argument is NULL or valid for this call.
    unsafe {
        written(cache, |cache| {
            format!("[{}]", cache.entries().iter().map(member).collect::<Vec<_>>().join(","))
        })
    }
}

/// # Safety
/// `cache` is NULL or valid for this call.
unsafe fn written(cache: *const mc_cache, write: impl FnOnce(&Cache) -> String) -> *const c_char {
    // SAFETY: the caller's promise.
    let text = unsafe { cache.as_ref() }
        .map(|mc_cache(cache)| guarded(|| Manifest::report(&write(cache))));
    text.and_then(Result::ok).map_or(null(), Manifest::into_raw)
}

/// Drops the entries that have expired and that no stale option can serve any more. Loads in
/// progress are not fenced.
///
/// Returns how many went; 0 if cache is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_purge(cache: *mut mc_cache) -> usize {
    // SAFETY: the caller's argument is NULL or valid for this call.
    unsafe { cache.as_ref() }.map_or(0, |mc_cache(cache)| guarded(|| cache.purge()).unwrap_or(0))
}

/// Sets an option, one of MC_OPT_TTL_MS to MC_OPT_WAIT_MS, from now on and while other threads use
/// the cache. A bound holds when this returns.
///
/// Returns MC_OK, or MC_INVALID_ARGUMENT for an option there is not or a value that cannot be, with
/// which nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_set_option(
    cache: *mut mc_cache,
    option: i32,
    value: u64,
) -> mc_status {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let (Some(mc_cache(cache)), Some(option)) =
        (unsafe { cache.as_ref() }, CacheOption::from_number(option))
    else {
        return MC_INVALID_ARGUMENT;
    };
    guarded(|| cache.set(option, value))
        .unwrap_or_else(Err)
        .map_or_else(|error| error.status() as mc_status, |()| MC_OK)
}

/// Told what a cache does: level is MC_LOG_ERROR to MC_LOG_DEBUG, message one line that is
/// valid during the call. See mc_set_logger().
pub type mc_logger =
    Option<unsafe extern "C-unwind" fn(level: i32, message: *const c_char, user_data: *mut c_void)>;

/// Has a logger told what this cache does, up to a level; NULL, MC_LOG_OFF or an unknown level
/// ends that.
///
/// It is called on the thread that does what it tells of, with no lock held, from several
/// threads at once. It may call this library; what any logger would be told of that is dropped.
/// It must not throw, and user_data must outlive the cache, as a thread may still be calling a
/// logger that was replaced.
///
/// MC_LOG_ERROR: loads that failed. MC_LOG_WARN: calls that gave up waiting. MC_LOG_INFO: what
/// was cleared. MC_LOG_DEBUG: hits, loads, what they cached and what had expired. What an
/// exception brings to an end is not told.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_set_logger(
    cache: *mut mc_cache,
    logger: mc_logger,
    user_data: *mut c_void,
    level: i32,
) {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let Some(mc_cache(cache)) = (unsafe { cache.as_ref() }) else { return };
    let user_data = UserData(user_data);
    let _ = guarded(|| match (logger, Level::from_number(level)) {
        (Some(logger), Some(level)) => cache.set_logger(level, move |level, message| {
            let message = CString::new(message.replace('\0', "")).unwrap_or_default();
            // SAFETY: the caller's logger may be called on any thread with its user_data as long as
            // the cache lives.
            unsafe { logger(level as i32, message.as_ptr(), user_data.pointer()) };
        }),
        _ => cache.unset_logger(),
    });
}

/// What a logger is given back on whatever thread.
struct UserData(*mut c_void);

// SAFETY: only passed on; the header says that it is used on any thread.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    fn pointer(&self) -> *mut c_void {
        self.0
    }
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
