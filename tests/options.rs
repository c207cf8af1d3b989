//! Tests each option, with a manual clock.

mod common;

use common::cache::*;
use manifest_cache::{Cache, CacheOption, Error, Level, Load, Stat, Status};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

const NEW: &str = r#"{"name":"New"}"#;
/// The time to live, and the unit of the times in these tests.
const SECOND: Duration = Duration::from_secs(1);

/// What an entry occupies besides its id and its manifest, as the C header says.
const ENTRY_BYTES: u64 = 384;

fn with(options: &[(CacheOption, u64)]) -> (Cache, manifest_cache::Clock) {
    let (cache, clock) = with_clock();
    for (option, value) in options {
        cache.set(*option, *value).unwrap();
    }
    (cache, clock)
}

fn expired(options: &[(CacheOption, u64)]) -> (Cache, manifest_cache::Clock) {
    let (cache, clock) = with(options);
    get(&cache, "weather").unwrap();
    clock.advance(SECOND + Duration::from_nanos(1));
    (cache, clock)
}

fn fail(load: &mut Load) {
    load.fail(7, "no network");
}

#[test]
fn stale_if_error_returns_the_expired_manifest_when_its_reload_fails() {
    let (cache, clock) =
        expired(&[(CacheOption::StaleIfErrorMs, 5_000), (CacheOption::RetryMs, 0)]);
    let failures: [fn(&mut Load); 3] = [fail, |_| (), |load| drop(load.json("["))];
    for failure in failures {
        let got = cache.fetch("weather", failure).unwrap();
        let why = got.stale.unwrap();
        assert_eq!((got.manifest.as_str(), why.status()), (MANIFEST, Status::Stale));
        assert!(
            why.message().starts_with("plugin \"weather\": ")
                && why.message().ends_with("expired manifest"),
            "{why}"
        );
    }
    assert_eq!(cache.fetch("weather", fail).unwrap().stale.unwrap().code(), 7);
    assert_eq!(cache.stat(Stat::LoadFailures), 4);
    // The cache returns it for five seconds after its expiry, and no longer.
    clock.advance(5 * SECOND - Duration::from_nanos(1));
    cache.fetch("weather", fail).unwrap();
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.fetch("weather", fail).unwrap_err().status(), Status::LoadFailed);
    assert_eq!(cache.stat(Stat::TotalEntries), 0);
}

#[test]
fn stale_if_error_is_off_by_default_and_not_found_is_no_failure() {
    let (cache, _) = expired(&[]);
    cache.get("weather", fail).unwrap_err();
    let (cache, _) = expired(&[(CacheOption::StaleIfErrorMs, 5_000)]);
    assert_eq!(cache.get("weather", Load::not_found).unwrap_err().status(), Status::NotFound);
    assert_eq!(cache.stat(Stat::TotalEntries), 0);
}

#[test]
fn after_a_failure_the_loader_is_not_called_during_the_retry_time() {
    let (cache, clock) = expired(&[(CacheOption::StaleIfErrorMs, 60_000)]);
    cache.fetch("weather", fail).unwrap();
    clock.advance(Duration::from_millis(999));
    let got = cache.fetch("weather", unexpected).unwrap();
    assert_eq!((got.stale.unwrap().code(), cache.stat(Stat::StaleHits)), (7, 1));
    clock.advance(Duration::from_millis(1));
    let got = cache.fetch("weather", answer(NEW)).unwrap();
    assert!(got.stale.is_none() && got.manifest.as_str() == NEW);
    cache.get("weather", unexpected).unwrap();
}

#[test]
fn a_clear_or_a_put_ends_the_retry_time() {
    let (cache, _) = expired(&[(CacheOption::StaleIfErrorMs, 60_000)]);
    cache.fetch("weather", fail).unwrap();
    cache.clear("weather");
    assert_eq!(cache.get("weather", answer(NEW)).unwrap().as_str(), NEW);
    let (cache, clock) =
        expired(&[(CacheOption::StaleIfErrorMs, 60_000), (CacheOption::RetryMs, 60_000)]);
    cache.fetch("weather", fail).unwrap();
    cache.put("weather", NEW).unwrap();
    clock.advance(2 * SECOND);
    assert_eq!(cache.get("weather", answer(MANIFEST)).unwrap().as_str(), MANIFEST);
}

