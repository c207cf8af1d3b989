//! Asynchronous waits: what is told, when, in which order, and how often (R7, R11).

use crate::check;
use crate::history::History;
use crate::waits::{Began, Waits};
use crate::world::{BegunLoad, Reply, World, status};
use manifest_cache::{Error, Fetched, Stat, Status, Within};
use shuttle::thread;
use std::sync::Arc;
use std::time::Duration;

/// Joins the load of "a" asynchronously, two times. If this begins a load, ends it.
fn join_twice(
    world: &Arc<World>,
    waits: &Arc<Waits>,
    then: fn(&Arc<World>, &Arc<Waits>, &Result<Fetched, Error>),
) {
    for _ in 0..2 {
        let (told_world, told_waits) = (world.clone(), waits.clone());
        let told = move |outcome: &_| then(&told_world, &told_waits, outcome);
        if let Began::Load(load) = waits.begin(world, "a", Within::NOTHING, told) {
            world.finish(load, Reply::Manifest).unwrap();
        }
    }
}

/// Runs two threads that join a load of "a", and one that ends it.
fn join_while_it_ends(
    reply: fn() -> Reply,
    then: fn(&Arc<World>, &Arc<Waits>, &Result<Fetched, Error>),
) -> (Arc<World>, Arc<Waits>) {
    let (world, waits) = (World::new(), Arc::new(Waits::default()));
    let load = world.begin_load("a", Within::NOTHING);
    let join = || {
        let (world, waits) = (world.clone(), waits.clone());
        thread::spawn(move || join_twice(&world, &waits, then))
    };
    let joining = [join(), join()];
    let ended = {
        let _ = world.finish(load, reply());
        world.history(History::tick)
    };
    // What joined it has been told, as its end has returned.
    let is_of_this = |outcome: &Result<Fetched, Error>| match outcome {
        Ok(fetched) => fetched.manifest.as_str() == r#"{"load":0}"#,
        Err(error) => error.code() == 0,
    };
    joining.into_iter().for_each(|thread| thread.join().unwrap());
    for (told, outcome) in waits.seen().iter().filter_map(|wait| wait.told.as_ref()) {
        assert!(*told < ended || !is_of_this(outcome), "told after the end had returned");
    }
    waits.check_that_each_was_told_once();
    waits.check_the_order();
    (world, waits)
}

#[test]
fn r7_waits_are_told_once_in_their_order_after_the_store_and_with_no_lock_held() {
    check(|| {
        let told = |world: &Arc<World>, _: &Arc<Waits>, outcome: &Result<Fetched, Error>| {
            let stored = world.cache.look("a").expect("it is stored before it is told");
            world.history(|history| history.got += 1);
            assert_eq!(stored.revision(), outcome.as_ref().unwrap().manifest.revision());
            // These take the cache's lock and that of the wait graph.
            world.cache.stats();
            world.get("b").unwrap();
        };
        let (world, _) = join_while_it_ends(|| Reply::Manifest, told);
        world.check_at_end();
    });
}

#[test]
fn r7_waits_that_are_told_of_a_failure_may_load_again() {
    check(|| {
        let again = |world: &Arc<World>, waits: &Arc<Waits>, outcome: &Result<Fetched, Error>| {
            if outcome.is_err() {
                join_twice(world, waits, |_, _, outcome| assert!(outcome.is_ok()));
            }
        };
        let (world, _) = join_while_it_ends(|| Reply::Failure, again);
        let loads_of_a =
            |history: &mut History| history.loads.iter().filter(|load| load.id == "a").count();
        assert!(world.cache.look("a").is_ok() && world.history(loads_of_a) == 2);
        world.history(|history| history.got += 1);
        world.check_at_end();
    });
}

#[test]
fn r11_a_load_that_is_dropped_fails_for_all_who_wait() {
    check(|| {
        let (world, waits) = (World::new(), Arc::new(Waits::default()));
        let load = world.begin_load("a", Within::NOTHING);
        let told = |outcome: &_| assert_eq!(status(outcome), Some(Status::LoadFailed));
        assert!(matches!(waits.begin(&world, "a", Within::NOTHING, told), Began::Wait));
        let (w, joined) = (world.clone(), waits.clone());
        let joining = thread::spawn(move || {
            // These may also wait for a load that another thread began when this one had failed.
            join_twice(&w, &joined, |_, _, outcome| {
                assert!(matches!(status(outcome), None | Some(Status::LoadFailed)));
            });
        });
        let w = world.clone();
        let waiting = thread::spawn(move || {
            assert!(matches!(status(&w.get("a")), None | Some(Status::LoadFailed)));
        });
        world.drop_load(load);
        joining.join().unwrap();
        waiting.join().unwrap();
        waits.check_that_each_was_told_once();
        world.check_at_end();
    });
}

