//! Counters that cost the hit path no shared cache line, and the reports made of them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// A statistic of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Stat {
    /// Entries held: manifests, expired ones included, and remembered "not found"s.
    TotalEntries = 1,
    /// Entries held whose time to live is over.
    ExpiredEntries,
    /// The time to live of new entries in milliseconds; `u64::MAX` is for ever.
    TtlMs,
    /// Calls answered with a fresh manifest at once.
    Hits,
    /// Calls that led a load, closed a circle, or looked and found nothing.
    Misses,
    /// Loaders called.
    Loads,
    /// Loads that failed, gave no manifest that is one, or threw.
    LoadFailures,
    /// Loads that answered "not found".
    NotFound,
    /// Calls that waited for another call's load, however that ended.
    Waits,
    /// Loads whose outcome was not stored because a clear, a put or a timeout came between.
    Discarded,
    /// Time spent in loads, in milliseconds.
    LoadTimeMs,
    /// Length of the manifests held, together.
    Bytes,
    /// Calls answered with an expired manifest at once, as a option allows.
    StaleHits,
    /// Calls answered at once by a remembered "not found".
    NegativeHits,
    /// Loads that found the expired manifest to be still right.
    Unchanged,
    /// Entries that had to go because of a bound.
    Evictions,
    /// Calls that waited in vain.
    Timeouts,
}

/// In the order of their numbers, each with its name in the JSON object.
const ALL: [(Stat, &str); 17] = [
    (Stat::TotalEntries, "total_entries"),
    (Stat::ExpiredEntries, "expired_entries"),
    (Stat::TtlMs, "ttl_ms"),
    (Stat::Hits, "hits"),
    (Stat::Misses, "misses"),
    (Stat::Loads, "loads"),
    (Stat::LoadFailures, "load_failures"),
    (Stat::NotFound, "not_found"),
    (Stat::Waits, "waits"),
    (Stat::Discarded, "discarded"),
    (Stat::LoadTimeMs, "load_time_ms"),
    (Stat::Bytes, "bytes"),
    (Stat::StaleHits, "stale_hits"),
    (Stat::NegativeHits, "negative_hits"),
    (Stat::Unchanged, "unchanged"),
    (Stat::Evictions, "evictions"),
    (Stat::Timeouts, "timeouts"),
];

impl Stat {
    /// The statistic with this number in the C header.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        ALL.iter().map(|(stat, _)| *stat).find(|stat| *stat as i32 == number)
    }
}

/// All statistics of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats([u64; ALL.len()]);

impl Stats {
    pub(crate) fn collect(stat: impl Fn(Stat) -> u64) -> Self {
        Stats(ALL.map(|(which, _)| stat(which)))
    }

    /// One of them.
    pub fn get(&self, stat: Stat) -> u64 {
        self.0[stat as usize - 1]
    }

    /// All of them as a JSON object, with the time to live as `ttl_seconds` (null for ever).
    pub fn to_json(&self) -> String {
        let member = |(stat, name): &(Stat, &str)| match stat {
            Stat::TtlMs => format!("\"ttl_seconds\":{}", json_seconds(self.get(*stat))),
            _ => format!("\"{name}\":{}", self.get(*stat)),
        };
        format!("{{{}}}", ALL.iter().map(member).collect::<Vec<_>>().join(","))
    }
}

fn json_seconds(ms: u64) -> String {
    match ms {
        u64::MAX => "null".to_owned(),
        ms if ms % 1000 == 0 => (ms / 1000).to_string(),
        ms => format!("{}.{:03}", ms / 1000, ms % 1000).trim_end_matches('0').to_owned(),
    }
}

/// What a cache counts as it goes.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) hits: Striped,
    pub(crate) stale_hits: Counter,
    pub(crate) negative_hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) waits: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) loads: Counter,
    pub(crate) load_failures: Counter,
    pub(crate) not_found: Counter,
    pub(crate) unchanged: Counter,
    pub(crate) discarded: Counter,
    pub(crate) evictions: Counter,
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

/// Which stripe a thread counts in. No two threads alive have the same one, except the shared lane,
/// which is for those that come when all others are taken.
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
        Stats::collect(|stat| if stat == Stat::TtlMs { ttl_ms } else { 100 + stat as u64 })
    }

    #[test]
    fn each_statistic_has_a_number_and_a_place_of_its_own() {
        for (at, (stat, _)) in ALL.into_iter().enumerate() {
            assert_eq!(stat as usize, at + 1);
            assert_eq!(Stat::from_number(at as i32 + 1), Some(stat));
        }
        assert!(
            Stat::from_number(0).is_none() && Stat::from_number(ALL.len() as i32 + 1).is_none()
        );
    }

    #[test]
    fn the_json_starts_with_the_three_figures_of_old() {
        let json = stats(300_000).to_json();
        assert!(
            json.starts_with(
                r#"{"total_entries":101,"expired_entries":102,"ttl_seconds":300,"hits":104,"#
            ),
            "{json}"
        );
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["bytes"], 100 + Stat::Bytes as u64);
    }

    #[test]
    fn ttl_seconds_is_fractional_if_need_be_and_null_for_ever() {
        for (ms, seconds) in
            [(0, "0"), (1_500, "1.5"), (1, "0.001"), (60_010, "60.01"), (u64::MAX, "null")]
        {
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
        let mut own: Vec<_> =
            lanes.iter().map(|lane| lane.0).filter(|lane| *lane < LANES).collect();
        own.sort();
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
    }
}
