//! The statistics of a cache.

use super::boundary::{cache_of, guarded, owned};
use super::cache::mc_cache;
use crate::stats::Stat;
use std::ffi::c_char;
use std::ptr::null;

/// A statistic of mc_stat(): one of the MC_STAT_ constants. A get is a call of mc_get(), mc_begin()
/// or mc_begin_async().
pub type mc_statistic = i32;

/// Entries held: manifests, expired ones included, and remembered "not found"s and failures.
pub const MC_STAT_TOTAL_ENTRIES: mc_statistic = 1;
/// Entries held whose time to live is over. The cache drops such an entry when it is loaded again,
/// cleared, purged or evicted.
pub const MC_STAT_EXPIRED_ENTRIES: mc_statistic = 2;
/// The time to live of new entries, in milliseconds; MC_TTL_FOREVER if they never expire.
pub const MC_STAT_TTL_MS: mc_statistic = 3;
/// Gets and calls of mc_revision() that returned a fresh manifest or its revision at once.
pub const MC_STAT_HITS: mc_statistic = 4;
/// Gets that began a load, that would have closed a cycle, or that had a NULL loader and found
/// nothing.
pub const MC_STAT_MISSES: mc_statistic = 5;
/// Loads begun.
pub const MC_STAT_LOADS: mc_statistic = 6;
/// Loads that failed, brought an invalid manifest, gave no answer or threw an exception.
pub const MC_STAT_LOAD_FAILURES: mc_statistic = 7;
/// Loads that answered "not found".
pub const MC_STAT_NOT_FOUND: mc_statistic = 8;
/// Gets that waited for another caller's load, whatever its outcome.
pub const MC_STAT_WAITS: mc_statistic = 9;
/// Loads whose outcome was not cached because mc_clear(), mc_put() or a load that began later came
/// first.
pub const MC_STAT_DISCARDED: mc_statistic = 10;
/// Time spent in loads that have ended, in milliseconds.
pub const MC_STAT_LOAD_TIME_MS: mc_statistic = 11;
/// Bytes that the entries occupy, counted as MC_OPT_MAX_BYTES says.
pub const MC_STAT_BYTES: mc_statistic = 12;
/// Gets that returned an expired manifest at once, as MC_OPT_STALE_IF_ERROR_MS or
/// MC_OPT_STALE_WHILE_REVALIDATE_MS allows.
pub const MC_STAT_STALE_HITS: mc_statistic = 13;
/// Gets answered at once by a remembered "not found" or failure.
pub const MC_STAT_NEGATIVE_HITS: mc_statistic = 14;
/// Loads that found the expired manifest to be unchanged.
pub const MC_STAT_UNCHANGED: mc_statistic = 15;
/// Entries removed because of MC_OPT_MAX_ENTRIES or MC_OPT_MAX_BYTES.
pub const MC_STAT_EVICTIONS: mc_statistic = 16;
/// Waits that ended with MC_TIMEOUT.
pub const MC_STAT_TIMEOUTS: mc_statistic = 17;

const _: () = assert!(
    MC_STAT_TOTAL_ENTRIES == Stat::TotalEntries as mc_statistic
        && MC_STAT_EXPIRED_ENTRIES == Stat::ExpiredEntries as mc_statistic
        && MC_STAT_TTL_MS == Stat::TtlMs as mc_statistic
        && MC_STAT_HITS == Stat::Hits as mc_statistic
        && MC_STAT_MISSES == Stat::Misses as mc_statistic
        && MC_STAT_LOADS == Stat::Loads as mc_statistic
        && MC_STAT_LOAD_FAILURES == Stat::LoadFailures as mc_statistic
        && MC_STAT_NOT_FOUND == Stat::NotFound as mc_statistic
        && MC_STAT_WAITS == Stat::Waits as mc_statistic
        && MC_STAT_DISCARDED == Stat::Discarded as mc_statistic
        && MC_STAT_LOAD_TIME_MS == Stat::LoadTimeMs as mc_statistic
        && MC_STAT_BYTES == Stat::Bytes as mc_statistic
        && MC_STAT_STALE_HITS == Stat::StaleHits as mc_statistic
        && MC_STAT_NEGATIVE_HITS == Stat::NegativeHits as mc_statistic
        && MC_STAT_UNCHANGED == Stat::Unchanged as mc_statistic
        && MC_STAT_EVICTIONS == Stat::Evictions as mc_statistic
        && MC_STAT_TIMEOUTS == Stat::Timeouts as mc_statistic
        && Stat::COUNT == 17
);

/// Returns all statistics as a JSON object. Its members are the MC_STAT_ constants in the order
/// of their numbers, with their names in lower case and without the prefix: "total_entries" is
/// MC_STAT_TOTAL_ENTRIES. Instead of MC_STAT_TTL_MS there is "ttl_seconds": the time to live in
/// seconds, a number that may have decimals, or null for MC_TTL_FOREVER.
///
/// Every get with valid arguments is counted in exactly one of hits, stale_hits, negative_hits,
/// misses and waits.
///
/// The string is to be freed with mc_string_free(). Returns NULL if cache is NULL or after a bug in
/// this library. The call does not delay hits.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_stats(cache: *const mc_cache) -> *const c_char {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let cache = unsafe { cache_of(cache) };
    cache.map_or(null(), |cache| owned(|| cache.stats().to_json()))
}

/// Returns one statistic as a number. Returns 0, which is also a valid value, if there is no such
/// statistic or cache is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_stat(cache: *const mc_cache, statistic: mc_statistic) -> u64 {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let (cache, stat) = (unsafe { cache_of(cache) }, Stat::from_number(statistic));
    let (Some(cache), Some(stat)) = (cache, stat) else { return 0 };
    guarded(|| cache.stat(stat)).unwrap_or(0)
}