#[test]
fn a_call_that_waits_for_a_load_that_panics_gets_the_stale_manifest_too() {
    let (cache, _) = expired(&[(CacheOption::StaleIfErrorMs, 60_000)]);
    let (cache, (tell, told)) = (&cache, mpsc::channel());
    let (release, hold) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let throwing = scope.spawn(move || {
            cache.get("weather", |_| {
                tell.send(()).unwrap();
                hold.recv().unwrap();
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        });
        told.recv().unwrap();
        let waiting = scope.spawn(|| cache.fetch("weather", fail));
        thread::sleep(Duration::from_millis(20));
        release.send(()).unwrap();
        throwing.join().unwrap_err();
        // It gets the manifest whether it waited or came too late, when its own loader failed.
        assert_eq!(waiting.join().unwrap().unwrap().stale.unwrap().status(), Status::Stale);
    });
}

#[test]
fn stale_while_revalidate_spares_other_calls_the_wait() {
    let (cache, clock) = expired(&[(CacheOption::StaleWhileRevalidateMs, 5_000)]);
    let reload = |load: &mut Load| {
        thread::scope(|scope| {
            let other = scope.spawn(|| cache.fetch("weather", unexpected).unwrap());
            let got = other.join().unwrap();
            assert!(got.stale.is_none() && got.manifest.as_str() == MANIFEST);
        });
        load.json(NEW).unwrap();
    };
    assert_eq!(cache.get("weather", reload).unwrap().as_str(), NEW);
    assert_eq!((cache.stat(Stat::StaleHits), cache.stat(Stat::Waits)), (1, 0));
    // After a clear no call gets the expired manifest.
    clock.advance(2 * SECOND);
    let cleared = |load: &mut Load| {
        cache.clear("weather");
        thread::scope(|scope| {
            let other = scope.spawn(|| cache.get("weather", answer(MANIFEST)).unwrap());
            assert_eq!(other.join().unwrap().as_str(), MANIFEST);
        });
        load.json(NEW).unwrap();
    };
    cache.get("weather", cleared).unwrap();
    assert_eq!(cache.look("weather").unwrap().as_str(), MANIFEST);
}

#[test]
fn stale_while_revalidate_ends_with_its_time() {
    let (cache, clock) =
        expired(&[(CacheOption::StaleWhileRevalidateMs, 500), (CacheOption::WaitMs, 1)]);
    clock.advance(Duration::from_millis(500));
    let reload = |load: &mut Load| {
        thread::scope(|scope| {
            let other = scope.spawn(|| cache.get("weather", unexpected));
            while !other.is_finished() {
                clock.advance(Duration::from_millis(1));
                thread::yield_now();
            }
            assert_eq!(other.join().unwrap().unwrap_err().status(), Status::Timeout);
        });
        load.json(NEW).unwrap();
    };
    cache.get("weather", reload).unwrap();
    assert_eq!(cache.stat(Stat::Timeouts), 1);
}

#[test]
fn a_remembered_not_found_spares_the_load_until_it_expires_or_is_cleared() {
    let (cache, clock) = with(&[(CacheOption::NegativeTtlMs, 500)]);
    let not_found = || cache.get("weather", Load::not_found).unwrap_err();
    not_found();
    assert_eq!(cache.get("weather", unexpected).unwrap_err().status(), Status::NotFound);
    assert_eq!(cache.look("weather").unwrap_err().status(), Status::NotFound);
    assert_eq!(
        (cache.stat(Stat::NegativeHits), cache.stat(Stat::TotalEntries), cache.stat(Stat::Bytes)),
        (2, 1, ENTRY_BYTES + 7)
    );
    assert!(cache.revision("weather").is_none());
    clock.advance(Duration::from_millis(501));
    not_found();
    assert!(cache.clear("weather"));
    get(&cache, "weather").unwrap();
    assert_eq!(cache.stat(Stat::Loads), 3);
}

#[test]
fn concurrent_gets_of_a_plugin_that_is_not_found_run_one_loader() {
    let (cache, _) = with(&[(CacheOption::NegativeTtlMs, u64::MAX)]);
    let (start, ids) = (Barrier::new(2), 20_000_usize);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..ids {
                    start.wait();
                    cache.get(&n.to_string(), Load::not_found).unwrap_err();
                }
            });
        }
    });
    assert_eq!(cache.stat(Stat::Loads), ids as u64);
}

