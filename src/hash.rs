//! The hash of a plugin's id.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// The hash of a plugin's id. It is the same for all caches of the process. Each process has its
/// own random seed, so that an attacker cannot choose ids that collide.
#[inline]
pub(crate) fn hash(id: &[u8]) -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let seed = match SEED.load(Ordering::Relaxed) {
        0 => choose_once(&SEED),
        seed => seed,
    };
    FixedState::with_seed(seed).hash_one(id)
}

/// Sets the seed if it is 0; returns it. This is not a `LazyLock`: if a fork happens while another
/// thread initializes a `LazyLock`, the child waits for it for ever.
#[cold]
fn choose_once(seed: &AtomicU64) -> u64 {
    let random = std::collections::hash_map::RandomState::new().hash_one(0) | 1;
    seed.compare_exchange(0, random, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(random)
}

/// The part of a hash that a manifest stores.
#[inline]
pub(crate) fn short_hash(hash: u64) -> u16 {
    (hash >> 32) as u16
}
