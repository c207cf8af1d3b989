//! Runs the cache under a model checker: each scenario in 100 000 random orders of events, and in
//! 10 000 orders chosen by PCT, which finds rare orders with a known probability.
//!
//!     RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle
//!
//! A failure prints its schedule, the order of events. REPLAY=<schedule> with the name of the test
//! runs that schedule again. SCHEDULES=<number> replaces the number 100 000. The checker finds
//! deadlocks. The tests record a history of calls and check the rules on it.
#![cfg(shuttle)]

use manifest_cache::{Cache, CacheOption, Clock, Error, Load, Manifest, Stat, Status};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::thread;
use shuttle::{Config, Runner};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Runs a scenario under all schedules.
fn check(scenario: fn()) {
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        config.silence_warnings = true;
        Runner::new(scheduler, config).run(scenario)
    };
    if let Ok(schedule) = std::env::var("REPLAY") {
        run(Box::new(ReplayScheduler::new_from_encoded(&schedule)));
        return;
    }
    let schedules = std::env::var("SCHEDULES")
        .map_or(100_000, |number| number.parse().expect("SCHEDULES is a number"));
    assert_eq!(run(Box::new(RandomScheduler::new(schedules))), schedules);
    assert_eq!(run(Box::new(PctScheduler::new(3, schedules / 10))), schedules / 10);
}

/// A cache and the history of the calls on it.
///
/// All threads of the checker run on one thread of the system. So the lock of the history is no
/// step for the checker and does not influence the order of events.
struct World {
    cache: Cache,
    clock: Clock,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    now: u64,
    loads: Vec<LoadSeen>,
    clears: Vec<ClearSeen>,
    puts: usize,
    got: usize,
    bound: u64,
    /// Whether waits can time out. After a time-out a plugin can have several loads.
    has_time_outs: bool,
}

/// A load. All times here are positions in the order of events.
#[derive(Debug)]
struct LoadSeen {
    id: &'static str,
    /// When the get that runs it began. From then on a clear can fence it.
    asked: u64,
    /// When its loader began.
    began: u64,
    ended: Option<u64>,
    /// When the get that ran it returned, if the loader answered with a new manifest or "not
    /// found". From then on no get may return anything from a load that began before this one.
    took_effect: Option<u64>,
}

/// A clear, or a put, which fences loads as a clear does.
#[derive(Debug)]
struct ClearSeen {
    /// None for a clear of all plugins.
    id: Option<&'static str>,
    began: u64,
    ended: Option<u64>,
}

impl ClearSeen {
    fn concerns(&self, id: &str) -> bool {
        self.id.is_none_or(|cleared| cleared == id)
    }
}

impl History {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// R7: two loads of a plugin may run at the same time only if a clear has fenced one of them or
    /// a wait has timed out.
    fn check_that_one_load_is_unfenced(&self, id: &str, asked: u64) {
        if self.has_time_outs {
            return;
        }
        for other in self.loads.iter().filter(|load| load.id == id && load.ended.is_none()) {
            let since = asked.min(other.asked);
            let fences = |clear: &ClearSeen| {
                clear.concerns(id) && clear.ended.is_none_or(|ended| ended > since)
            };
            assert!(
                self.clears.iter().any(fences),
                "two unfenced loads of {id}: {:?}, {:?}",
                self.loads,
                self.clears
            );
        }
    }

    /// R8: a get that began after a clear had returned does not return anything from a load that
    /// began before that clear.
    fn check_that_nothing_is_older_than_a_clear(&self, id: &str, asked: u64, load: usize) {
        let load_began = self.loads[load].began;
        for clear in self.clears.iter().filter(|clear| clear.concerns(id)) {
            let over = clear.ended.is_some_and(|ended| ended < asked);
            assert!(
                !(over && load_began < clear.began),
                "a get of {id} saw a load from before a clear"
            );
        }
    }

