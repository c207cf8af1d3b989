//! Tests the rules that need a manual clock, and the Rust interface.

mod common;

use common::cache::*;
use manifest_cache::{
    Begun, Cache, CacheOption, Clock, Error, Fetched, Level, Load, LoadGuard, Stat, Status, Within,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

#[test]
fn r1_a_fresh_entry_is_returned_without_its_loader() {
    let (cache, _) = with_clock();
    let loaded = get(&cache, "weather").unwrap();
    let hit = cache.get("weather", unexpected).unwrap();
    assert_eq!(hit.as_str(), MANIFEST);
    assert_eq!(hit.revision(), loaded.revision());
    assert_eq!((hit.id(), cache.stat(Stat::Hits)), ("weather", 1));
}

#[test]
fn r2_an_entry_expires_once_it_is_older_than_its_ttl() {
    let (cache, clock) = with_clock();
    get(&cache, "weather").unwrap();
    clock.advance(TTL);
    cache.get("weather", unexpected).unwrap();
    clock.advance(Duration::from_nanos(1));
    assert_eq!(
        cache.get("weather", answer(r#"{"name":"New"}"#)).unwrap().as_str(),
        r#"{"name":"New"}"#
    );
}

#[test]
fn r2_age_counts_from_the_end_of_the_load() {
    let (cache, clock) = with_clock();
    let slow = |load: &mut Load| {
        clock.advance(TTL * 10);
        load.json(MANIFEST).unwrap();
    };
    cache.get("weather", slow).unwrap();
    clock.advance(TTL);
    cache.get("weather", unexpected).unwrap();
    assert_eq!(cache.stat(Stat::LoadTimeMs), 10_000);
}

#[test]
fn r2_an_expired_entry_counts_until_it_is_replaced_or_cleared_or_its_reload_brings_nothing() {
    let (cache, clock) = with_clock();
    for id in ["replaced", "cleared", "gone", "failed", "empty", "thrown"] {
        get(&cache, id).unwrap();
    }
    clock.advance(TTL * 2);
    let entries = || (cache.stat(Stat::TotalEntries), cache.stat(Stat::ExpiredEntries));
    assert_eq!(entries(), (6, 6));
    get(&cache, "replaced").unwrap();
    assert_eq!(entries(), (6, 5));
    assert!(cache.clear("cleared"));
    assert_eq!(entries(), (5, 4));
    let during = |load: &mut Load| {
        assert_eq!(entries(), (5, 4), "it counts until the load ends");
        load.not_found();
    };
    cache.get("gone", during).unwrap_err();
    assert_eq!(entries(), (4, 3));
    cache.get("failed", |load| load.fail(0, "no")).unwrap_err();
    cache.get("empty", answer("{}")).unwrap();
    catch_unwind(AssertUnwindSafe(|| cache.get("thrown", |_| panic!("on purpose")))).unwrap_err();
    assert_eq!(entries(), (1, 0));
}

#[test]
fn r2_a_ttl_of_zero_stores_nothing_and_an_endless_ttl_never_expires() {
    let clock = Clock::manual();
    let none = Cache::with_clock(Duration::ZERO, clock.clone());
    let ever = Cache::with_clock(Duration::MAX, clock.clone());
    get(&none, "weather").unwrap();
    get(&ever, "weather").unwrap();
    assert_eq!(none.stat(Stat::TotalEntries), 0);
    clock.advance(Duration::from_secs(1 << 33));
    ever.get("weather", unexpected).unwrap();
}

#[test]
fn r2_a_new_ttl_applies_to_entries_stored_from_then_on() {
    let (cache, clock) = with_clock();
    get(&cache, "old").unwrap();
    cache.set(CacheOption::TtlMs, 10_000).unwrap();
    get(&cache, "new").unwrap();
    clock.advance(TTL * 2);
    assert_eq!(cache.stat(Stat::ExpiredEntries), 1);
    cache.get("new", unexpected).unwrap();
}

#[test]
fn r4_r5_r10_what_is_not_cached_is_loaded_again() {
    let (cache, _) = with_clock();
    let calls = Cell::new(0);
    for _ in 0..2 {
        let count = |outcome: fn(&mut Load)| {
            cache.get("weather", |load| {
                calls.set(calls.get() + 1);
                outcome(load);
            })
        };
        assert_eq!(count(Load::not_found).unwrap_err().status(), Status::NotFound);
        assert_eq!(count(|load| load.fail(1, "no")).unwrap_err().status(), Status::LoadFailed);
        assert_eq!(
            count(|load| drop(load.json("["))).unwrap_err().status(),
            Status::InvalidManifest
        );
        assert_eq!(count(|_| ()).unwrap_err().status(), Status::LoadFailed);
        assert_eq!(count(|load| load.json(" {} ").unwrap()).unwrap().as_str(), " {} ");
    }
    let stats = cache.stats();
    assert_eq!(
        (
            calls.get(),
            stats.get(Stat::Loads),
            stats.get(Stat::Misses),
            stats.get(Stat::TotalEntries)
        ),
        (10, 10, 10, 0)
    );
    assert_eq!((stats.get(Stat::NotFound), stats.get(Stat::LoadFailures)), (2, 6));
}

#[test]
fn r7_a_wait_ends_with_a_timeout_and_the_next_get_runs_its_own_loader() {
    let (cache, clock) = with_clock();
    let (release, hold) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let cache = &cache;
        let stuck = scope.spawn(move || {
            cache.get("weather", |load| {
                tell.send(()).unwrap();
                hold.recv().unwrap();
                load.json(r#"{"name":"Late"}"#).unwrap();
            })
        });
        told.recv().unwrap();
        let waiter = scope.spawn(|| cache.get("weather", unexpected));
        // The waiter may not wait yet, so the clock goes on until its time is over.
        while !waiter.is_finished() {
            clock.advance(Duration::from_secs(1));
            thread::yield_now();
        }
        let timeout = waiter.join().unwrap().unwrap_err();
        assert_eq!(timeout.status(), Status::Timeout, "{timeout}");
        assert_eq!(get(cache, "weather").unwrap().as_str(), MANIFEST);
        release.send(()).unwrap();
        assert_eq!(stuck.join().unwrap().unwrap().as_str(), r#"{"name":"Late"}"#);
        assert_eq!(
            cache.look("weather").unwrap().as_str(),
            MANIFEST,
            "a load that began later has taken effect before"
        );
        assert_eq!((cache.stat(Stat::Discarded), cache.stat(Stat::Waits)), (1, 1));
    });
}

#[test]
fn r8_a_thread_no_longer_returns_a_manifest_after_it_was_cleared() {
    let (cache, _) = with_clock();
    for _ in 0..2 {
        get(&cache, "weather").unwrap();
        cache.get("weather", unexpected).unwrap();
        cache.get("weather", unexpected).unwrap();
        assert!(cache.clear("weather"));
        cache.look("weather").unwrap_err();
    }
}

#[test]
fn r8_an_expired_entry_that_is_cleared_during_its_reload_leaves_no_entry() {
    let (cache, clock) = with_clock();
    get(&cache, "weather").unwrap();
    clock.advance(TTL * 2);
    let cleared_meanwhile = |load: &mut Load| {
        assert!(cache.clear("weather"));
        load.json(MANIFEST).unwrap();
    };
    assert_eq!(cache.get("weather", cleared_meanwhile).unwrap().as_str(), MANIFEST);
    assert_eq!((cache.stat(Stat::TotalEntries), cache.stat(Stat::Discarded)), (0, 1));
}

#[test]
fn r9_only_the_call_that_closes_a_cycle_gets_an_error() {
    let (cache, _) = with_clock();
    let outcome = cache.get("a", |load| {
        let inner = cache.get("b", |load| {
            let cycle = cache.get("a", unexpected).unwrap_err();
            assert_eq!(cycle.status(), Status::LoadCycle);
            assert!(cycle.message().contains("a -> b -> a"), "{cycle}");
            load.json(r#"{"without":"a"}"#).unwrap();
        });
        load.json(inner.unwrap()).unwrap();
    });
    assert_eq!(outcome.unwrap().as_str(), r#"{"without":"a"}"#);
    assert_eq!(cache.stat(Stat::Misses), 3);
}

#[test]
fn r11_a_panicking_loader_fails_its_load_and_nothing_else() {
    let (cache, _) = with_clock();
    let panic = catch_unwind(AssertUnwindSafe(|| cache.get("weather", |_| panic!("on purpose"))));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_eq!(cache.stat(Stat::LoadFailures), 1);
    get(&cache, "weather").unwrap();
}

#[test]
fn r13_a_manifest_outlives_its_cache() {
    let manifest = get(&Cache::new(TTL), "weather").unwrap();
    assert_eq!(manifest.as_c_str().to_bytes(), MANIFEST.as_bytes());
}

#[test]
fn a_look_neither_loads_nor_waits() {
    let (cache, _) = with_clock();
    assert_eq!(cache.look("weather").unwrap_err().status(), Status::NotFound);
    get(&cache, "weather").unwrap();
    cache
        .get("other", |load| {
            assert_eq!(cache.look("other").unwrap_err().status(), Status::NotFound);
            load.not_found();
        })
        .unwrap_err();
    assert_eq!(cache.look("weather").unwrap().as_str(), MANIFEST);
    assert_eq!(
        (cache.stat(Stat::Hits), cache.stat(Stat::Misses), cache.stat(Stat::Loads)),
        (1, 4, 2)
    );
}

#[test]
fn a_clear_returns_how_many_entries_it_dropped() {
    let (cache, _) = with_clock();
    for id in ["", "a", "b"] {
        get(&cache, id).unwrap();
    }
    assert!(cache.clear("") && !cache.clear(""));
    assert_eq!((cache.clear_all(), cache.clear_all()), (2, 0));
    assert_eq!(cache.stat(Stat::Bytes), 0);
}

#[test]
fn a_loader_that_swaps_loads_stores_no_manifest_under_another_id() {
    let (cache, _) = with_clock();
    let outer = cache.get("outer", |outer| {
        let inner = cache.get("inner", |inner| {
            inner.json(MANIFEST).unwrap();
            std::mem::swap(outer, inner);
        });
        assert_eq!(inner.unwrap_err().status(), Status::LoadFailed);
    });
    assert!(outer.unwrap_err().message().contains("swapped"));
    assert_eq!(cache.stat(Stat::TotalEntries), 0);
}

#[test]
fn advancing_a_cache_expires_its_entries_and_no_others() {
    let (cache, other) = (Cache::new(TTL), Cache::new(TTL));
    for cache in [&cache, &other] {
        get(cache, "weather").unwrap();
    }
    cache.advance(2 * TTL);
    assert!(cache.look("weather").is_err() && other.look("weather").is_ok());
}

#[test]
fn time_that_a_logger_advances_at_the_begin_of_a_load_counts_for_the_expired_entry() {
    let (cache, _) = with_clock();
    let cache = Arc::new(cache);
    cache.set(CacheOption::StaleIfErrorMs, 10_000).unwrap();
    get(&cache, "weather").unwrap();
    cache.advance(TTL * 2);
    let advances = cache.clone();
    cache.set_logger(Level::Debug, move |_, message| {
        if message.starts_with("Loading") {
            advances.advance(TTL * 20);
        }
    });
    let error = cache.get("weather", |load| load.fail(0, "no")).unwrap_err();
    assert_eq!((error.status(), cache.stat(Stat::TotalEntries)), (Status::LoadFailed, 0));
    cache.unset_logger();
}

#[test]
fn a_logger_that_panics_at_the_begin_of_a_load_ends_the_load() {
    let (cache, _) = with_clock();
    cache.set_logger(Level::Debug, |_, _| panic!("the logger panics"));
    assert!(catch_unwind(AssertUnwindSafe(|| get(&cache, "weather"))).is_err());
    cache.unset_logger();
    assert_eq!(get(&cache, "weather").unwrap().as_str(), MANIFEST);
}

/// Advances the time several times as `mc_advance` with `UINT64_MAX` does.
fn advance_far(cache: &Cache) {
    (0..5).for_each(|_| cache.advance(Duration::MAX));
}

#[test]
fn an_endless_retry_time_does_not_end_however_far_the_time_is_advanced() {
    let (cache, _) = with_clock();
    for option in [CacheOption::StaleIfErrorMs, CacheOption::RetryMs] {
        cache.set(option, u64::MAX).unwrap();
    }
    get(&cache, "weather").unwrap();
    cache.advance(TTL * 2);
    cache.get("weather", |load| load.fail(0, "no")).unwrap();
    advance_far(&cache);
    cache.get("weather", unexpected).unwrap();
}

#[test]
fn a_renewed_manifest_keeps_its_own_time_to_live_however_far_the_time_is_advanced() {
    let (cache, _) = with_clock();
    let with_own_ttl = |load: &mut Load| {
        load.ttl_ms(5_000);
        load.json(MANIFEST).unwrap();
    };
    cache.get("weather", with_own_ttl).unwrap();
    advance_far(&cache);
    cache.get("weather", |load| load.unchanged().unwrap()).unwrap();
    assert_eq!(cache.entries()[0].ttl_ms, 5_000);
    cache.get("weather", unexpected).unwrap();
}

/// Two asynchronous waits for each of two loads. Each panics when it is told; the channel has whose
/// they are.
fn waits_that_panic(cache: &Arc<Cache>) -> (Vec<LoadGuard>, mpsc::Receiver<&'static str>) {
    let ((tell, told), mut loads) = (mpsc::channel(), Vec::new());
    for id in ["a", "b"] {
        let Ok(Begun::Load(load)) = cache.begin(id, Within::NOTHING) else {
            panic!("the load begins")
        };
        loads.push(load);
        for _ in 0..2 {
            let tell = tell.clone();
            let done = move |outcome: Result<Fetched, Error>| {
                assert!(outcome.is_err());
                tell.send(id).unwrap();
                panic!("this must not keep the others from being told");
            };
            let begun = cache.begin_async(id, Within::NOTHING, done);
            assert!(matches!(begun, Ok(Begun::Pending)));
        }
    }
    (loads, told)
}

fn sorted(told: &mpsc::Receiver<&'static str>) -> Vec<&'static str> {
    let mut told: Vec<_> = told.try_iter().collect();
    told.sort_unstable();
    told
}

#[test]
fn all_whose_time_is_over_are_told_even_if_one_panics() {
    let (cache, clock) = with_clock();
    let cache = Arc::new(cache);
    cache.set(CacheOption::WaitMs, 10).unwrap();
    cache.set_logger(Level::Warn, |_, _| panic!("nor must this"));
    let (loads, told) = waits_that_panic(&cache);
    clock.advance(Duration::from_millis(10));
    assert!(catch_unwind(AssertUnwindSafe(|| cache.purge())).is_err());
    assert_eq!((sorted(&told), cache.stat(Stat::Timeouts)), (vec!["a", "a", "b", "b"], 4));
    cache.unset_logger();
    drop(loads);
    assert!(sorted(&told).is_empty());
}

#[test]
fn all_who_wait_when_a_cache_is_closed_are_told_even_if_one_panics() {
    let (cache, _) = with_clock();
    let cache = Arc::new(cache);
    let (loads, told) = waits_that_panic(&cache);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.close())).is_err());
    assert_eq!(sorted(&told), ["a", "a", "b", "b"]);
    drop(loads);
}

#[test]
fn all_who_wait_are_told_even_if_the_drop_of_a_value_panics() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("this must not keep those who wait from being told");
        }
    }
    let (cache, clock) = with_clock();
    let cache = Arc::new(cache);
    let (tell, told) = mpsc::channel();
    let begin = |id: &'static str| {
        let Ok(Begun::Load(load)) = cache.begin(id, Within::NOTHING) else {
            panic!("the load begins")
        };
        let tell = tell.clone();
        let done = move |outcome: Result<Fetched, Error>| tell.send((id, outcome.is_ok())).unwrap();
        assert!(matches!(cache.begin_async(id, Within::NOTHING, done), Ok(Begun::Pending)));
        load
    };
    let put_with_value = |id| {
        cache.put(id, MANIFEST).unwrap();
        assert!(cache.look(id).unwrap().attach(Panics).is_ok());
        clock.advance(TTL * 2);
    };
    cache.set(CacheOption::MaxEntries, 1).unwrap();
    put_with_value("evicted");
    let mut load = begin("ends");
    load.json(MANIFEST).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| load.end())).is_err());
    assert_eq!(told.try_recv(), Ok(("ends", true)));

    cache.set(CacheOption::WaitMs, 10).unwrap();
    let slow = begin("slow");
    cache.clear_all();
    put_with_value("purged");
    assert!(catch_unwind(AssertUnwindSafe(|| cache.purge())).is_err());
    assert_eq!(told.try_recv(), Ok(("slow", false)));
    drop(slow);
}

