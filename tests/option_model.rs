//! Runs random steps with random options on the cache and on a simple model of what the header
//! says, and compares the two after each step. A second test checks that bounds always hold.

mod common;

use common::cache::{TTL, unexpected};
use manifest_cache::{Cache, CacheOption, Clock, Load, Stat, Status};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

/// What the loader brings.
#[derive(Clone, Copy, Debug)]
enum Brings {
    /// A manifest, perhaps with a time to live of its own.
    Manifest(u8, Option<u64>),
    Unchanged,
    Empty,
    Nothing,
    Failure,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(usize, Brings),
    Look(usize),
    Put(usize, u8),
    Clear(usize),
    ClearAll,
    Purge,
    Set(CacheOption, u64),
    TimePasses(u64),
}

const IDS: [&str; 3] = ["a", "b", "c"];
/// What an entry occupies besides its id and its manifest, as the C header says.
const ENTRY_BYTES: usize = 384;

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(500), Just(1_000), Just(1_001), 0..3_000_u64]
}

fn option() -> impl Strategy<Value = (CacheOption, u64)> {
    let times = [
        CacheOption::TtlMs,
        CacheOption::StaleIfErrorMs,
        CacheOption::RetryMs,
        CacheOption::StaleWhileRevalidateMs,
        CacheOption::NegativeTtlMs,
        CacheOption::FailureTtlMs,
    ];
    (prop::sample::select(times.to_vec()), time())
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..IDS.len();
    let brings = prop_oneof![
        4 => (any::<u8>(), prop::option::weighted(0.3, time()))
            .prop_map(|(n, ttl)| Brings::Manifest(n, ttl)),
        2 => Just(Brings::Unchanged),
        1 => Just(Brings::Empty),
        2 => Just(Brings::Nothing),
        3 => Just(Brings::Failure),
    ];
    prop_oneof![
        12 => (id(), brings).prop_map(|(id, brings)| Step::Get(id, brings)),
        2 => id().prop_map(Step::Look),
        1 => (id(), any::<u8>()).prop_map(|(id, n)| Step::Put(id, n)),
        1 => id().prop_map(Step::Clear),
        1 => Just(Step::Purge),
        1 => option().prop_map(|(option, value)| Step::Set(option, value)),
        6 => time().prop_map(Step::TimePasses),
        1 => Just(Step::ClearAll),
    ]
}

/// The outcome of a get.
#[derive(Debug, PartialEq)]
enum Comes {
    Fresh(String),
    Stale(String),
    NotFound,
    Failed,
}

/// The options as the header describes them, without threads.
struct Model {
    now: u64,
    options: HashMap<i32, u64>,
    entries: HashMap<usize, Held>,
    loads: u32,
}

#[derive(Clone)]
struct Held {
    /// None for "not found" and for failures.
    text: Option<String>,
    is_failure: bool,
    stored_at: u64,
    ttl: u64,
    has_own_ttl: bool,
    retry_at: Option<u64>,
}

impl Held {
    fn expires_at(&self) -> u64 {
        self.stored_at + self.ttl
    }
}

impl Model {
    fn option(&self, option: CacheOption) -> u64 {
        self.options.get(&(option as i32)).copied().unwrap_or(0)
    }

    fn is_served_stale(&self, held: &Held) -> bool {
        let grace = self.option(CacheOption::StaleIfErrorMs);
        grace > 0 && held.text.is_some() && self.now <= held.expires_at() + grace
    }

    fn look(&self, id: usize) -> Option<&Held> {
        self.entries.get(&id).filter(|held| self.now <= held.expires_at())
    }

    fn store(&mut self, id: usize, text: Option<String>, ttl: u64, has_own_ttl: bool) {
        self.entries.remove(&id);
        if ttl > 0 {
            let (stored_at, is_failure, retry_at) = (self.now, false, None);
            let held = Held { text, is_failure, stored_at, ttl, has_own_ttl, retry_at };
            self.entries.insert(id, held);
        }
    }