    /// R8: a load that takes effect fences those that began before it.
    fn check_that_nothing_is_older_than_a_later_load(&self, id: &str, asked: u64, load: usize) {
        let load_began = self.loads[load].began;
        for later in self.loads.iter().filter(|later| later.id == id) {
            let is_over = later.took_effect.is_some_and(|returned| returned < asked);
            assert!(
                !(is_over && load_began < later.asked),
                "a get of {id} saw a load from before one that took effect: {:?}",
                self.loads
            );
        }
    }
}

impl World {
    fn new() -> Arc<Self> {
        Self::with_ttl(Duration::from_secs(1))
    }

    fn with_ttl(ttl: Duration) -> Arc<Self> {
        let clock = Clock::manual();
        let cache = Cache::with_clock(ttl, clock.clone());
        Arc::new(World { cache, clock, history: Mutex::default() })
    }

    fn history<R>(&self, use_history: impl FnOnce(&mut History) -> R) -> R {
        use_history(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gets a plugin. The loader calls `inside` and then answers with the number of the load.
    fn get_by(
        &self,
        id: &'static str,
        inside: impl FnOnce(&mut Load) -> Reply,
    ) -> Result<Manifest, Error> {
        let asked = self.history(History::tick);
        let mut own = None;
        let got = self.cache.get(id, |load| {
            let number = self.history(|history| {
                history.check_that_one_load_is_unfenced(id, asked);
                let began = history.tick();
                history.loads.push(LoadSeen { id, asked, began, ended: None, took_effect: None });
                history.loads.len() - 1
            });
            let ended = Ended(self, number);
            let reply = inside(load);
            if matches!(reply, Reply::Manifest | Reply::Empty | Reply::NotFound) {
                own = Some(number);
            }
            match reply {
                Reply::Manifest => load.json(format!("{{\"load\":{number}}}")).unwrap(),
                Reply::Empty => load.json("{}").unwrap(),
                // Without an expired manifest this is a failure.
                Reply::Unchanged => drop(load.unchanged()),
                Reply::NotFound => load.not_found(),
                Reply::Failure => load.fail(number as i32, "on purpose"),
                Reply::Panic => resume_unwind(Box::new("on purpose")),
            }
            drop(ended);
        });
        self.history(|history| {
            history.got += 1;
            if let Some(number) = own {
                history.loads[number].took_effect = Some(history.tick());
            }
            match &got {
                Ok(manifest) if manifest.as_str() != "{}" => {
                    let number = manifest[8..manifest.len() - 1].parse().unwrap();
                    history.check_that_nothing_is_older_than_a_clear(id, asked, number);
                    history.check_that_nothing_is_older_than_a_later_load(id, asked, number);
                }
                Err(error) if error.message().contains("on purpose") => {
                    history.check_that_nothing_is_older_than_a_clear(
                        id,
                        asked,
                        error.code() as usize,
                    );
                }
                _ => {}
            }
        });
        got
    }

    fn get(&self, id: &'static str) -> Result<Manifest, Error> {
        self.get_by(id, |_| Reply::Manifest)
    }

    fn clear(&self, id: Option<&'static str>) {
        let number = self.history(|history| {
            let began = history.tick();
            history.clears.push(ClearSeen { id, began, ended: None });
            history.clears.len() - 1
        });
        match id {
            Some(id) => drop(self.cache.clear(id)),
            None => drop(self.cache.clear_all()),
        }
        self.history(|history| history.clears[number].ended = Some(history.tick()));
    }

    /// Records a put as a clear and a load. It stores the manifest at some time before its end, so
    /// only a clear that begins later is known to remove it.
    fn put(&self, id: &'static str) {
        let (load, clear) = self.history(|history| {
            let now = history.tick();
            history.clears.push(ClearSeen { id: Some(id), began: now, ended: None });
            history.loads.push(LoadSeen {
                id,
                asked: now,
                began: u64::MAX,
                ended: Some(now),
                took_effect: None,
            });
            history.puts += 1;
            (history.loads.len() - 1, history.clears.len() - 1)
        });
        self.cache.put(id, format!("{{\"load\":{load}}}")).unwrap();
        self.history(|history| {
            let ended = history.tick();
            history.loads[load].began = ended;
            history.clears[clear].ended = Some(ended);
        });
    }

    /// Does one random step.
    fn anything(&self) {
        let mut rng = shuttle::rand::thread_rng();
        let id = ["a", "b"][rng.gen_range(0..2)];
        match rng.gen_range(0..10) {
            0 => self.clear(Some(id)),
            1 => self.clear(None),
            2 => self.put(id),
            3 => self.clock.advance(Duration::from_millis(1_100)),
            4 => drop(self.cache.purge()),
            5 => drop(self.get_by(id, |_| Reply::Failure)),
            6 => drop(self.get_by(id, |_| Reply::NotFound)),
            7 => drop(self.get_by(id, |_| Reply::Unchanged)),
            _ => drop(self.get(id)),
        }
        let stats = self.cache.stats();
        let bound = self.bound();
        assert!(bound == 0 || stats.get(Stat::TotalEntries) <= bound, "{stats:?}");
    }

    /// The value that was set for the option `MaxEntries`.
    fn bound(&self) -> u64 {
        self.history(|history| history.bound)
    }

    fn loads(&self) -> usize {
        self.history(|history| history.loads.len())
    }

    /// Checks what must hold when all threads have ended.
    fn close(&self) {
        let stats = self.cache.stats();
        let (got, puts) = self.history(|history| (history.got, history.puts));
        let kinds = [Stat::Hits, Stat::StaleHits, Stat::NegativeHits, Stat::Misses, Stat::Waits];
        assert_eq!(kinds.map(|kind| stats.get(kind)).iter().sum::<u64>(), got as u64, "{stats:?}");
        assert_eq!(stats.get(Stat::Loads), (self.loads() - puts) as u64);
        self.cache.set(CacheOption::NegativeTtlMs, 0).unwrap();
        self.clock.advance(Duration::from_secs(1));
        // No load is left in the table: a get of each plugin is a hit or begins a load at once.
        for id in ["a", "b", "c"] {
            self.get(id).unwrap();
        }
    }
}

enum Reply {
    Manifest,
    Unchanged,
    Empty,
    NotFound,
    Failure,
    Panic,
}

/// Records the end of a load, also if its loader panics.
struct Ended<'w>(&'w World, usize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.history(|history| history.loads[self.1].ended = Some(history.tick()));
    }
}