/// Counts in `ends` that it was dropped.
struct Value(u32, Arc<AtomicUsize>);

impl Drop for Value {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
    }
}

/// A counter of dropped values, and what makes them.
fn values() -> (Arc<AtomicUsize>, impl Fn(u32) -> Value) {
    let ends = Arc::new(AtomicUsize::new(0));
    let counter = ends.clone();
    (ends, move |number| Value(number, counter.clone()))
}

#[test]
fn r18_a_value_is_found_with_its_manifest_by_its_type_and_dropped_after_it() {
    let (cache, _) = with_clock();
    let (ends, value) = values();
    let decode = |load: &mut Load| {
        assert!(load.manifest().is_none());
        load.json(MANIFEST).unwrap();
        assert_eq!(load.manifest().unwrap().as_str(), MANIFEST);
        load.value(value(7)).unwrap();
    };
    let loaded = cache.get("weather", decode).unwrap();
    let hit = cache.get("weather", unexpected).unwrap();
    for manifest in [&loaded, &hit] {
        assert_eq!(manifest.value::<Value>().unwrap().0, 7);
        assert!(manifest.value::<u32>().is_none());
    }
    assert!(cache.clear("weather"));
    drop(loaded);
    assert_eq!(ends.load(SeqCst), 0);
    drop(hit);
    assert_eq!(ends.load(SeqCst), 1);
}