#[test]
fn the_log_does_not_say_that_a_fenced_manifest_was_cached() {
    let (cache, _) = with(&[]);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    cache.set_logger(Level::Debug, move |_, message: &str| {
        hears.lock().unwrap().push(message.to_owned())
    });
    let cleared = |load: &mut Load| {
        cache.put("weather", NEW).unwrap();
        load.json(MANIFEST).unwrap();
    };
    cache.get("weather", cleared).unwrap();
    assert_eq!(*heard.lock().unwrap(), ["Loading manifest 'weather' from disk"]);
}

#[test]
fn a_put_replaces_a_remembered_not_found_and_is_newer_than_a_load() {
    let (cache, _) = with(&[(CacheOption::NegativeTtlMs, 500)]);
    cache.get("weather", Load::not_found).unwrap_err();
    cache.put("weather", MANIFEST).unwrap();
    assert_eq!(cache.get("weather", unexpected).unwrap().as_str(), MANIFEST);

    let put_meanwhile = |load: &mut Load| {
        cache.put("other", NEW).unwrap();
        load.json(MANIFEST).unwrap();
    };
    assert_eq!(
        cache.get("other", put_meanwhile).unwrap().as_str(),
        MANIFEST,
        "the caller of a fenced load gets its manifest"
    );
    assert_eq!(cache.get("other", unexpected).unwrap().as_str(), NEW);
    assert_eq!(cache.stat(Stat::Discarded), 1);
}

#[test]
fn a_put_of_an_invalid_manifest_changes_nothing_and_of_an_empty_one_clears() {
    let (cache, _) = with(&[]);
    get(&cache, "weather").unwrap();
    let error = cache.put("weather", "[1]").unwrap_err();
    assert_eq!((error.status(), error.line()), (Status::InvalidManifest, 1));
    assert_eq!(cache.look("weather").unwrap().as_str(), MANIFEST);
    cache.put("weather", "{}").unwrap();
    cache.look("weather").unwrap_err();
}

#[test]
fn a_loader_may_give_its_manifest_its_own_time_to_live() {
    let (cache, clock) = with(&[(CacheOption::StaleIfErrorMs, 0)]);
    let lasting = |load: &mut Load| {
        load.ttl_ms(10_000);
        load.json(MANIFEST).unwrap();
    };
    cache.get("weather", lasting).unwrap();
    clock.advance(10 * SECOND);
    cache.get("weather", unexpected).unwrap();
    clock.advance(SECOND);
    // The renewed manifest keeps its own time to live.
    cache.get("weather", |load| load.unchanged().unwrap()).unwrap();
    clock.advance(10 * SECOND);
    cache.get("weather", unexpected).unwrap();
    assert_eq!(cache.entries()[0].ttl_ms, 10_000);
    let gone = |load: &mut Load| {
        load.json(MANIFEST).unwrap();
        load.ttl_ms(0);
    };
    cache.get("momentary", gone).unwrap();
    cache.look("momentary").unwrap_err();
}

