//! Values of manifests (R18): each ends exactly once, with no lock held, and no thread goes on
//! keeping one that was cleared.

use crate::check;
use manifest_cache::{Begun, Cache, Clock, Load, Within};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc;
use shuttle::thread;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A cache whose manifests get values, which are counted. No counter is a step for the checker.
struct World {
    cache: Arc<Cache>,
    clock: Clock,
    made: AtomicUsize,
    ended: AtomicUsize,
}

/// Its end uses the cache, which would hang if the cache's lock were held.
struct Value {
    world: Weak<World>,
    has_ended: bool,
}

impl Drop for Value {
    fn drop(&mut self) {
        assert!(!self.has_ended);
        self.has_ended = true;
        let Some(world) = self.world.upgrade() else { return };
        world.ended.fetch_add(1, SeqCst);
        drop(world.cache.look("b"));
        world.cache.clear("c");
    }
}

impl World {
    fn new() -> Arc<Self> {
        let clock = Clock::manual();
        let cache = Arc::new(Cache::with_clock(Duration::from_secs(1), clock.clone()));
        Arc::new(World { cache, clock, made: AtomicUsize::new(0), ended: AtomicUsize::new(0) })
    }

    fn value(self: &Arc<Self>) -> Value {
        self.made.fetch_add(1, SeqCst);
        Value { world: Arc::downgrade(self), has_ended: false }
    }

    /// Answers a load with a manifest that has a value.
    fn answer(self: &Arc<Self>, load: &mut Load) {
        load.json(r#"{"name":"Weather"}"#).unwrap();
        load.value(self.value()).unwrap();
    }

    /// Gets a manifest, unless it waits for a load that is refused.
    fn get(self: &Arc<Self>, id: &str) {
        if let Ok(manifest) = self.cache.get(id, |load| self.answer(load)) {
            assert!(manifest.value::<Value>().is_none_or(|value| !value.has_ended));
        }
    }

    fn alive(&self) -> usize {
        self.made.load(SeqCst) - self.ended.load(SeqCst)
    }

    /// Does one random step.
    fn anything(self: &Arc<Self>) {
        let mut rng = thread_rng();
        let id = ["a", "b"][rng.gen_range(0..2)];
        match rng.gen_range(0..9) {
            0 => drop(self.cache.clear(id)),
            1 => drop(self.cache.clear_all()),
            2 => self.cache.put(id, r#"{"name":"Rain"}"#).unwrap(),
            3 => {
                if let Ok(manifest) = self.cache.look(id) {
                    assert!(manifest.attach(self.value()).is_ok());
                }
            }
            4 => self.clock.advance(Duration::from_millis(1_100)),
            5 => drop(self.cache.get(id, |load| {
                self.answer(load);
                load.fail(1, "refused");
            })),
            6 => {
                if let Ok(Begun::Load(mut load)) = self.cache.begin(id, Within::NOTHING) {
                    self.answer(&mut load);
                    if rng.gen_bool(0.5) {
                        drop(load.end());
                    }
                }
            }
            _ => self.get(id),
        }
    }
}

/// Several threads do so many random steps each.
fn race(world: &Arc<World>, steps: usize) {
    let run = |_| {
        let world = world.clone();
        thread::spawn(move || (0..steps).for_each(|_| world.anything()))
    };
    let threads: Vec<_> = (0..3).map(run).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn r18_every_value_ends_once_whatever_races() {
    check(|| {
        let world = World::new();
        race(&world, 4);
        world.cache.clear_all();
        // The manual clock keeps the loads that were waited for until it is advanced.
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.alive(), 0);
    });
}

#[test]
fn r18_a_cache_that_is_closed_while_loads_end_leaves_no_value() {
    check(|| {
        let world = World::new();
        world.get("a");
        let Ok(Begun::Load(mut load)) = world.cache.begin("b", Within::NOTHING) else { panic!() };
        world.answer(&mut load);
        let ending = thread::spawn(move || drop(load.end()));
        let theirs = world.clone();
        let getting = thread::spawn(move || drop(theirs.cache.look("a")));
        world.cache.close();
        ending.join().unwrap();
        getting.join().unwrap();
        assert_eq!(world.alive(), 0);
    });
}

#[test]
fn r18_a_thread_lets_go_of_what_was_removed_at_its_next_call() {
    check(|| {
        let world = World::new();
        let cleared = Arc::new(AtomicBool::new(false));
        world.cache.put("b", r#"{"name":"Rain"}"#).unwrap();
        let (keep, kept) = mpsc::channel();
        let (theirs, is_cleared) = (world.clone(), cleared.clone());
        let keeps = thread::spawn(move || {
            theirs.get("a");
            keep.send(()).unwrap();
            for _ in 0..4 {
                drop(theirs.cache.look("a"));
                let must_be_gone = is_cleared.load(SeqCst);
                theirs.cache.revision("b").unwrap();
                assert!(!must_be_gone || theirs.alive() == 0);
                thread::yield_now();
            }
        });
        kept.recv().unwrap();
        assert!(world.cache.clear("a"));
        cleared.store(true, SeqCst);
        keeps.join().unwrap();
        assert_eq!(world.alive(), 0);
    });
}