    fn get(&mut self, id: usize, brings: Brings) -> Comes {
        if let Some(held) = self.look(id) {
            return match &held.text {
                Some(text) => Comes::Fresh(text.clone()),
                None if held.is_failure => Comes::Failed,
                None => Comes::NotFound,
            };
        }
        let expired = self.entries.get(&id).filter(|held| held.text.is_some()).cloned();
        if let Some(held) = &expired {
            if held.retry_at.is_some_and(|retry_at| self.now < retry_at)
                && self.is_served_stale(held)
            {
                return Comes::Stale(held.text.clone().unwrap());
            }
        }
        self.loads += 1;
        let ttl = self.option(CacheOption::TtlMs);
        match (brings, expired) {
            (Brings::Manifest(n, own), _) => {
                self.store(id, Some(text(n)), own.unwrap_or(ttl), own.is_some());
                Comes::Fresh(text(n))
            }
            (Brings::Unchanged, Some(held)) => {
                let ttl = if held.has_own_ttl { held.ttl } else { ttl };
                self.store(id, held.text.clone(), ttl, held.has_own_ttl);
                Comes::Fresh(held.text.unwrap())
            }
            (Brings::Empty, _) => {
                self.entries.remove(&id);
                Comes::Fresh("{}".to_owned())
            }
            (Brings::Nothing, _) => {
                self.store(id, None, self.option(CacheOption::NegativeTtlMs), true);
                Comes::NotFound
            }
            (Brings::Failure, Some(held)) if self.is_served_stale(&held) => {
                let retry_at = Some(self.now + self.option(CacheOption::RetryMs));
                let text = held.text.clone().unwrap();
                self.entries.insert(id, Held { retry_at, ..held });
                Comes::Stale(text)
            }
            (Brings::Failure | Brings::Unchanged, _) => {
                self.store(id, None, self.option(CacheOption::FailureTtlMs), true);
                self.entries.entry(id).and_modify(|held| held.is_failure = true);
                Comes::Failed
            }
        }
    }

    fn purge(&mut self) -> usize {
        let before = self.entries.len();
        let grace = self
            .option(CacheOption::StaleIfErrorMs)
            .max(self.option(CacheOption::StaleWhileRevalidateMs));
        let now = self.now;
        self.entries.retain(|_, held| {
            now <= held.expires_at() + if held.text.is_some() { grace } else { 0 }
        });
        before - self.entries.len()
    }

    /// The numbers of entries, of expired entries and of bytes.
    fn stats(&self) -> [u64; 3] {
        let expired = self.entries.values().filter(|held| self.now > held.expires_at()).count();
        let occupied = |(id, held): (&usize, &Held)| {
            IDS[*id].len() + held.text.as_ref().map_or(0, String::len) + ENTRY_BYTES
        };
        let bytes: usize = self.entries.iter().map(occupied).sum();
        [self.entries.len() as u64, expired as u64, bytes as u64]
    }
}

fn text(n: u8) -> String {
    format!("{{\"n\":{n}}}")
}