#[test]
fn an_unchanged_manifest_is_renewed_and_keeps_its_revision() {
    let (cache, clock) = expired(&[]);
    let revision = cache.entries()[0].revision;
    let unchanged = |load: &mut Load| {
        assert_eq!(load.cached().unwrap().as_str(), MANIFEST);
        load.unchanged().unwrap();
    };
    assert_eq!(cache.get("weather", unchanged).unwrap().revision(), revision);
    clock.advance(SECOND);
    assert_eq!(cache.revision("weather"), Some(revision));
    assert_eq!((cache.stat(Stat::Unchanged), cache.stat(Stat::Hits)), (1, 1));
    let nothing = |load: &mut Load| {
        assert!(load.cached().is_none());
        assert_eq!(load.unchanged().unwrap_err().status(), Status::InvalidArgument);
    };
    assert_eq!(cache.get("other", nothing).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn a_load_that_was_cleared_renews_nothing() {
    let (cache, _) = expired(&[]);
    let cleared = |load: &mut Load| {
        cache.clear("weather");
        load.unchanged().unwrap();
    };
    assert_eq!(cache.get("weather", cleared).unwrap().as_str(), MANIFEST);
    cache.look("weather").unwrap_err();
}

#[test]
fn bounds_hold_while_threads_store_and_entries_in_use_stay() {
    let (cache, _) =
        with(&[(CacheOption::MaxEntries, 10), (CacheOption::MaxBytes, 10 * ENTRY_BYTES + 400)]);
    get(&cache, "used").unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..500 {
                    get(cache, &format!("{thread}-{n}")).unwrap();
                    cache.get("used", answer(MANIFEST)).unwrap();
                    let (stats, entries) = (cache.stats(), cache.entries());
                    assert!(
                        stats.get(Stat::TotalEntries) <= 10
                            && stats.get(Stat::Bytes) <= 10 * ENTRY_BYTES + 400,
                        "{stats:?}"
                    );
                    assert!(
                        entries.len() <= 10
                            && entries.iter().map(|entry| entry.bytes).sum::<usize>() <= 400
                    );
                }
            });
        }
    });
    assert!(cache.stat(Stat::Evictions) >= 3_990);
    assert!(cache.stat(Stat::Loads) < 4_100, "an entry in frequent use stays: {:?}", cache.stats());
    cache.set(CacheOption::MaxEntries, 2).unwrap();
    assert_eq!(cache.stat(Stat::TotalEntries), 2);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(10 * ENTRY_BYTES as usize + 400));
    assert_eq!(cache.get("large", answer(&large)).unwrap().as_str(), large);
    cache.look("large").unwrap_err();
}

#[test]
fn an_eviction_fences_no_load() {
    let (cache, _) = expired(&[(CacheOption::MaxEntries, 1)]);
    let evicted_meanwhile = |load: &mut Load| {
        get(&cache, "other").unwrap();
        assert_eq!(cache.stat(Stat::Evictions), 1);
        load.json(NEW).unwrap();
    };
    cache.get("weather", evicted_meanwhile).unwrap();
    assert_eq!(cache.look("weather").unwrap().as_str(), NEW);
    assert_eq!(cache.stat(Stat::Discarded), 0);
}

#[test]
fn a_manifest_larger_than_allowed_is_invalid() {
    let (cache, _) = with(&[(CacheOption::MaxManifestBytes, 10)]);
    assert_eq!(get(&cache, "weather").unwrap_err().status(), Status::InvalidManifest);
    assert_eq!(cache.put("weather", MANIFEST).unwrap_err().status(), Status::InvalidManifest);
    assert_eq!(
        cache.set(CacheOption::MaxManifestBytes, 0).unwrap_err().status(),
        Status::InvalidArgument
    );
    assert_eq!(
        get(&cache, "weather").unwrap_err().status(),
        Status::InvalidManifest,
        "0 was not set"
    );
}

#[test]
fn a_purge_drops_the_entries_that_no_option_allows_to_be_returned() {
    let (cache, clock) =
        expired(&[(CacheOption::StaleIfErrorMs, 1_000), (CacheOption::NegativeTtlMs, 500)]);
    cache.get("missing", Load::not_found).unwrap_err();
    assert_eq!(cache.purge(), 0);
    clock.advance(Duration::from_millis(501));
    assert_eq!(cache.purge(), 1, "the remembered \"not found\"");
    clock.advance(SECOND);
    assert_eq!((cache.purge(), cache.stat(Stat::TotalEntries)), (1, 0));
}

#[test]
fn the_entries_are_listed_with_their_times_and_sizes() {
    let (cache, clock) = with(&[(CacheOption::NegativeTtlMs, 10_000)]);
    get(&cache, "weather").unwrap();
    cache.get("missing", Load::not_found).unwrap_err();
    clock.advance(Duration::from_millis(1_500));
    let mut entries = cache.entries();
    entries.sort_by(|a, b| a.plugin_id.cmp(&b.plugin_id));
    let [missing, weather] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(
        (missing.bytes, missing.revision, missing.ttl_ms, missing.expired),
        (0, 0, 10_000, false)
    );
    assert_eq!(
        (weather.bytes, weather.age_ms, weather.ttl_ms, weather.expired),
        (MANIFEST.len(), 1_500, 1_000, true)
    );
}