/// Runs each body on its own thread, and then checks what must hold at the end.
fn threads<R: Send + 'static>(world: &Arc<World>, bodies: Vec<fn(&World) -> R>) -> Vec<R> {
    let run = |body: fn(&World) -> R| {
        let world = world.clone();
        thread::spawn(move || body(&world))
    };
    let threads: Vec<_> = bodies.into_iter().map(run).collect();
    let results = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    world.close();
    results
}

fn status<T>(result: &Result<T, Error>) -> Option<Status> {
    result.as_ref().err().map(Error::status)
}

#[test]
fn r7_many_callers_on_one_miss_share_one_load() {
    check(|| {
        let world = World::new();
        let results = threads(&world, vec![|w| w.get("a").unwrap().revision(); 4]);
        assert!(results.iter().all(|revision| *revision == results[0]));
        assert_eq!(
            world.history(|history| history.loads.iter().filter(|load| load.id == "a").count()),
            1
        );
    });
}

#[test]
fn r7_every_call_that_waits_for_a_failing_load_returns() {
    check(|| {
        let world = World::new();
        let fail = |w: &World| status(&w.get_by("a", |_| Reply::Failure));
        let results = threads(
            &world,
            vec![fail, fail, fail, |w| status(&w.get_by("a", |_| Reply::NotFound))],
        );
        for result in results {
            assert!(matches!(result, Some(Status::LoadFailed | Status::NotFound)), "{result:?}");
        }
    });
}

