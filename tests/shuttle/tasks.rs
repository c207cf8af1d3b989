//! Loads of tasks, which say themselves within which load a call is made (R9).

use crate::check;
use crate::waits::{Began, Waits};
use crate::world::{Reply, World, begin_async, status};
use manifest_cache::{Begun, Cache, Error, Fetched, Status, Within};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc;
use shuttle::thread;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Plugins, and those that each needs.
type Needs = &'static [(&'static str, &'static [&'static str])];

/// Loads that get all that they need at the same time, each as a task of its own. Plugins belong to
/// two caches in turn.
struct Tasks {
    caches: [Arc<Cache>; 2],
    needs: Needs,
    cycles: Mutex<Vec<Error>>,
}

impl Tasks {
    fn needs_of(&self, id: &str) -> (usize, &'static [&'static str]) {
        let at = self.needs.iter().position(|(plugin, _)| *plugin == id).unwrap();
        (at % 2, self.needs[at].1)
    }

    fn begin(&self, id: &str, within: Within) -> Result<Begun, Error> {
        let cache = &self.caches[self.needs_of(id).0];
        if thread_rng().gen_bool(0.5) {
            return cache.begin(id, within);
        }
        let (tell, told) = mpsc::channel();
        match begin_async(cache, id, within, move |outcome| tell.send(outcome).unwrap())? {
            Begun::Pending => told.recv().unwrap().map(Begun::Ready),
            begun => Ok(begun),
        }
    }

    /// Gets a plugin within a load.
    fn get(&self, id: &str, within: Within) -> Result<Fetched, Error> {
        match self.begin(id, within) {
            Ok(Begun::Load(mut load)) => {
                let has_all = thread::scope(|scope| {
                    let within = load.within();
                    let get = |needed: &'static str| {
                        scope.spawn(move || self.get(needed, within).is_ok())
                    };
                    let tasks: Vec<_> = self.needs_of(id).1.iter().map(|id| get(id)).collect();
                    tasks.into_iter().map(|task| task.join().unwrap()).all(|is_ok| is_ok)
                });
                match has_all {
                    true => load.json(r#"{"a":1}"#).unwrap(),
                    false => load.fail(0, "it needs what failed"),
                }
                load.end()
            }
            Ok(Begun::Ready(fetched)) => Ok(fetched),
            Ok(Begun::Pending) => unreachable!("begin waits"),
            Err(error) => {
                if error.status() == Status::LoadCycle {
                    self.check_the_chain(&error);
                    self.cycles.lock().unwrap().push(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Each plugin of the chain needs the next one, and the last one is the first one.
    fn check_the_chain(&self, cycle: &Error) {
        let chain = cycle.message().split(": ").last().unwrap().split(';').next().unwrap();
        let chain: Vec<&str> = chain.split(" -> ").collect();
        assert!(chain.len() > 1 && chain.first() == chain.last(), "{cycle}");
        for pair in chain.windows(2) {
            assert!(self.needs_of(pair[0]).1.contains(&pair[1]), "{cycle}");
        }
    }

    /// Gets each of these plugins in a task of its own.
    fn run(needs: Needs, ids: &[&'static str]) -> (Vec<Result<Fetched, Error>>, Vec<Error>) {
        let caches = [(); 2].map(|()| Arc::new(Cache::new(Duration::MAX)));
        let tasks = Tasks { caches, needs, cycles: Mutex::default() };
        let outcomes = thread::scope(|scope| {
            let get = |id: &'static str| {
                let tasks = &tasks;
                scope.spawn(move || tasks.get(id, Within::NOTHING))
            };
            let running: Vec<_> = ids.iter().map(|id| get(id)).collect();
            running.into_iter().map(|task| task.join().unwrap()).collect()
        });
        (outcomes, tasks.cycles.into_inner().unwrap())
    }
}

#[test]
fn r9_a_cycle_of_tasks_that_fan_out_over_two_caches_ends_in_every_order() {
    check(|| {
        const NEEDS: Needs = &[("a", &["b", "d"]), ("b", &["c"]), ("c", &["a", "d"]), ("d", &[])];
        let (outcomes, cycles) = Tasks::run(NEEDS, &["a", "b", "c"]);
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        assert!(!cycles.is_empty());
    });
}

#[test]
fn r9_tasks_that_need_the_same_plugins_are_no_cycle() {
    check(|| {
        const NEEDS: Needs = &[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d", "b"]), ("d", &[])];
        let (outcomes, cycles) = Tasks::run(NEEDS, &["a", "b", "c"]);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert!(cycles.is_empty(), "{cycles:?}");
    });
}

/// Two tasks run on this thread: the load of "a" is of one, that of "b" of the other.
#[test]
fn r9_tasks_of_one_thread_are_not_taken_for_each_other() {
    check(|| {
        let (world, waits) = (World::new(), Arc::new(Waits::default()));
        let outer = world.begin_load("c", Within::THREAD);
        let [a, b] = ["a", "b"].map(|id| world.begin_load(id, Within::NOTHING));
        let begin =
            |id, within| waits.begin(&world, id, within, |outcome| assert!(outcome.is_ok()));
        // Neither of the two is the innermost load of this thread, nor within one of it.
        assert!(matches!(begin("a", Within::THREAD), Began::Wait));
        assert!(matches!(begin("a", b.load.within()), Began::Wait));
        assert!(matches!(begin("c", b.load.within()), Began::Wait));
        let cycle = |began| match began {
            Began::Nothing(Err(error)) => error.status() == Status::LoadCycle,
            _ => false,
        };
        assert!(cycle(begin("b", a.load.within())), "b waits for a");
        assert!(cycle(begin("c", Within::THREAD)));
        assert!(cycle(begin("b", outer.load.within())), "b waits for c");
        assert!(matches!(begin("b", Within::NOTHING), Began::Wait));
        let ends = [outer, a, b].map(|load| {
            let world = world.clone();
            thread::spawn(move || drop(world.finish(load, Reply::Manifest).unwrap()))
        });
        ends.into_iter().for_each(|thread| thread.join().unwrap());
        waits.check_that_each_was_told_once();
        world.check_at_end();
    });
}

#[test]
fn r9_a_thread_is_within_its_loads_until_other_threads_have_ended_them() {
    check(|| {
        let (world, waits) = (World::new(), Arc::new(Waits::default()));
        let [outer, inner] = ["a", "b"].map(|id| world.begin_load(id, Within::THREAD));
        let ends = [outer, inner].map(|load| {
            let world = world.clone();
            thread::spawn(move || drop(world.finish(load, Reply::Manifest).unwrap()))
        });
        for id in ["a", "b"] {
            match waits.begin(&world, id, Within::THREAD, |_| ()) {
                Began::Nothing(outcome) => {
                    assert!(matches!(status(&outcome), None | Some(Status::LoadCycle)));
                }
                _ => panic!("the load of {id} is of this thread or has ended"),
            }
        }
        ends.into_iter().for_each(|thread| thread.join().unwrap());
        world.clear(None);
        let [b, a] = ["b", "a"].map(|id| world.begin_load(id, Within::THREAD));
        world.finish(b, Reply::Manifest).unwrap();
        world.finish(a, Reply::Manifest).unwrap();
        world.check_at_end();
    });
}

/// The load of "b" waits for that of "a", until its time is over. The load of "a" may then wait for
/// that of "b".
#[test]
fn r9_a_wait_whose_time_is_over_is_part_of_no_cycle() {
    check(|| {
        let world = World::new();
        world.history(|history| history.has_time_outs = true);
        let [a, b] = ["a", "b"].map(|id| world.begin_load(id, Within::NOTHING));
        let told = Arc::new(Mutex::new(None));
        let (w, tell) = (world.clone(), told.clone());
        let of_b = thread::spawn(move || {
            let begun = w.begin("a", b.load.within());
            assert!(!matches!(begun, Ok(Begun::Load(_))), "it began before that of a ends");
            *tell.lock().unwrap() = Some(w.history(|history| {
                history.got += 1;
                history.tick()
            }));
            thread::yield_now();
            w.finish(b, Reply::Manifest).unwrap();
        });
        let w = world.clone();
        let mut passing_time = Some(thread::spawn(move || {
            w.clock.advance(Duration::from_secs(31));
            w.cache.purge();
        }));
        if thread_rng().gen_bool(0.5) {
            passing_time.take().unwrap().join().unwrap();
        }
        for _ in 0..4 {
            let asked = world.history(|history| {
                history.got += 1;
                history.tick()
            });
            match world.begin("b", a.load.within()) {
                Err(error) if error.status() == Status::LoadCycle => {
                    let is_over = told.lock().unwrap().is_some_and(|told| told < asked);
                    assert!(!is_over, "{error}");
                    thread::yield_now();
                }
                _ => break,
            }
        }
        world.finish(a, Reply::Manifest).unwrap();
        of_b.join().unwrap();
        passing_time.map(|thread| thread.join().unwrap());
        world.check_at_end();
    });
}
