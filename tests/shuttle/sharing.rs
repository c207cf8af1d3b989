//! Calls that share a load, or whose wait for it ends (R2, R7, R11).

use crate::check;
use crate::world::{Place, Reply, World, status, threads};
use manifest_cache::{Stat, Status};
use shuttle::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

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

#[test]
fn r7_a_time_limit_races_with_the_end_of_the_load() {
    check(|| {
        let world = World::new();
        let get = |w: &World| assert!(matches!(status(&w.get("a")), None | Some(Status::Timeout)));
        let slow = |w: &World| {
            let inside = |_: Place| {
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