#[test]
fn r8_clearing_one_races_with_a_load_its_waiters_and_a_second_load() {
    check(|| {
        let world = World::new();
        let clear_and_get = |w: &World| {
            w.clear(Some("a"));
            w.get("a").unwrap();
        };
        threads(
            &world,
            vec![
                |w| drop(w.get("a").unwrap()),
                |w| drop(w.get("a").unwrap()),
                clear_and_get,
                clear_and_get,
            ],
        );
    });
}

#[test]
fn r8_clearing_all_races_with_a_load_its_waiters_and_a_second_load() {
    check(|| {
        let world = World::new();
        let both = |w: &World| {
            w.get("a").unwrap();
            w.get("b").unwrap();
        };
        let clear_and_get = |w: &World| {
            w.clear(None);
            w.get("b").unwrap();
            w.get("a").unwrap();
        };
        threads(&world, vec![both, both, clear_and_get]);
    });
}

#[test]
fn r8_a_thread_that_hit_before_sees_the_clear_of_another() {
    check(|| {
        let world = World::new();
        let hit_again_and_again = |w: &World| {
            for _ in 0..4 {
                w.get("a").unwrap();
            }
        };
        let clear_and_get = |w: &World| {
            w.clear(Some("a"));
            w.get("a").unwrap();
        };
        threads(&world, vec![hit_again_and_again, hit_again_and_again, clear_and_get]);
    });
}

#[test]
fn r8_a_put_races_with_loads_and_clears() {
    check(|| {
        let world = World::new();
        let put_and_get = |w: &World| {
            w.put("a");
            w.get("a").unwrap();
        };
        let clear_and_get = |w: &World| {
            w.clear(Some("a"));
            w.get("a").unwrap();
        };
        threads(
            &world,
            vec![|w| drop(w.get("a").unwrap()), put_and_get, put_and_get, clear_and_get],
        );
    });
}

/// Random steps on two plugins with random options.
#[test]
fn r7_r8_every_path_holds_with_any_options() {
    check(|| {
        let world = World::new();
        let some = |value: u64| if shuttle::rand::thread_rng().gen_bool(0.5) { value } else { 0 };
        let options = [
            (CacheOption::StaleIfErrorMs, some(1_500)),
            (CacheOption::RetryMs, some(500)),
            (CacheOption::StaleWhileRevalidateMs, some(1_500)),
            (CacheOption::NegativeTtlMs, some(800)),
            (CacheOption::MaxEntries, some(1)),
            (CacheOption::MaxBytes, some(400)),
        ];
        for (option, value) in options {
            world.cache.set(option, value).unwrap();
        }
        world.history(|history| history.bound = options[4].1);
        let anything = |w: &World| {
            for _ in 0..3 {
                w.anything();
            }
        };
        threads(&world, vec![anything, anything, anything]);
    });
}

#[test]
fn r8_no_get_after_a_clear_sees_a_failure_from_before_it() {
    check(|| {
        let world = World::new();
        let clear_and_get = |w: &World| {
            w.clear(Some("a"));
            drop(w.get_by("a", |_| Reply::Failure));
        };
        let fail = |w: &World| drop(w.get_by("a", |_| Reply::Failure));
        threads(&world, vec![fail, fail, clear_and_get, clear_and_get]);
    });
}

#[test]
fn r8_a_clear_from_inside_the_loader_fences_that_load() {
    check(|| {
        let world = World::new();
        let cleared_inside = |w: &World| {
            let inside = |_: &mut Load| {
                w.clear(Some("a"));
                Reply::Manifest
            };
            w.get_by("a", inside).unwrap();
            w.get("a").unwrap();
        };
        threads(&world, vec![cleared_inside, cleared_inside, |w| drop(w.get("a").unwrap())]);
    });
}