fn get(cache: &Cache, id: usize, brings: Brings, loads: &Cell<u32>) -> Comes {
    let loader = |load: &mut Load| {
        loads.set(loads.get() + 1);
        match brings {
            Brings::Manifest(n, own) => {
                let _ = own.map(|ttl_ms| load.ttl_ms(ttl_ms));
                load.json(text(n)).unwrap();
            }
            Brings::Unchanged => drop(load.unchanged()),
            Brings::Empty => load.json("{}").unwrap(),
            Brings::Nothing => load.not_found(),
            Brings::Failure => load.fail(1, "on purpose"),
        }
    };
    match cache.fetch(IDS[id], loader) {
        Ok(got) if got.stale.is_some() => Comes::Stale(got.manifest.to_string()),
        Ok(got) => Comes::Fresh(got.manifest.to_string()),
        Err(error) if error.status() == Status::NotFound => Comes::NotFound,
        Err(_) => Comes::Failed,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn options_do_what_the_header_says(
        options in prop::collection::vec(option(), 0..5),
        steps in prop::collection::vec(step(), 100),
    ) {
        let clock = Clock::manual();
        let cache = Cache::with_clock(TTL, clock.clone());
        let ttl_ms = TTL.as_millis() as u64;
        let defaults = [(CacheOption::TtlMs, ttl_ms), (CacheOption::RetryMs, 1_000)];
        let defaults = defaults.map(|(option, value)| (option as i32, value)).into();
        let mut model = Model { now: 0, options: defaults, entries: HashMap::new(), loads: 0 };
        let loads = Cell::new(0);
        let set = options.into_iter().map(|(option, value)| Step::Set(option, value));
        for step in set.chain(steps) {
            match step {
                Step::Get(id, brings) => {
                    prop_assert_eq!(get(&cache, id, brings, &loads), model.get(id, brings));
                }
                Step::Look(id) => {
                    let looked = cache.look(IDS[id]).ok().map(|manifest| manifest.to_string());
                    prop_assert_eq!(cache.revision(IDS[id]).is_some(), looked.is_some());
                    prop_assert_eq!(looked, model.look(id).and_then(|held| held.text.clone()));
                }
                Step::Put(id, n) => {
                    cache.put(IDS[id], text(n)).unwrap();
                    let ttl = model.option(CacheOption::TtlMs);
                    model.store(id, Some(text(n)), ttl, false);
                }
                Step::Clear(id) => {
                    prop_assert_eq!(cache.clear(IDS[id]), model.entries.remove(&id).is_some());
                }
                Step::ClearAll => {
                    prop_assert_eq!(cache.clear_all(), std::mem::take(&mut model.entries).len());
                }
                Step::Purge => prop_assert_eq!(cache.purge(), model.purge()),
                Step::Set(option, value) => {
                    cache.set(option, value).unwrap();
                    model.options.insert(option as i32, value);
                }
                Step::TimePasses(ms) => {
                    clock.advance(Duration::from_millis(ms));
                    model.now += ms;
                }
            }
            let stats = cache.stats();
            let stats = [Stat::TotalEntries, Stat::ExpiredEntries, Stat::Bytes]
                .map(|stat| stats.get(stat));
            let mut expected = model.stats();
            if model.entries.values().any(|held| held.is_failure) {
                // The model does not know how long the messages are.
                prop_assert!(stats[2] > expected[2]);
                expected[2] = stats[2];
            }
            prop_assert_eq!(stats, expected);
            prop_assert_eq!(loads.get(), model.loads);
        }
    }

    #[test]
    fn bounds_always_hold(
        entries in 0..4_u64,
        bytes in prop_oneof![Just(0), 390..1_300_u64],
        steps in prop::collection::vec(step(), 100),
    ) {
        let clock = Clock::manual();
        let cache = Cache::with_clock(TTL, clock.clone());
        cache.set(CacheOption::MaxEntries, entries).unwrap();
        cache.set(CacheOption::MaxBytes, bytes).unwrap();
        let mut latest = HashMap::new();
        for step in steps {
            match step {
                Step::Get(id, brings) => match get(&cache, id, brings, &Cell::new(0)) {
                    // Even with evictions no get returns a manifest older than the last one loaded.
                    Comes::Fresh(text) | Comes::Stale(text) => {
                        let known = latest.insert(id, text.clone());
                        let brings_it =
                            matches!(brings, Brings::Manifest(n, _) if text == self::text(n));
                        let is_new = brings_it || text == "{}";
                        prop_assert!(is_new || known == Some(text));
                    }
                    Comes::NotFound | Comes::Failed => {}
                },
                Step::Put(id, n) => {
                    cache.put(IDS[id], text(n)).unwrap();
                    latest.insert(id, text(n));
                }
                Step::Look(id) => {
                    if let Ok(manifest) = cache.look(IDS[id]) {
                        let hit = cache.get(IDS[id], unexpected).unwrap();
                        prop_assert_eq!(hit.revision(), manifest.revision());
                    }
                }
                Step::Clear(id) => drop(cache.clear(IDS[id])),
                Step::ClearAll => drop(cache.clear_all()),
                Step::Purge => drop(cache.purge()),
                Step::Set(option, value) => cache.set(option, value).unwrap(),
                Step::TimePasses(ms) => clock.advance(Duration::from_millis(ms)),
            }
            let held = cache.entries();
            prop_assert!(entries == 0 || held.len() as u64 <= entries);
            prop_assert!(bytes == 0 || cache.stat(Stat::Bytes) <= bytes);
            prop_assert_eq!(held.len() as u64, cache.stat(Stat::TotalEntries));
        }
    }
}