#[test]
fn every_get_is_counted_exactly_once() {
    let (cache, clock) = with(&[
        (CacheOption::StaleIfErrorMs, 60_000),
        (CacheOption::StaleWhileRevalidateMs, 60_000),
        (CacheOption::NegativeTtlMs, 300),
        (CacheOption::MaxEntries, 8),
    ]);
    let answers: [fn(&mut Load); 7] = [
        |load| load.json(MANIFEST).unwrap(),
        |load| load.json(NEW).unwrap(),
        |load| drop(load.unchanged()),
        |load| load.json("{}").unwrap(),
        Load::not_found,
        fail,
        |_| (),
    ];
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, clock) = (&cache, &clock);
            scope.spawn(move || {
                for n in 0..2_000_usize {
                    let _ =
                        cache.get(&(n * 7 % 9).to_string(), answers[(n + thread) % answers.len()]);
                    if n % 10 == 0 {
                        clock.advance(Duration::from_millis(150));
                    }
                }
            });
        }
    });
    let stats = cache.stats();
    let kinds = [Stat::Hits, Stat::StaleHits, Stat::NegativeHits, Stat::Waits, Stat::Misses];
    assert_eq!(kinds.map(|kind| stats.get(kind)).iter().sum::<u64>(), 8_000, "{stats:?}");
    for kind in [
        Stat::Hits,
        Stat::StaleHits,
        Stat::NegativeHits,
        Stat::Misses,
        Stat::Unchanged,
        Stat::Evictions,
    ] {
        assert!(stats.get(kind) > 0, "{kind:?} did not occur: {stats:?}");
    }
}