#[test]
fn r18_the_first_value_that_is_attached_stays_and_one_of_another_type_is_returned() {
    let (cache, _) = with_clock();
    let (ends, value) = values();
    cache.put("weather", MANIFEST).unwrap();
    let manifest = cache.look("weather").unwrap();
    assert!(manifest.value::<Value>().is_none());
    assert_eq!(manifest.attach(value(1)).ok().unwrap().0, 1);
    assert_eq!(manifest.attach(value(2)).ok().unwrap().0, 1);
    assert_eq!((ends.load(SeqCst), manifest.attach("text")), (1, Err("text")));
    drop((manifest, cache));
    assert_eq!(ends.load(SeqCst), 2);
}

#[test]
fn r18_a_load_takes_a_value_only_for_its_manifest_and_drops_it_with_the_answer() {
    let (cache, _) = with_clock();
    let (ends, value) = values();
    let refused = cache.get("weather", |load| {
        assert_eq!(load.value(value(0)).unwrap_err().status(), Status::InvalidArgument);
        load.json(MANIFEST).unwrap();
        load.value(value(1)).unwrap();
        assert_eq!(load.value("text").unwrap_err().status(), Status::InvalidArgument);
        assert_eq!(ends.load(SeqCst), 1);
        load.fail(1, "the host refuses it");
        assert!(load.manifest().is_none());
        assert_eq!(ends.load(SeqCst), 2);
    });
    assert_eq!(refused.unwrap_err().status(), Status::LoadFailed);
}

