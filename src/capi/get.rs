//! The functions that get a manifest: `mc_get`, which calls a loader, and `mc_begin`,
//! `mc_begin_async` and `mc_end`, which call nothing.

use super::boundary::{UserData, bytes, cache_of, guarded, invalid_argument, utf8};
use super::cache::mc_cache;
use super::error::{MC_BEGUN, MC_OK, MC_PENDING, MC_STALE, fill, mc_error, mc_status};
use super::load::{mc_load, mc_loader, within_of};
use crate::cache::{Begun, Cache};
use crate::error::Error;
use crate::load::outcome::{Fetched, Outcome};
use crate::load::within::Within;
use crate::manifest::Manifest;
use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::Arc;

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
/// The pointers are NULL or valid, as the caller of `mc_get` promises.
#[cold]
unsafe fn miss(
    cache: *const mc_cache,
    plugin_id: *const c_char,
    loader: mc_loader,
    user_data: *mut c_void,
) -> Outcome {
    const MISSING: &str = "mc_get was given NULL for the cache or the id; both are needed";
    // SAFETY: the caller's promise.
    let (cache, id) = unsafe { (shared(cache, MISSING)?, utf8(bytes(plugin_id), MISSING)?) };
    let Some(loader) = loader else {
        return guarded(|| Err(cache.look_missed(id)))?;
    };
    match guarded(|| cache.begin_missed(id, Within::THREAD))?? {
        Begun::Load(guard) => {
            let mut load = mc_load::for_loader(guard);
            // SAFETY: the loader is the caller's; `load` is live and used by nobody else until it
            // returns. If it throws, `load` is dropped, which ends it.
            unsafe { loader(plugin_id, &raw mut load, user_data) };
            guarded(|| load.end())?
        }
        Begun::Ready(fetched) => Ok(fetched),
        Begun::Pending => unreachable!("only an asynchronous call is pending"),
    }
}

/// Gets a manifest without a loader. If the cache needs the manifest, the call begins a load and
/// returns it: the caller answers it with the mc_load_ functions and ends it with mc_end(). Apart
/// from this it does what mc_get() does: a fresh manifest is returned at once, and if another
/// caller is loading this plugin already, the call waits for that load.
///
/// within says which load waits for this call, so that the cache finds loads that would wait for
/// each other in a cycle:
///
/// - NULL: none. This is right for a call that is not made for another load, and for one whose
///   outcome no load waits for.
/// - A load that has not ended, of any cache: that load waits for this call.
/// - MC_THREAD: the innermost load of this thread. Of the loads that were begun on this thread with
///   MC_THREAD, or that mc_get() began for its loader, it is the last one that has not ended. The
///   load that this call begins is then the innermost one until it ends.
///
/// Code that runs on fibers, coroutines or tasks must not use MC_THREAD, because what shares a
/// thread would be taken for one nest of loads. A call made within a load of the same plugin, or
/// that would wait for a load that waits for it, fails with MC_LOAD_CYCLE.
///
/// Returns one of these, and sets *load and *manifest, both to NULL where nothing else is said:
///
/// - MC_OK: *manifest is the manifest, to be freed with mc_string_free().
/// - MC_STALE: the same with an expired manifest. The error says why its reload failed.
/// - MC_BEGUN: *load is a load that the caller is to answer and to end. The load may be used on any
///   thread, by one thread at a time.
/// - an error as of mc_get(): the error says more. MC_INVALID_ARGUMENT also if load or manifest is
///   NULL.
///
/// error may be NULL. It says MC_OK with MC_BEGUN.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_begin(
    cache: *mut mc_cache,
    plugin_id: *const c_char,
    within: *mut mc_load,
    load: *mut *mut mc_load,
    manifest: *mut *const c_char,
    error: *mut mc_error,
) -> mc_status {
    const MISSING: &str = "mc_begin was given NULL for the cache, the id, load or manifest; all \
        four are needed";
    // SAFETY: the caller's arguments are NULL or valid for this call, and what they point to is its
    // own.
    unsafe {
        let results = Results { load, manifest, error };
        results.of(|| {
            results.are_wanted(MISSING)?;
            if let Some(manifest) = hit(cache, plugin_id) {
                return Ok(Begun::Ready(manifest.into()));
            }
            let (cache, id) = (shared(cache, MISSING)?, utf8(bytes(plugin_id), MISSING)?);
            cache.begin_missed(id, within_of(within))
        })
    }
}

/// A function of the host that receives the outcome of an asynchronous wait; see mc_begin_async().
///
/// manifest is the manifest, which the function owns and frees with mc_string_free(), or NULL.
/// error is valid during the call. It says MC_OK or MC_STALE with a manifest, and otherwise why
/// there is none, as for mc_get().
///
/// It runs on the thread that ends the load, within its mc_end() or mc_get(); or on a thread that
/// calls mc_purge(), mc_free() or a get, if that ends the wait. No lock is held. It may call any
/// function of this library except mc_free() on the cache of the wait. It must not be left by an
/// exception or longjmp().
pub type mc_done = Option<
    unsafe extern "C-unwind" fn(
        manifest: *const c_char,
        error: *const mc_error,
        user_data: *mut c_void,
    ),
>;

