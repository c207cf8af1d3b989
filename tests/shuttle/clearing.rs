//! Clears, puts and loads that fence others (R8).

use crate::check;
use crate::history::History;
use crate::world::{Place, Reply, World, threads};
use manifest_cache::CacheOption;
use shuttle::rand::Rng;
use shuttle::thread;
use std::time::Duration;

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
fn every_path(has_time_outs: bool) {
    let world = World::new();
    world.history(|history| history.has_time_outs = has_time_outs);
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
}

#[test]
fn r7_r8_every_path_holds_with_any_options() {
    check(|| every_path(false));
}

#[test]
fn r7_r8_every_path_holds_with_any_options_and_time_outs() {
    check(|| every_path(true));
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
            let inside = |_: Place| {
                w.clear(Some("a"));
                Reply::Manifest
            };
            w.get_by("a", inside).unwrap();
            w.get("a").unwrap();
        };
        threads(&world, vec![cleared_inside, cleared_inside, |w| drop(w.get("a").unwrap())]);
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
            let inside = |_: Place| {
                thread::yield_now();
                Reply::Manifest
            };
            drop(w.get_by("a", inside));
        };
        let fail = |w: &World| {
            let inside = |_: Place| {
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
        world.check_at_end();
    });
}
