//! What a cache's user may set, at any time.

use crate::clock::{Nanos, from_millis};
use crate::error::{Error, Status};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something to set with [`Cache::set`](crate::Cache::set). Times are in milliseconds, `u64::MAX` for ever; what is off is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Policy {
    /// The time to live of manifests stored from now on; 0 stores nothing.
    TtlMs = 1,
    /// How long past its expiry a manifest is served when its reload fails (RFC 5861). Off at first.
    StaleIfErrorMs,
    /// How long the loader is left alone after such a failure; 1 000 at first.
    RetryMs,
    /// How long past its expiry a manifest is served to others while one caller reloads it (RFC 5861). Off at first.
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
const ALL: [(Policy, u64); 9] = [
    (Policy::TtlMs, 300_000),
    (Policy::StaleIfErrorMs, 0),
    (Policy::RetryMs, 1_000),
    (Policy::StaleWhileRevalidateMs, 0),
    (Policy::NegativeTtlMs, 0),
    (Policy::MaxEntries, 0),
    (Policy::MaxBytes, 0),
    (Policy::MaxManifestBytes, 16 * 1024 * 1024),
    (Policy::WaitMs, 30_000),
];

impl Policy {
    /// The policy with this number in the C header.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        ALL.iter().map(|(policy, _)| *policy).find(|policy| *policy as i32 == number)
    }
}

pub(crate) struct Policies([AtomicU64; ALL.len()]);

impl Policies {
    pub(crate) fn new(ttl_ms: u64) -> Self {
        let policies = Policies(ALL.map(|(_, default)| AtomicU64::new(default)));
        policies.slot(Policy::TtlMs).store(ttl_ms, Relaxed);
        policies
    }

    /// Sets a policy, unless it is to a value that cannot be.
    pub(crate) fn set(&self, policy: Policy, value: u64) -> Result<(), Error> {
        if policy == Policy::MaxManifestBytes && (value == 0 || value > isize::MAX as u64) {
            let what = format!("MC_MAX_MANIFEST_BYTES cannot be {value}; set a number of bytes from 1");
            return Err(Error::new(Status::InvalidArgument, what));
        }
        self.slot(policy).store(value, Relaxed);
        Ok(())
    }

    pub(crate) fn get(&self, policy: Policy) -> u64 {
        self.slot(policy).load(Relaxed)
    }

    /// A policy that is a time.
    pub(crate) fn time(&self, policy: Policy) -> Nanos {
        from_millis(self.get(policy))
    }

    fn slot(&self, policy: Policy) -> &AtomicU64 {
        &self.0[policy as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_has_a_place_a_default_and_a_number_of_its_own() {
        let policies = Policies::new(7);
        assert_eq!(policies.get(Policy::TtlMs), 7);
        assert_eq!(policies.get(Policy::RetryMs), 1_000);
        assert_eq!(policies.get(Policy::MaxManifestBytes), 16 << 20);
        assert_eq!(policies.get(Policy::WaitMs), 30_000);
        for (at, (policy, _)) in ALL.into_iter().enumerate() {
            assert_eq!(policy as usize, at + 1);
            assert_eq!(Policy::from_number(at as i32 + 1), Some(policy));
            policies.set(policy, 100 + at as u64).unwrap();
        }
        assert!(ALL.iter().enumerate().all(|(at, (policy, _))| policies.get(*policy) == 100 + at as u64));
        assert!(Policy::from_number(0).is_none() && Policy::from_number(10).is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let policies = Policies::new(7);
        for value in [0, u64::MAX] {
            let error = policies.set(Policy::MaxManifestBytes, value).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
        }
        assert_eq!(policies.get(Policy::MaxManifestBytes), 16 << 20);
    }
}