/// Does what mc_begin() does, but never waits. Where mc_begin() would wait for the load of another
/// caller, this returns MC_PENDING, and done receives the outcome of that load.
///
/// After MC_PENDING the library calls done exactly once: when that load ends, in the order in which
/// the waits for it began, after the threads that wait have woken. A wait that has lasted for
/// MC_OPT_WAIT_MS ends with MC_TIMEOUT in the next mc_purge(), or in the next call that gets this
/// plugin and finds no fresh manifest, so a host without such calls calls mc_purge() from time to
/// time. mc_free() ends it with MC_LOAD_FAILED. A wait cannot be cancelled: user_data must stay
/// valid until done is called.
///
/// done may be called on another thread before this returns, but never on this one. This call
/// writes load, manifest and error even then, so they must not be in memory that done frees, nor
/// may error be that of an mc_outcome. After any other status than MC_PENDING done is never called.
/// In a forked child it is not called for the waits that began in the parent.
///
/// Returns MC_PENDING or what mc_begin() returns. error says MC_OK with MC_PENDING.
/// MC_INVALID_ARGUMENT also if done is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_begin_async(
    cache: *mut mc_cache,
    plugin_id: *const c_char,
    within: *mut mc_load,
    done: mc_done,
    user_data: *mut c_void,
    load: *mut *mut mc_load,
    manifest: *mut *const c_char,
    error: *mut mc_error,
) -> mc_status {
    const MISSING: &str = "mc_begin_async was given NULL for the cache, the id, done, load or \
        manifest; all five are needed";
    let user_data = UserData::new(user_data);
    // SAFETY: the caller's arguments are NULL or valid for this call, and what they point to is its
    // own. It lets `done` be called on any thread, with its `user_data`.
    unsafe {
        let results = Results { load, manifest, error };
        results.of(|| {
            results.are_wanted(MISSING)?;
            let done = done.ok_or_else(|| invalid_argument(MISSING))?;
            if let Some(manifest) = hit(cache, plugin_id) {
                return Ok(Begun::Ready(manifest.into()));
            }
            let (cache, id) = (shared(cache, MISSING)?, utf8(bytes(plugin_id), MISSING)?);
            let tell = move |outcome| {
                let mut error = MaybeUninit::uninit();
                let manifest = into_c(outcome, error.as_mut_ptr());
                done(manifest, error.as_ptr(), user_data.pointer());
            };
            cache.begin_async_missed(id, within_of(within), Box::new(tell))
        })
    }
}

/// Ends a load from mc_begin() or mc_begin_async() with its last answer, and sets *load to NULL.
/// A load without an answer has failed with MC_LOAD_FAILED.
///
/// In this order, the outcome is stored unless the load was fenced (see mc_clear()), threads that
/// wait for the load wake, their mc_done functions are called, and this returns. It may be called
/// on any thread. Using a load after its end is an error that debug builds of this library answer
/// by ending the process with a message.
///
/// Returns what mc_get() would: the manifest, to be freed with mc_string_free(), or NULL. The
/// error, which may be NULL, says MC_OK, MC_STALE, or why there is no manifest. MC_INVALID_ARGUMENT
/// if load or *load is NULL, or if *load was given to a loader, whose mc_get() ends it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_end(
    load: *mut *mut mc_load,
    error: *mut mc_error,
) -> *const c_char {
    // SAFETY: the caller's arguments are NULL or valid for this call, and `*load` is its own.
    unsafe { into_c(guarded(|| mc_load::end_of(load)).unwrap_or_else(Err), error) }
}

/// Where `mc_begin` writes what it returns.
struct Results {
    load: *mut *mut mc_load,
    manifest: *mut *const c_char,
    error: *mut mc_error,
}

impl Results {
    fn are_wanted(&self, missing: &str) -> Result<(), Error> {
        match self.load.is_null() || self.manifest.is_null() {
            true => Err(invalid_argument(missing)),
            false => Ok(()),
        }
    }

    /// Calls `begin`, and writes what it returned.
    ///
    /// # Safety
    /// The pointers are NULL or may be written.
    #[inline]
    unsafe fn of(&self, begin: impl FnOnce() -> Result<Begun, Error>) -> mc_status {
        let (mut load, mut manifest) = (null_mut(), null());
        // SAFETY: the caller's promise.
        unsafe {
            let status = match guarded(begin).unwrap_or_else(Err) {
                Ok(Begun::Ready(Fetched { manifest: ready, stale })) => {
                    manifest = ready.into_raw();
                    fill(self.error, stale.as_ref());
                    stale.map_or(MC_OK, |_| MC_STALE)
                }
                Ok(Begun::Load(guard)) => {
                    load = mc_load::for_host(guard);
                    fill(self.error, None);
                    MC_BEGUN
                }
                Ok(Begun::Pending) => {
                    fill(self.error, None);
                    MC_PENDING
                }
                Err(failure) => {
                    fill(self.error, Some(&failure));
                    failure.status() as mc_status
                }
            };
            if !self.load.is_null() {
                self.load.write(load);
            }
            if !self.manifest.is_null() {
                self.manifest.write(manifest);
            }
            status
        }
    }
}

/// Turns an outcome into C.
///
/// # Safety
/// As for `fill`.
#[cold]
pub(super) unsafe fn into_c(outcome: Outcome, error: *mut mc_error) -> *const c_char {
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
    let (cache, id) = unsafe { (cache_of(cache)?, bytes(id)?) };
    cache.hit(id)
}

/// A reference to the cache of its own, so that a load or a wait can go on when the cache is freed.
///
/// # Safety
/// `cache` is NULL or from `mc_new` and not freed.
unsafe fn shared(cache: *const mc_cache, missing: &str) -> Result<Arc<Cache>, Error> {
    if cache.is_null() {
        return Err(invalid_argument(missing));
    }
    // SAFETY: the caller's promise; `mc_new` made this pointer from an `Arc<Cache>`.
    unsafe {
        Arc::increment_strong_count(cache.cast::<Cache>());
        Ok(Arc::from_raw(cache.cast::<Cache>()))
    }
}
