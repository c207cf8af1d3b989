//! A cache that is closed, as `mc_free` does, while loads are in progress.

use crate::check;
use crate::history::History;
use crate::waits::{Began, Waits};
use crate::world::{BegunLoad, Reply, World, status};
use manifest_cache::{Begun, Stat, Status, Within};
use shuttle::thread;
use std::sync::{Arc, Mutex};

type Kept = Arc<Mutex<Vec<BegunLoad>>>;

/// Begins a wait for the load of `id`. If it is told of a failure, it begins a load, which it keeps.
fn wait_and_load_again(
    world: &Arc<World>,
    waits: &Arc<Waits>,
    kept: &Kept,
    id: &'static str,
    within: Within,
) {
    let (w, again, kept) = (world.clone(), waits.clone(), kept.clone());
    let begun = waits.begin(world, id, within, move |outcome| {
        if outcome.is_err() {
            if let Began::Load(load) = again.begin(&w, id, Within::NOTHING, |_| ()) {
                kept.lock().unwrap().push(load);
            }
        }
    });
    assert!(matches!(begun, Began::Wait));
}

#[test]
fn a_cache_that_is_closed_ends_all_waits_and_loads_that_end_later_store_nothing() {
    check(|| {
        let (world, waits, kept) = (World::new(), Arc::new(Waits::default()), Kept::default());
        let a = world.begin_load("a", Within::NOTHING);
        let b = world.begin_load("b", a.load.within());
        wait_and_load_again(&world, &waits, &kept, "a", Within::NOTHING);
        wait_and_load_again(&world, &waits, &kept, "a", Within::THREAD);
        wait_and_load_again(&world, &waits, &kept, "b", a.load.within());
        let first = waits.seen().len();
        let w = world.clone();
        let closing = thread::spawn(move || {
            w.close();
            w.history(History::tick)
        });
        let ends = [a, b].map(|load| {
            let (world, id) = (world.clone(), load.id);
            thread::spawn(move || {
                let began = world.history(History::tick);
                world.finish(load, Reply::Manifest).expect("its own caller gets the manifest");
                (id, began)
            })
        });
        let w = world.clone();
        let waiting = thread::spawn(move || {
            let asked = w.history(History::tick);
            match w.cache.begin("b", Within::NOTHING) {
                Ok(Begun::Load(load)) => w.drop_load(w.begun("b", asked, load)),
                outcome => {
                    assert!(matches!(status(&outcome), None | Some(Status::LoadFailed)));
                    w.history(|history| history.got += 1);
                }
            }
        });
        let closed = closing.join().unwrap();
        let ended: Vec<_> = ends.into_iter().map(|thread| thread.join().unwrap()).collect();
        waiting.join().unwrap();
        for (n, wait) in waits.seen()[..first].iter().enumerate() {
            assert!(matches!(wait.status(), None | Some(Status::LoadFailed)), "{wait:?}");
            let id = ["a", "a", "b"][n];
            let is_late = ended.iter().any(|(ended, began)| *ended == id && *began > closed);
            assert!(!is_late || wait.status().is_some(), "the close must end this: {wait:?}");
        }
        for load in kept.lock().unwrap().drain(..) {
            world.finish(load, Reply::Manifest).unwrap();
        }
        assert_eq!(world.cache.stat(Stat::TotalEntries), 0, "nothing is stored after the close");
        waits.check_that_each_was_told_once();
        world.check_at_end();
    });
}