/// Begins a load of "a" and two waits for it.
fn slow_load() -> (Arc<World>, Arc<Waits>, BegunLoad) {
    let (world, waits) = (World::new(), Arc::new(Waits::default()));
    world.history(|history| history.has_time_outs = true);
    let load = world.begin_load("a", Within::NOTHING);
    for _ in 0..2 {
        let there = world.clone();
        // This takes the cache's lock.
        let told = move |_: &_| {
            there.cache.stats();
        };
        assert!(matches!(waits.begin(&world, "a", Within::NOTHING, told), Began::Wait));
    }
    (world, waits, load)
}

const PAST_THE_LIMIT: Duration = Duration::from_secs(31);

#[test]
fn r7_exactly_one_of_the_end_and_a_time_out_is_told_while_purges_and_gets_race() {
    check(|| {
        let (world, waits, load) = slow_load();
        let (w, seen) = (world.clone(), waits.clone());
        let purging = thread::spawn(move || {
            w.clock.advance(PAST_THE_LIMIT);
            w.cache.purge();
            let has_timed_out =
                seen.seen().iter().any(|wait| wait.status() == Some(Status::Timeout));
            // A load is not joined any more once a wait for it has timed out.
            let told = move |outcome: &Result<Fetched, Error>| {
                let manifest = outcome.as_ref().map(|fetched| fetched.manifest.as_str());
                assert!(!(has_timed_out && manifest.is_ok_and(|text| text == r#"{"load":0}"#)));
            };
            if let Began::Load(load) = seen.begin(&w, "a", Within::NOTHING, told) {
                w.finish(load, Reply::Manifest).unwrap();
            }
        });
        let w = world.clone();
        let getting = thread::spawn(move || status(&w.get("a")));
        world.finish(load, Reply::Manifest).unwrap();
        purging.join().unwrap();
        let got = getting.join().unwrap();
        assert!(matches!(got, None | Some(Status::Timeout)));
        waits.check_that_each_was_told_once();
        let timed_out = |status: &Option<Status>| *status == Some(Status::Timeout);
        let told = waits.seen().iter().filter(|wait| timed_out(&wait.status())).count();
        assert_eq!(world.cache.stat(Stat::Timeouts), (told + usize::from(timed_out(&got))) as u64);
        world.check_at_end();
    });
}

#[test]
fn r7_a_get_that_misses_ends_the_waits_whose_time_is_over_and_joins_their_load_no_more() {
    check(|| {
        let (world, waits, load) = slow_load();
        world.clock.advance(PAST_THE_LIMIT);
        let (w, seen) = (world.clone(), waits.clone());
        let getting = thread::spawn(move || match seen.begin(&w, "a", Within::NOTHING, |_| ()) {
            Began::Load(load) => drop(w.finish(load, Reply::Manifest).unwrap()),
            Began::Nothing(outcome) => drop(outcome.unwrap()),
            Began::Wait => panic!("a get joined a load although a wait has timed out"),
        });
        world.finish(load, Reply::Manifest).unwrap();
        getting.join().unwrap();
        waits.check_that_each_was_told_once();
        waits.check_the_order();
        world.check_at_end();
    });
}

/// The load stays in the table until its end, so a later purge must not tell its waits again.
#[test]
fn r7_purges_that_race_tell_each_time_out_once_and_with_no_lock_held() {
    check(|| {
        let (world, waits) = (World::new(), Arc::new(Waits::default()));
        world.history(|history| history.has_time_outs = true);
        let load = world.begin_load("a", Within::NOTHING);
        let w = world.clone();
        let told = move |outcome: &Result<Fetched, Error>| {
            assert_eq!(status(outcome), Some(Status::Timeout));
            w.cache.stats();
            w.get("b").unwrap();
        };
        assert!(matches!(waits.begin(&world, "a", Within::NOTHING, told), Began::Wait));
        world.clock.advance(PAST_THE_LIMIT);
        let purge = || {
            let world = world.clone();
            thread::spawn(move || world.cache.purge())
        };
        for thread in [purge(), purge()] {
            thread.join().unwrap();
        }
        waits.check_that_each_was_told_once();
        world.finish(load, Reply::Manifest).unwrap();
        world.check_at_end();
    });
}

/// The load within which a wait began may end before that wait.
#[test]
fn r7_a_wait_is_told_even_if_the_load_within_which_it_began_has_ended() {
    check(|| {
        let (world, waits) = (World::new(), Arc::new(Waits::default()));
        let [load, outer] = ["a", "b"].map(|id| world.begin_load(id, Within::NOTHING));
        let (w, joined) = (world.clone(), waits.clone());
        let joining = thread::spawn(move || {
            let begun = joined.begin(&w, "a", outer.load.within(), |outcome| {
                assert!(outcome.is_ok());
            });
            assert!(!matches!(begun, Began::Load(_)));
            w.finish(outer, Reply::Manifest).unwrap();
        });
        let w = world.clone();
        let other = thread::spawn(move || drop(w.get("b").unwrap()));
        world.finish(load, Reply::Manifest).unwrap();
        joining.join().unwrap();
        other.join().unwrap();
        waits.check_that_each_was_told_once();
        world.check_at_end();
    });
}