#[test]
fn r2_expiry_races_with_reloads_that_bring_a_manifest_or_none() {
    check(|| {
        let world = World::new();
        world.get("a").unwrap();
        let expire = |w: &World| w.clock.advance(Duration::from_secs(2));
        let vanish = |w: &World| drop(w.get_by("a", |_| Reply::NotFound));
        threads(
            &world,
            vec![expire, vanish, |w| drop(w.get("a")), |w| drop(w.get_by("a", |_| Reply::Empty))],
        );
        assert_eq!(world.cache.stat(Stat::TotalEntries), 3);
    });
}

#[test]
fn r9_nested_loads_of_one_plugin_wait_for_each_other() {
    check(|| {
        let world = World::new();
        let nested = |w: &World| {
            let inside = |_: &mut Load| {
                w.get("b").unwrap();
                Reply::Manifest
            };
            w.get_by("a", inside).unwrap();
        };
        let clear_and_get = |w: &World| {
            w.clear(Some("b"));
            w.get("b").unwrap();
        };
        threads(&world, vec![nested, nested, |w| drop(w.get("b").unwrap()), clear_and_get]);
    });
}

/// Gets `id` with a loader that gets `needed` and fails if that fails. Returns whether the loader's
/// call closed a cycle.
fn get_needing(w: &World, id: &'static str, needed: &'static str) -> bool {
    let mut closed_here = false;
    let inside = |_: &mut Load| match w.get_by(needed, |_| closing(w, needed, id)) {
        Err(error) if error.status() == Status::LoadCycle => {
            closed_here = true;
            Reply::Failure
        }
        Err(_) => Reply::Failure,
        Ok(_) => Reply::Manifest,
    };
    drop(w.get_by(id, inside));
    closed_here
}

/// A loader of `id` that gets `needed`, which may close a cycle.
fn closing(w: &World, id: &'static str, needed: &'static str) -> Reply {
    match w.get(needed) {
        Ok(_) => Reply::Manifest,
        Err(error) => {
            if error.status() == Status::LoadCycle {
                let message = error.message();
                assert!(message.contains(id) && message.contains(" -> "), "{message}");
            }
            Reply::Failure
        }
    }
}

#[test]
fn r9_a_cycle_over_two_threads_ends_in_every_order() {
    check(|| {
        let world = World::new();
        threads(&world, vec![|w| get_needing(w, "a", "b"), |w| get_needing(w, "b", "a")]);
    });
}

#[test]
fn r9_a_cycle_over_two_threads_ends_with_a_clear_in_between() {
    check(|| {
        let world = World::new();
        let clear = |w: &World| {
            w.clear(Some("a"));
            w.clear(None);
            false
        };
        threads(&world, vec![|w| get_needing(w, "a", "b"), |w| get_needing(w, "b", "a"), clear]);
    });
}

#[test]
fn r9_a_cycle_over_three_threads_ends_in_every_order() {
    check(|| {
        let world = World::new();
        let a = |w: &World| get_needing(w, "a", "b");
        threads(&world, vec![a, |w| get_needing(w, "b", "c"), |w| get_needing(w, "c", "a")]);
    });
}

#[test]
fn r9_a_cycle_over_two_caches_ends_in_every_order() {
    check(|| {
        let (one, two) = (World::new(), World::new());
        let cross = |here: Arc<World>, there: Arc<World>| {
            thread::spawn(move || {
                let inside = |_: &mut Load| {
                    let back =
                        |_: &mut Load| here.get("a").map_or(Reply::Failure, |_| Reply::Manifest);
                    there.get_by("a", back).map_or(Reply::Failure, |_| Reply::Manifest)
                };
                drop(here.get_by("a", inside));
            })
        };
        let threads = [cross(one.clone(), two.clone()), cross(two.clone(), one.clone())];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        one.close();
        two.close();
    });
}

