//! What a cache's user may set, at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something to set with [`Cache::set`](crate::Cache::set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The time to live of manifests stored from now on, in milliseconds; `u64::MAX` is for ever, 0 keeps nothing.
    TtlMs,
    /// A larger manifest is invalid; in bytes, 16 MiB at first.
    MaxManifestBytes,
    /// How long a call waits for another thread's load, in milliseconds, 30 000 at first; 0 is for ever.
    WaitMs,
}

const DEFAULTS: [u64; 3] = [300_000, 16 * 1024 * 1024, 30_000];

pub(crate) struct Policies([AtomicU64; DEFAULTS.len()]);

impl Policies {
    pub(crate) fn new(ttl_ms: u64) -> Self {
        let policies = Policies(DEFAULTS.map(AtomicU64::new));
        policies.set(Policy::TtlMs, ttl_ms);
        policies
    }

    pub(crate) fn set(&self, policy: Policy, value: u64) {
        self.0[policy as usize].store(value, Relaxed);
    }

    pub(crate) fn get(&self, policy: Policy) -> u64 {
        self.0[policy as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_has_a_place_and_a_default_of_its_own() {
        let policies = Policies::new(7);
        assert_eq!(policies.get(Policy::TtlMs), 7);
        assert_eq!(policies.get(Policy::MaxManifestBytes), 16 << 20);
        assert_eq!(policies.get(Policy::WaitMs), 30_000);
        policies.set(Policy::WaitMs, 1);
        assert_eq!((policies.get(Policy::TtlMs), policies.get(Policy::WaitMs)), (7, 1));
    }
}
