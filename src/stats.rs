//! The statistics of a cache: their table, and the counters. Threads that count hits do not write
//! to the same cache line.

use crate::boxed::boxed;
use crate::fork;
use once_cell::race::OnceBox;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Where a statistic comes from.
enum Source {
    /// A counter.
    Counted,
    /// A counter of nanoseconds, shown in milliseconds.
    Timed,
    /// The counter of hits, which is striped.
    Hits,
    /// What the cache holds at the moment, or an option.
    Held(fn(&dyn Held) -> u64),
}

/// The numbers that are not counted but taken from the cache.
pub(crate) trait Held {
    fn entries(&self) -> u64;
    fn expired_entries(&self) -> u64;
    fn bytes(&self) -> u64;
    fn ttl_ms(&self) -> u64;
}

/// Defines `Stat` and its table. A row is the meaning of a statistic, its number, its name in JSON
/// and its source.
macro_rules! statistics {
    ($($(#[$meaning:meta])* $stat:ident = $number:literal, $name:literal, $source:expr;)*) => {
        /// A statistic of a cache.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Stat {
            $($(#[$meaning])* $stat = $number,)*
        }

        /// All statistics, in the order of their numbers.
        const ALL: [(Stat, &str, Source); Stat::COUNT] = [$((Stat::$stat, $name, $source),)*];

        impl Stat {
            /// How many statistics there are. Not for users: later versions have more.
            #[doc(hidden)]
            pub const COUNT: usize = [$($number),*].len();
        }
    };
}

statistics! {
    /// Entries held: manifests, expired ones included, and remembered "not found"s and failures.
    TotalEntries = 1, "total_entries", Source::Held(|held| held.entries());
    /// Entries held whose time to live is over.
    ExpiredEntries = 2, "expired_entries", Source::Held(|held| held.expired_entries());
    /// The time to live of new entries in milliseconds; `u64::MAX` is for ever.
    TtlMs = 3, "ttl_seconds", Source::Held(|held| held.ttl_ms());
    /// Calls that returned a fresh manifest at once.
    Hits = 4, "hits", Source::Hits;
    /// Calls that began a load, that would have closed a cycle, or that had no loader and found
    /// nothing.
    Misses = 5, "misses", Source::Counted;
    /// Loads begun.
    Loads = 6, "loads", Source::Counted;
    /// Loads that failed, brought an invalid manifest, gave no answer or threw an exception.
    LoadFailures = 7, "load_failures", Source::Counted;
    /// Loads that answered "not found".
    NotFound = 8, "not_found", Source::Counted;
    /// Calls that waited for another call's load, whatever its outcome.
    Waits = 9, "waits", Source::Counted;
    /// Loads whose outcome was not stored because a clear, a put or a load that began later came
    /// first.
    Discarded = 10, "discarded", Source::Counted;
    /// Time spent in loads, in milliseconds.
    LoadTimeMs = 11, "load_time_ms", Source::Timed;
    /// Bytes that the entries occupy, as `CacheOption::MaxBytes` counts them.
    Bytes = 12, "bytes", Source::Held(|held| held.bytes());
    /// Calls that returned an expired manifest at once, as an option allows.
    StaleHits = 13, "stale_hits", Source::Counted;
    /// Calls answered at once by a remembered "not found" or failure.
    NegativeHits = 14, "negative_hits", Source::Counted;
    /// Loads that found the expired manifest to be unchanged.
    Unchanged = 15, "unchanged", Source::Counted;
    /// Entries removed because of a bound.
    Evictions = 16, "evictions", Source::Counted;
    /// Waits that timed out.
    Timeouts = 17, "timeouts", Source::Counted;
}

impl Stat {
    /// The statistic with this number in the C header.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        ALL.iter().map(|(stat, ..)| *stat).find(|stat| *stat as i32 == number)
    }

    fn index(self) -> usize {
        self as usize - 1
    }
}

/// All statistics of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats([u64; Stat::COUNT]);

impl Stats {
    pub(crate) fn collect(counters: &Counters, held: &dyn Held) -> Self {
        Stats(std::array::from_fn(|at| counters.get(ALL[at].0, held)))
    }

    /// The value of one statistic.
    pub fn get(&self, stat: Stat) -> u64 {
        self.0[stat.index()]
    }

    /// All statistics as a JSON object. The time to live is in seconds, or null for one that never
    /// ends.
    pub fn to_json(&self) -> String {
        let member = |(stat, name, _): &(Stat, &str, Source)| match stat {
            Stat::TtlMs => format!("\"{name}\":{}", json_seconds(self.get(*stat))),
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

/// The counters of a cache.
#[derive(Default)]
pub(crate) struct Counters {
    hits: Striped,
    others: [AtomicU64; Stat::COUNT],
}

impl Counters {
    /// Counts a hit in the thread's own stripe.
    #[inline]
    pub(crate) fn add_hit(&self, stripe: &mut StripeIndex) {
        self.hits.increment(stripe);
    }

    /// Adds `n` to a counter; `n` is in nanoseconds if the statistic is a time.
    pub(crate) fn add(&self, stat: Stat, n: u64) {
        debug_assert!(matches!(ALL[stat.index()].2, Source::Counted | Source::Timed));
        self.others[stat.index()].fetch_add(n, Relaxed);
    }

    /// The value of a statistic.
    pub(crate) fn get(&self, stat: Stat, held: &dyn Held) -> u64 {
        let counted = self.others[stat.index()].load(Relaxed);
        match &ALL[stat.index()].2 {
            Source::Counted => counted,
            Source::Timed => counted / 1_000_000,
            Source::Hits => self.hits.get(),
            Source::Held(get) => get(held),
        }
    }
}

/// A counter that is the sum of stripes. Threads that count in different stripes do not write to
/// the same cache line.
///
/// The first stripe that counts has its place here. The others are made when a second one counts.
pub(crate) struct Striped {
    first: First,
    /// The index of the first stripe, below `STRIPES`, or `NOBODY`.
    owner: AtomicUsize,
    others: OnceBox<[Stripe; STRIPES + 1]>,
}

/// A cache line. A cache has but one, so it is not as generous as [`Stripe`].
#[derive(Default)]
#[repr(align(64))]
struct First(AtomicU64);

/// Two cache lines of 64 bytes, because processors fetch lines in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// The stripe that a thread counts in. Each living thread has its own. Threads that find all of
/// them taken use the shared stripe.
pub(crate) struct StripeIndex(usize);

const STRIPES: usize = u64::BITS as usize;
const SHARED: usize = STRIPES;
const UNCLAIMED: usize = STRIPES + 1;
const NOBODY: usize = STRIPES + 2;
/// A bit for each stripe that belongs to a thread.
static TAKEN: AtomicU64 = AtomicU64::new(0);

impl StripeIndex {
    /// The first use claims a stripe, and the drop of this value frees it.
    pub(crate) const fn new() -> Self {
        StripeIndex(UNCLAIMED)
    }

    /// Frees the stripes of the parent's threads, once in each forked child. Only the thread that
    /// forked knows which stripe is its own. If another thread calls this first, no stripe is
    /// freed.
    pub(crate) fn free_others_after_fork(&self) {
        static SETTLED_IN: AtomicU64 = AtomicU64::new(0);
        let own = if self.0 < STRIPES { 1 << self.0 } else { 0 };
        let inherited = TAKEN.load(Acquire);
        let (before, now) = (SETTLED_IN.load(Acquire), fork::epoch());
        let is_first =
            before != now && SETTLED_IN.compare_exchange(before, now, AcqRel, Acquire).is_ok();
        if is_first && before != 0 && fork::is_forking_thread() {
            TAKEN.fetch_and(own | !inherited, AcqRel);
        }
    }

    fn claim() -> Self {
        StripeIndex(UNCLAIMED).free_others_after_fork();
        let with_lowest_free = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
        match TAKEN.fetch_update(AcqRel, Acquire, with_lowest_free) {
            Ok(taken) => StripeIndex(taken.trailing_ones() as usize),
            Err(_) => StripeIndex(SHARED),
        }
    }
}

impl Drop for StripeIndex {
    fn drop(&mut self) {
        if self.0 < STRIPES {
            // Release: the next thread that claims this stripe must see what this thread counted.
            TAKEN.fetch_and(!(1 << self.0), Release);
        }
    }
}

impl Default for Striped {
    fn default() -> Self {
        let (first, owner) = (First::default(), AtomicUsize::new(NOBODY));
        Striped { first, owner, others: OnceBox::new() }
    }
}

impl Striped {
    #[inline]
    pub(crate) fn increment(&self, stripe: &mut StripeIndex) {
        // No other thread writes to this stripe, so the addition need not be atomic.
        let add = |count: &AtomicU64| count.store(count.load(Relaxed) + 1, Relaxed);
        if stripe.0 == self.owner.load(Relaxed) {
            return add(&self.first.0);
        }
        if let Some(others) = self.others.get() {
            if stripe.0 < STRIPES {
                return add(&others[stripe.0].0);
            }
        }
        self.increment_slowly(stripe);
    }

    #[cold]
    fn increment_slowly(&self, stripe: &mut StripeIndex) {
        if stripe.0 == UNCLAIMED {
            *stripe = StripeIndex::claim();
        }
        if stripe.0 < STRIPES {
            let is_first = self.owner.compare_exchange(NOBODY, stripe.0, Relaxed, Relaxed).is_ok();
            if !is_first {
                self.others();
            }
            return self.increment(stripe);
        }
        self.others()[SHARED].0.fetch_add(1, Relaxed);
    }

    fn others(&self) -> &[Stripe; STRIPES + 1] {
        self.others.get_or_init(|| boxed(|_| Stripe::default()))
    }

    pub(crate) fn get(&self) -> u64 {
        let others = self.others.get().into_iter().flatten().map(|Stripe(count)| count);
        others.chain([&self.first.0]).map(|count| count.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Example {
        ttl_ms: u64,
    }

    impl Held for Example {
        fn entries(&self) -> u64 {
            101
        }
        fn expired_entries(&self) -> u64 {
            102
        }
        fn bytes(&self) -> u64 {
            112
        }
        fn ttl_ms(&self) -> u64 {
            self.ttl_ms
        }
    }

    fn stats(ttl_ms: u64) -> Stats {
        let counters = Counters::default();
        counters.add_hit(&mut StripeIndex::new());
        counters.add(Stat::Timeouts, 3);
        counters.add(Stat::LoadTimeMs, 5_000_000);
        Stats::collect(&counters, &Example { ttl_ms })
    }

    #[test]
    fn each_statistic_has_a_number_and_a_place_of_its_own() {
        for (at, (stat, ..)) in ALL.iter().enumerate() {
            assert_eq!(stat.index(), at);
            assert_eq!(Stat::from_number(at as i32 + 1), Some(*stat));
        }
        assert!(
            Stat::from_number(0).is_none() && Stat::from_number(ALL.len() as i32 + 1).is_none()
        );
    }

    #[test]
    fn the_json_begins_with_the_three_members_of_the_replaced_class() {
        let json = stats(300_000).to_json();
        assert!(
            json.starts_with(
                r#"{"total_entries":101,"expired_entries":102,"ttl_seconds":300,"hits":1,"#
            ),
            "{json}"
        );
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["bytes"], 112);
        assert_eq!((&value["timeouts"], &value["load_time_ms"]), (&3.into(), &5.into()));
    }

    #[test]
    fn ttl_seconds_can_have_decimals_and_is_null_for_ever() {
        for (ms, seconds) in
            [(0, "0"), (1_500, "1.5"), (1, "0.001"), (60_010, "60.01"), (u64::MAX, "null")]
        {
            assert!(stats(ms).to_json().contains(&format!("\"ttl_seconds\":{seconds},")), "{ms}");
        }
    }

    #[test]
    fn the_stripes_add_up_even_with_more_threads_than_stripes() {
        let hits = Striped::default();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..2 * STRIPES {
                    scope.spawn(|| {
                        let mut stripe = StripeIndex::new();
                        (0..100).for_each(|_| hits.increment(&mut stripe));
                    });
                }
            });
        }
        assert_eq!(hits.get(), 3 * 2 * STRIPES as u64 * 100);
    }

    #[test]
    fn no_two_threads_have_the_same_stripe() {
        let stripes: Vec<_> = (0..STRIPES + 2).map(|_| StripeIndex::claim()).collect();
        let mut own: Vec<_> =
            stripes.iter().map(|stripe| stripe.0).filter(|stripe| *stripe < STRIPES).collect();
        own.sort();
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
    }
}