#[test]
fn r9_exactly_one_call_closes_a_cycle_of_two_threads() {
    check(|| {
        let world = World::new();
        let cycles = Arc::new(Mutex::new(HashMap::new()));
        let meet = |id: &'static str, needed: &'static str| {
            let (world, cycles) = (world.clone(), cycles.clone());
            thread::spawn(move || {
                let inside = |_: &mut Load| match world.get_by(needed, |_| Reply::Manifest) {
                    Err(error) if error.status() == Status::LoadCycle => {
                        cycles.lock().unwrap().insert(id, error.to_string());
                        Reply::Manifest
                    }
                    other => other.map_or(Reply::Failure, |_| Reply::Manifest),
                };
                world.get_by(id, inside).unwrap();
            })
        };
        let threads = [meet("a", "b"), meet("b", "a")];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let cycles = cycles.lock().unwrap();
        assert!(cycles.len() <= 1, "{cycles:?}");
        for (id, message) in &*cycles {
            let other = if *id == "a" { "b" } else { "a" };
            assert!(message.contains(&format!("{other} -> {id} -> {other}")), "{message}");
        }
        world.close();
    });
}

#[test]
fn r11_calls_that_wait_for_a_loader_that_panics_return() {
    check(|| {
        let world = World::new();
        let panics = |w: &World| {
            let caught = catch_unwind(AssertUnwindSafe(|| w.get_by("a", |_| Reply::Panic)));
            // The call that panicked counts too, but it did not reach the code that counts it.
            w.history(|history| history.got += usize::from(caught.is_err()));
            assert!(!matches!(caught, Ok(Err(error)) if error.status() != Status::LoadFailed));
        };
        let get =
            |w: &World| assert!(matches!(status(&w.get("a")), None | Some(Status::LoadFailed)));
        threads(&world, vec![panics, get, panics, get]);
    });
}

/// Nothing is cleared, expires or is evicted. So the manifest of a load stays, however many
/// failures and time-outs there are.
#[test]
fn r8_every_unfenced_load_takes_effect_and_a_failure_removes_no_other_entry() {
    check(|| {
        let world = World::with_ttl(Duration::MAX);
        world.history(|history| history.has_time_outs = true);
        let slow = |w: &World| {
            let inside = |_: &mut Load| {
                thread::yield_now();
                Reply::Manifest
            };
            drop(w.get_by("a", inside));
        };
        let fail = |w: &World| {
            let inside = |_: &mut Load| {
                thread::yield_now();
                Reply::Failure
            };
            drop(w.get_by("a", inside));
            drop(w.get_by("a", |_| Reply::Failure));
        };
        let pass_time = |w: &World| w.clock.advance(Duration::from_secs(31));
        let bodies: [fn(&World); 4] = [slow, slow, fail, pass_time];
        let threads = bodies.map(|body| {
            let world = world.clone();
            thread::spawn(move || body(&world))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let has_succeeded =
            |history: &mut History| history.loads.iter().any(|load| load.took_effect.is_some());
        assert_eq!(world.cache.look("a").is_ok(), world.history(has_succeeded));
        world.history(|history| history.got += 1);
        world.close();
    });
}

#[test]
fn r7_a_time_limit_races_with_the_end_of_the_load() {
    check(|| {
        let world = World::new();
        let get = |w: &World| assert!(matches!(status(&w.get("a")), None | Some(Status::Timeout)));
        let slow = |w: &World| {
            let inside = |_: &mut Load| {
                thread::yield_now();
                Reply::Manifest
            };
            assert!(matches!(status(&w.get_by("a", inside)), None | Some(Status::Timeout)));
        };
        let pass_time = |w: &World| w.clock.advance(Duration::from_secs(31));
        world.history(|history| history.has_time_outs = true);
        threads(&world, vec![slow, get, get, pass_time]);
    });
}