#[test]
fn the_log_has_the_messages_and_levels_of_the_replaced_class() {
    let (cache, clock) = with(&[]);
    let cache = Arc::new(cache);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (hears, from_within) = (heard.clone(), Arc::downgrade(&cache));
    cache.set_logger(Level::Debug, move |level, message: &str| {
        hears.lock().unwrap().push(format!("{level:?} {message}"));
        // A logger may call the cache, and gets no messages about these calls.
        let _ = from_within.upgrade().map(|cache| cache.look("weather"));
    });
    get(&cache, "weather").unwrap();
    clock.advance(Duration::from_millis(500));
    cache.get("weather", unexpected).unwrap();
    clock.advance(SECOND);
    cache.get("weather", fail).unwrap_err();
    get(&cache, "weather").unwrap();
    cache.clear("weather");
    cache.clear_all();
    let expected = [
        "Debug Loading manifest 'weather' from disk",
        "Debug Cached manifest 'weather' (CacheEntry(age=0.0s, ttl=1s))",
        "Debug Cache hit for manifest 'weather' (CacheEntry(age=0.5s, ttl=1s))",
        "Debug Cache expired for manifest 'weather', reloading",
        "Debug Loading manifest 'weather' from disk",
        "Error plugin \"weather\": the loader failed with code 7: no network",
        "Debug Loading manifest 'weather' from disk",
        "Debug Cached manifest 'weather' (CacheEntry(age=0.0s, ttl=1s))",
        "Info Cleared cache for plugin 'weather'",
        "Info Cleared entire manifest cache (0 entries)",
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
    cache.unset_logger();
    cache.clear_all();
    assert_eq!(heard.lock().unwrap().len(), expected.len());
}

/// A file that only this test uses.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}.json", std::process::id()));
        let file = TestFile(path);
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    fn replace(&self, text: &str) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.0).unwrap();
    }

    /// Waits until the times of the file are old enough for the cache to trust them. A test cannot
    /// set them back, because the system sets the time of the last change itself.
    fn settle(&self) {
        while self.0.metadata().unwrap().modified().unwrap() + Duration::from_millis(110)
            > SystemTime::now()
        {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_that_is_still_the_same_is_renewed_without_being_read() {
    let (cache, clock) = with(&[]);
    let file = TestFile::new("same", MANIFEST);
    let load = || cache.get("weather", |load| drop(load.file(&file.0))).unwrap();
    file.settle();
    let revision = load().revision();
    for round in 1..4 {
        clock.advance(2 * SECOND);
        assert_eq!((load().revision(), cache.stat(Stat::Unchanged)), (revision, round));
    }
    clock.advance(2 * SECOND);
    file.replace(NEW);
    assert_eq!(load().as_str(), NEW);
    assert_ne!(load().revision(), revision);
    assert_eq!(cache.stat(Stat::Unchanged), 3);
}

#[test]
fn a_file_that_was_just_written_is_read_again_and_equal_bytes_are_unchanged() {
    let (cache, clock) = with(&[]);
    let file = TestFile::new("fresh", MANIFEST);
    let load = || cache.get("weather", |load| drop(load.file(&file.0))).unwrap();
    let revision = load().revision();
    clock.advance(2 * SECOND);
    file.write(MANIFEST);
    assert_eq!((load().revision(), cache.stat(Stat::Unchanged)), (revision, 1));
    clock.advance(2 * SECOND);
    // Written right after the last time and with the same length: only the bytes differ.
    file.write(&MANIFEST.replace("Weather", "Wetter!"));
    assert_eq!(load().as_str(), r#"{"name":"Wetter!"}"#);
}

type Answer<'a> = &'a dyn Fn(&mut Load) -> Result<(), Error>;

#[test]
fn a_manifest_above_the_limit_is_invalid_even_if_it_is_unchanged() {
    let file = TestFile::new("longer", MANIFEST);
    let by_times = |load: &mut Load| load.file(&file.0);
    let by_bytes = |load: &mut Load| {
        file.write(MANIFEST);
        load.file(&file.0)
    };
    let answers: [Answer; 3] = [&by_times, &by_bytes, &Load::unchanged];
    for answer in answers {
        let (cache, clock) = with(&[]);
        file.settle();
        let load = |answer: Answer| {
            clock.advance(2 * SECOND);
            cache.get("weather", |load| drop(answer(load)))
        };
        load(&by_times).unwrap();
        cache.set(CacheOption::MaxManifestBytes, MANIFEST.len() as u64).unwrap();
        load(answer).unwrap();
        cache.set(CacheOption::MaxManifestBytes, MANIFEST.len() as u64 - 1).unwrap();
        let error = load(answer).unwrap_err();
        assert_eq!(error.status(), Status::InvalidManifest, "{error}");
        assert!(error.message().contains("MC_OPT_MAX_MANIFEST_BYTES"), "{error}");
        assert_eq!(cache.stat(Stat::Unchanged), 1);
    }
}

#[test]
fn the_stamp_of_a_file_is_dropped_with_the_entry() {
    let (cache, clock) = with(&[]);
    let file = TestFile::new("forgotten", MANIFEST);
    file.settle();
    let load = || cache.get("weather", |load| drop(load.file(&file.0))).unwrap();
    let revision = load().revision();
    cache.clear("weather");
    assert_ne!(load().revision(), revision);
    clock.advance(2 * SECOND);
    cache.put("weather", NEW).unwrap();
    clock.advance(2 * SECOND);
    assert_eq!((load().as_str(), cache.stat(Stat::Unchanged)), (MANIFEST, 0));
}

#[test]
fn a_file_that_was_removed_is_not_found() {
    let (cache, clock) = with(&[(CacheOption::StaleIfErrorMs, 60_000)]);
    let file = TestFile::new("missing", MANIFEST);
    cache.get("weather", |load| drop(load.file(&file.0))).unwrap();
    clock.advance(2 * SECOND);
    fs::remove_file(&file.0).unwrap();
    let error = cache.get("weather", |load| drop(load.file(&file.0))).unwrap_err();
    assert_eq!(error.status(), Status::NotFound);
}

#[test]
fn a_truncated_file_is_refused_and_the_expired_manifest_returned() {
    let (cache, clock) = with(&[(CacheOption::StaleIfErrorMs, 60_000), (CacheOption::RetryMs, 0)]);
    let file = TestFile::new("cut", MANIFEST);
    let fetch = || cache.fetch("weather", |load| drop(load.file(&file.0))).unwrap();
    fetch();
    clock.advance(2 * SECOND);
    file.write(&MANIFEST[..10]);
    let got = fetch();
    let why = got.stale.unwrap();
    assert_eq!((got.manifest.as_str(), why.line()), (MANIFEST, 1));
    assert!(why.message().contains("cut-"), "{why}");
    file.write(NEW);
    assert_eq!(fetch().manifest.as_str(), NEW);
}
