//! Counters that cost the hit path no shared cache line, and the report made of them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// What a cache holds and what it has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Manifests held, expired ones included.
    pub total_entries: u64,
    /// Manifests held whose time to live is over.
    pub expired_entries: u64,
    /// The time to live of new entries in milliseconds; `u64::MAX` is for ever.
    pub ttl_ms: u64,
    /// Calls answered with a fresh manifest at once.
    pub hits: u64,
    /// Calls that led a load, closed a cycle, or looked and found nothing.
    pub misses: u64,
    /// Loaders called.
    pub loads: u64,
    /// Loads that failed, gave no manifest that is one, or threw.
    pub load_failures: u64,
    /// Loads that answered "not found".
    pub not_found: u64,
    /// Calls that shared another call's load.
    pub waits: u64,
    /// Loads whose outcome was not stored because a clear came between.
    pub discarded: u64,
    /// Time spent in loads, in milliseconds.
    pub load_time_ms: u64,
    /// Length of the manifests held, together.
    pub bytes: u64,
}

impl Stats {
    /// The same as a JSON object, with the time to live as `ttl_seconds` (null for ever).
    pub fn to_json(&self) -> String {
        let ttl_seconds = match self.ttl_ms {
            u64::MAX => "null".to_owned(),
            ms if ms % 1000 == 0 => (ms / 1000).to_string(),
            ms => format!("{}.{:03}", ms / 1000, ms % 1000).trim_end_matches('0').to_owned(),
        };
        format!(
            concat!(
                r#"{{"total_entries":{},"expired_entries":{},"ttl_seconds":{},"hits":{},"misses":{},"loads":{},"#,
                r#""load_failures":{},"not_found":{},"waits":{},"discarded":{},"load_time_ms":{},"bytes":{}}}"#
            ),
            self.total_entries,
            self.expired_entries,
            ttl_seconds,
            self.hits,
            self.misses,
            self.loads,
            self.load_failures,
            self.not_found,
            self.waits,
            self.discarded,
            self.load_time_ms,
            self.bytes,
        )
    }
}

/// What a cache counts as it goes.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) hits: Striped,
    pub(crate) misses: Counter,
    pub(crate) loads: Counter,
    pub(crate) load_failures: Counter,
    pub(crate) not_found: Counter,
    pub(crate) waits: Counter,
    pub(crate) discarded: Counter,
    pub(crate) load_time_ns: Counter,
}

/// A plain counter, for what is slow anyway.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter in stripes, one for each lane, so that threads in different lanes share no cache line.
pub(crate) struct Striped(Box<[Stripe]>);

/// Two lines of 64 bytes, as the processor fetches them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// Which stripe a thread counts in. No two threads alive have the same one, except the shared lane, which is for those
/// that come when all others are taken.
pub(crate) struct Lane(usize);

const LANES: usize = u64::BITS as usize;
const SHARED: usize = LANES;
const UNCLAIMED: usize = LANES + 1;
static TAKEN: AtomicU64 = AtomicU64::new(0);

impl Lane {
    /// A lane that is claimed when it is first used, and ours until it is dropped.
    pub(crate) const fn new() -> Self {
        Lane(UNCLAIMED)
    }

    fn claim() -> Self {
        let with_lowest_free = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
        match TAKEN.fetch_update(AcqRel, Acquire, with_lowest_free) {
            Ok(taken) => Lane(taken.trailing_ones() as usize),
            Err(_) => Lane(SHARED),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.0 < LANES {
            // Release: who claims this lane next goes on from our counts.
            TAKEN.fetch_and(!(1 << self.0), Release);
        }
    }
}

impl Default for Striped {
    fn default() -> Self {
        Striped((0..=LANES).map(|_| Stripe::default()).collect())
    }
}

impl Striped {
    #[inline]
    pub(crate) fn increment(&self, lane: &mut Lane) {
        if lane.0 < LANES {
            // Nobody else writes this stripe, so there is no need to lock the bus.
            let Stripe(count) = &self.0[lane.0];
            count.store(count.load(Relaxed) + 1, Relaxed);
        } else {
            self.increment_slowly(lane);
        }
    }

    #[cold]
    fn increment_slowly(&self, lane: &mut Lane) {
        if lane.0 == UNCLAIMED {
            *lane = Lane::claim();
            return self.increment(lane);
        }
        self.0[SHARED].0.fetch_add(1, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(ttl_ms: u64) -> Stats {
        Stats {
            total_entries: 2,
            expired_entries: 1,
            ttl_ms,
            hits: 3,
            misses: 4,
            loads: 5,
            load_failures: 6,
            not_found: 7,
            waits: 8,
            discarded: 9,
            load_time_ms: 10,
            bytes: 11,
        }
    }

    #[test]
    fn the_json_starts_with_the_three_figures_of_old() {
        let json = stats(300_000).to_json();
        assert!(json.starts_with(r#"{"total_entries":2,"expired_entries":1,"ttl_seconds":300,"hits":3,"#), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["bytes"], 11);
    }

    #[test]
    fn ttl_seconds_is_fractional_if_need_be_and_null_for_ever() {
        for (ms, seconds) in [(0, "0"), (1_500, "1.5"), (1, "0.001"), (60_010, "60.01"), (u64::MAX, "null")] {
            assert!(stats(ms).to_json().contains(&format!("\"ttl_seconds\":{seconds},")), "{ms}");
        }
    }

    #[test]
    fn striped_counts_add_up_over_more_threads_than_lanes() {
        let hits = Striped::default();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..2 * LANES {
                    scope.spawn(|| {
                        let mut lane = Lane::new();
                        (0..100).for_each(|_| hits.increment(&mut lane));
                    });
                }
            });
        }
        assert_eq!(hits.get(), 3 * 2 * LANES as u64 * 100);
    }

    #[test]
    fn no_two_have_the_same_lane() {
        let lanes: Vec<_> = (0..LANES + 2).map(|_| Lane::claim()).collect();
        let mut own: Vec<_> = lanes.iter().map(|lane| lane.0).filter(|lane| *lane < LANES).collect();
        own.sort();
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
    }
}
