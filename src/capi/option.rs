//! The options of a cache.

use super::boundary::{cache_of, guarded};
use super::cache::mc_cache;
use super::error::{MC_INVALID_ARGUMENT, mc_status, status_of};
use crate::load::json::Syntax;
use crate::options::CacheOption;

/// An option of mc_set_option(): one of the MC_OPT_ constants. The values of those that end in _MS
/// are milliseconds.
pub type mc_option = i32;

/// The time to live of manifests stored from now on, in milliseconds. With MC_TTL_FOREVER they
/// never expire; with 0 nothing is stored. Default: what mc_new() was given.
pub const MC_OPT_TTL_MS: mc_option = 1;
/// How long after its expiry a manifest is still returned, with MC_STALE, when its reload fails or
/// brings an invalid manifest. "Not found" is not a failure. Default 0: not at all.
pub const MC_OPT_STALE_IF_ERROR_MS: mc_option = 2;
/// After a failed reload for which an expired manifest was returned: how long the loader is not
/// called again. Default 1 000.
pub const MC_OPT_RETRY_MS: mc_option = 3;
/// How long after its expiry a manifest is still returned, with MC_OK, to callers that would have
/// to wait while another caller reloads it. With this option MC_OK does not mean fresh. Default 0:
/// not at all.
pub const MC_OPT_STALE_WHILE_REVALIDATE_MS: mc_option = 4;
/// How long "not found" is remembered, so that the loader is not called (negative caching).
/// mc_clear() and mc_put() drop what is remembered. Default 0: not at all.
pub const MC_OPT_NEGATIVE_TTL_MS: mc_option = 5;
/// How many entries the cache holds at most, remembered "not found"s and failures included. To make
/// room it evicts expired entries first, then entries that were not used recently (chosen by the
/// SIEVE algorithm). Default 0: no bound.
pub const MC_OPT_MAX_ENTRIES: mc_option = 6;
/// How many bytes the entries of the cache occupy at most. An entry counts the length of its
/// manifest, the length of its id, and 384 bytes for all that the cache keeps with it; a remembered
/// failure has no manifest but counts the length of its message. The cache evicts as for
/// MC_OPT_MAX_ENTRIES. A manifest whose entry alone exceeds the bound is
/// returned but not stored. Default
/// 0: no bound.
pub const MC_OPT_MAX_BYTES: mc_option = 7;
/// The largest manifest, in bytes. A longer one is MC_INVALID_MANIFEST, also if a load finds it
/// unchanged. From 1 to PTRDIFF_MAX. Default 16 MiB.
pub const MC_OPT_MAX_MANIFEST_BYTES: mc_option = 8;
/// How long a call waits for another caller's load before it returns MC_TIMEOUT. That load goes on,
/// and what it brings is still cached unless a later load has ended before, but no further call
/// waits for it: the next one runs its own loader. Default 30 000; 0 means for ever.
pub const MC_OPT_WAIT_MS: mc_option = 9;
/// The syntax of manifests that are loaded or put from now on: MC_SYNTAX_JSON or MC_SYNTAX_JSONC.
/// What is cached already is not checked again. Default MC_SYNTAX_JSON.
pub const MC_OPT_SYNTAX: mc_option = 10;
/// How long a failed load or an invalid manifest is remembered: calls get the same error again, and
/// the loader is not called. So a broken manifest is not read at each call. mc_clear() and mc_put()
/// drop what is remembered. While MC_OPT_STALE_IF_ERROR_MS allows the expired manifest to be
/// returned, MC_OPT_RETRY_MS applies instead. Default 0: not at all.
pub const MC_OPT_FAILURE_TTL_MS: mc_option = 11;

/// For MC_OPT_SYNTAX: JSON as RFC 8259 defines it.
pub const MC_SYNTAX_JSON: u64 = 0;
/// For MC_OPT_SYNTAX: JSON with comments, as Visual Studio Code and browsers' extensions have it.
/// Besides what JSON allows, a manifest may have a byte order mark at its start, comments of both
/// kinds that C has, and a comma after the last member of an object or the last element of an
/// array. The manifest is returned byte for byte as it was loaded, so the caller needs a parser
/// that reads these.
pub const MC_SYNTAX_JSONC: u64 = 1;

const _: () =
    assert!(MC_SYNTAX_JSON == Syntax::Json as u64 && MC_SYNTAX_JSONC == Syntax::Jsonc as u64);

const _: () = assert!(
    MC_OPT_TTL_MS == CacheOption::TtlMs as mc_option
        && MC_OPT_STALE_IF_ERROR_MS == CacheOption::StaleIfErrorMs as mc_option
        && MC_OPT_RETRY_MS == CacheOption::RetryMs as mc_option
        && MC_OPT_STALE_WHILE_REVALIDATE_MS == CacheOption::StaleWhileRevalidateMs as mc_option
        && MC_OPT_NEGATIVE_TTL_MS == CacheOption::NegativeTtlMs as mc_option
        && MC_OPT_MAX_ENTRIES == CacheOption::MaxEntries as mc_option
        && MC_OPT_MAX_BYTES == CacheOption::MaxBytes as mc_option
        && MC_OPT_MAX_MANIFEST_BYTES == CacheOption::MaxManifestBytes as mc_option
        && MC_OPT_WAIT_MS == CacheOption::WaitMs as mc_option
        && MC_OPT_SYNTAX == CacheOption::Syntax as mc_option
        && MC_OPT_FAILURE_TTL_MS == CacheOption::FailureTtlMs as mc_option
        && CacheOption::COUNT == 11
);

/// Sets an option from now on. Other threads may use the cache meanwhile. When this returns, the
/// cache holds no more than a new bound allows.
///
/// Returns MC_OK, or MC_INVALID_ARGUMENT if the option or value is invalid or cache is NULL; then
/// nothing changes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_set_option(
    cache: *mut mc_cache,
    option: mc_option,
    value: u64,
) -> mc_status {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let (cache, option) = (unsafe { cache_of(cache) }, CacheOption::from_number(option));
    let (Some(cache), Some(option)) = (cache, option) else { return MC_INVALID_ARGUMENT };
    status_of(&guarded(|| cache.set(option, value)).unwrap_or_else(Err))
}