#[test]
fn r18_a_manifest_that_is_found_unchanged_keeps_its_value() {
    let (cache, clock) = with_clock();
    let (ends, value) = values();
    let load = |load: &mut Load| {
        load.json(MANIFEST).unwrap();
        load.value(value(1)).unwrap();
    };
    cache.get("weather", load).unwrap();
    clock.advance(TTL * 2);
    let renewed = cache.get("weather", |load| {
        load.unchanged().unwrap();
        load.value(value(2)).unwrap();
    });
    assert_eq!(renewed.unwrap().value::<Value>().unwrap().0, 1);
    assert_eq!(ends.load(SeqCst), 1);
}

#[test]
fn r18_a_cache_that_is_dropped_lets_all_threads_let_go_of_its_values() {
    let (cache, other) = (Cache::new(TTL), Cache::new(Duration::MAX));
    let (ends, value) = values();
    get(&other, "other").unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        // Here, so that the other thread ends if this one panics.
        let (release, hold) = mpsc::channel::<()>();
        let (cache, other, ends) = (Arc::new(cache), &other, &ends);
        let theirs = cache.clone();
        let idle = scope.spawn(move || {
            let load = |load: &mut Load| {
                load.json(MANIFEST).unwrap();
                load.value(value(1)).unwrap();
            };
            theirs.get("weather", load).unwrap();
            theirs.get("weather", unexpected).unwrap();
            drop(theirs);
            tell.send(()).unwrap();
            hold.recv().unwrap();
            other.get("other", unexpected).unwrap();
            assert_eq!(ends.load(SeqCst), 1, "its stock let go of what was dropped");
        });
        told.recv().unwrap();
        drop(cache);
        assert_eq!(ends.load(SeqCst), 0);
        release.send(()).unwrap();
        idle.join().unwrap();
    });
}
