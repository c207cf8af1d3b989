//! Runs a million random steps on the cache and on a simple model of the Python class that it
//! replaces, and compares the two after each step.
//!
//! Two things are left out because they differ on purpose: with a time to live of 0 this cache
//! stores nothing, and for it `""` is an ordinary id.

use manifest_cache::{Cache, Clock, Load, Stat};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

const TTL_MS: u64 = 300;

/// What the loader brings.
#[derive(Clone, Copy, Debug)]
enum Brings {
    Manifest(u32),
    Empty,
    Nothing,
    Failure,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(usize, Brings),
    Clear(usize),
    ClearAll,
    TimePasses(u64),
}

const IDS: [&str; 4] = ["weather", "calendar", "wetter-ä", "x"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let brings = prop_oneof![
        6 => any::<u32>().prop_map(Brings::Manifest),
        1 => Just(Brings::Empty),
        1 => Just(Brings::Nothing),
        1 => Just(Brings::Failure),
    ];
    let step = prop_oneof![
        12 => (0..IDS.len(), brings).prop_map(|(id, brings)| Step::Get(id, brings)),
        2 => (0..IDS.len()).prop_map(Step::Clear),
        1 => Just(Step::ClearAll),
        // Often exactly the time to live.
        4 => prop_oneof![Just(TTL_MS), Just(1), 0..2 * TTL_MS].prop_map(Step::TimePasses),
    ];
    prop::collection::vec(step, 100)
}

/// A model of the Python class `ManifestCacheService`.
#[derive(Default)]
struct Seed {
    cache: HashMap<usize, (String, u64)>,
    now: u64,
    loads: u32,
}

impl Seed {
    fn is_expired(&self, created_at: u64) -> bool {
        self.now - created_at > TTL_MS
    }

    /// `Ok(None)` stands for Python's None, `Err` for an exception.
    fn get(&mut self, id: usize, brings: Brings) -> Result<Option<String>, ()> {
        if let Some((manifest, created_at)) = self.cache.get(&id) {
            if !self.is_expired(*created_at) {
                return Ok(Some(manifest.clone()));
            }
            self.cache.remove(&id);
        }
        self.loads += 1;
        match brings {
            Brings::Manifest(n) => {
                self.cache.insert(id, (text(n), self.now));
                Ok(Some(text(n)))
            }
            Brings::Empty => Ok(Some("{}".to_owned())),
            Brings::Nothing => Ok(None),
            Brings::Failure => Err(()),
        }
    }

    fn stats(&self) -> [u64; 3] {
        let expired =
            self.cache.values().filter(|(_, created_at)| self.is_expired(*created_at)).count();
        [self.cache.len() as u64, expired as u64, TTL_MS]
    }
}

fn text(n: u32) -> String {
    format!("{{\"n\":{n}}}")
}

fn get(cache: &Cache, id: usize, brings: Brings, loads: &Cell<u32>) -> Result<Option<String>, ()> {
    let loader = |load: &mut Load| {
        loads.set(loads.get() + 1);
        match brings {
            Brings::Manifest(n) => load.json(text(n)).unwrap(),
            Brings::Empty => load.json("{}").unwrap(),
            Brings::Nothing => load.not_found(),
            Brings::Failure => load.fail(1, "an exception"),
        }
    };
    match cache.get(IDS[id], loader) {
        Ok(manifest) => Ok(Some(manifest.to_string())),
        Err(error) if error.status() == manifest_cache::Status::NotFound => Ok(None),
        Err(_) => Err(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_cache_behaves_like_the_class_it_replaces(steps in steps()) {
        let clock = Clock::manual();
        let cache = Cache::with_clock(Duration::from_millis(TTL_MS), clock.clone());
        let (mut seed, loads) = (Seed::default(), Cell::new(0));
        for step in steps {
            match step {
                Step::Get(id, brings) => {
                    prop_assert_eq!(get(&cache, id, brings, &loads), seed.get(id, brings));
                }
                Step::Clear(id) => {
                    prop_assert_eq!(cache.clear(IDS[id]), seed.cache.remove(&id).is_some());
                }
                Step::ClearAll => {
                    prop_assert_eq!(cache.clear_all(), std::mem::take(&mut seed.cache).len());
                }
                Step::TimePasses(ms) => {
                    clock.advance(Duration::from_millis(ms));
                    seed.now += ms;
                }
            }
            let stats = cache.stats();
            let stats = [Stat::TotalEntries, Stat::ExpiredEntries, Stat::TtlMs]
                .map(|stat| stats.get(stat));
            prop_assert_eq!(stats, seed.stats());
            prop_assert_eq!(loads.get(), seed.loads);
        }
    }
}
