//! What a cache's user may set, at any time.

use crate::clock::{Nanos, from_millis};
use crate::error::{Error, Status};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something to set with [`Cache::set`](crate::Cache::set). Times are in milliseconds, `u64::MAX`
/// for ever; what is off is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum CacheOption {
    /// The time to live of manifests stored from now on; 0 stores nothing.
    TtlMs = 1,
    /// How long past its expiry a manifest is served when its reload fails (RFC 5861). Off at
    /// first.
    StaleIfErrorMs,
    /// How long the loader is left alone after such a failure; 1 000 at first.
    RetryMs,
    /// How long past its expiry a manifest is served to others while one caller reloads it (RFC
    /// 5861). Off at first.
    StaleWhileRevalidateMs,
    /// How long "not found" is remembered. Off at first.
    NegativeTtlMs,
    /// How many entries are held at most. Off at first.
    MaxEntries,
    /// How long the manifests held may be together, in bytes. Off at first.
    MaxBytes,
    /// A larger manifest is invalid; in bytes, 16 MiB at first, never 0.
    MaxManifestBytes,
    /// How long a call waits for another thread's load; 30 000 at first, 0 for ever.
    WaitMs,
}

/// In the order of their numbers, each with its default.
const ALL: [(CacheOption, u64); 9] = [
    (CacheOption::TtlMs, 300_000),
    (CacheOption::StaleIfErrorMs, 0),
    (CacheOption::RetryMs, 1_000),
    (CacheOption::StaleWhileRevalidateMs, 0),
    (CacheOption::NegativeTtlMs, 0),
    (CacheOption::MaxEntries, 0),
    (CacheOption::MaxBytes, 0),
    (CacheOption::MaxManifestBytes, 16 * 1024 * 1024),
    (CacheOption::WaitMs, 30_000),
];

impl CacheOption {
    /// The option with this number in the C header.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        ALL.iter().map(|(option, _)| *option).find(|option| *option as i32 == number)
    }
}

pub(crate) struct Options([AtomicU64; ALL.len()]);

impl Options {
    pub(crate) fn new(ttl_ms: u64) -> Self {
        let options = Options(ALL.map(|(_, default)| AtomicU64::new(default)));
        options.slot(CacheOption::TtlMs).store(ttl_ms, Relaxed);
        options
    }

    /// Sets a option, unless it is to a value that cannot be.
    pub(crate) fn set(&self, option: CacheOption, value: u64) -> Result<(), Error> {
        if option == CacheOption::MaxManifestBytes && (value == 0 || value > isize::MAX as u64) {
            let what = format!(
                "MC_OPT_MAX_MANIFEST_BYTES cannot be {value}; set a number of bytes from 1"
            );
            return Err(Error::new(Status::InvalidArgument, what));
        }
        self.slot(option).store(value, Relaxed);
        Ok(())
    }

    pub(crate) fn get(&self, option: CacheOption) -> u64 {
        self.slot(option).load(Relaxed)
    }

    /// A option that is a time.
    pub(crate) fn time(&self, option: CacheOption) -> Nanos {
        from_millis(self.get(option))
    }

    fn slot(&self, option: CacheOption) -> &AtomicU64 {
        &self.0[option as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_has_a_place_a_default_and_a_number_of_its_own() {
        let options = Options::new(7);
        assert_eq!(options.get(CacheOption::TtlMs), 7);
        assert_eq!(options.get(CacheOption::RetryMs), 1_000);
        assert_eq!(options.get(CacheOption::MaxManifestBytes), 16 << 20);
        assert_eq!(options.get(CacheOption::WaitMs), 30_000);
        for (at, (option, _)) in ALL.into_iter().enumerate() {
            assert_eq!(option as usize, at + 1);
            assert_eq!(CacheOption::from_number(at as i32 + 1), Some(option));
            options.set(option, 100 + at as u64).unwrap();
        }
        assert!(
            ALL.iter().enumerate().all(|(at, (option, _))| options.get(*option) == 100 + at as u64)
        );
        assert!(CacheOption::from_number(0).is_none() && CacheOption::from_number(10).is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let options = Options::new(7);
        for value in [0, u64::MAX] {
            let error = options.set(CacheOption::MaxManifestBytes, value).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
        }
        assert_eq!(options.get(CacheOption::MaxManifestBytes), 16 << 20);
    }
}
