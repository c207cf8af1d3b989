//! Loads within loads, and cycles of them (R9).

use crate::check;
use crate::world::{Place, Reply, World, threads};
use manifest_cache::Status;
use shuttle::thread;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

#[test]
fn r9_nested_loads_of_one_plugin_wait_for_each_other() {
    check(|| {
        let world = World::new();
        let nested = |w: &World| {
            let inside = |here: Place| {
                w.get_in(here, "b", |_| Reply::Manifest).unwrap();
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
    let inside = |here: Place| match w.get_in(here, needed, |here| closing(w, here, needed, id)) {
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
fn closing(w: &World, here: Place, id: &'static str, needed: &'static str) -> Reply {
    match w.get_in(here, needed, |_| Reply::Manifest) {
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
                let reply = |got: Result<_, _>| got.map_or(Reply::Failure, |_| Reply::Manifest);
                let back = |place: Place| reply(here.get_in(place, "a", |_| Reply::Manifest));
                let inside = |place: Place| reply(there.get_in(place, "a", back));
                drop(here.get_by("a", inside));
            })
        };
        let threads = [cross(one.clone(), two.clone()), cross(two.clone(), one.clone())];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        one.check_at_end();
        two.check_at_end();
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
                let inside = |here: Place| match world.get_in(here, needed, |_| Reply::Manifest) {
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
        world.check_at_end();
    });
}
