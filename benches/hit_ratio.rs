//! Measures the hit ratio of a cache with a bound, compared with an exact LRU and with moka on the
//! same traces.
//!
//!     cargo bench --bench hit_ratio              prints the table, in less than a minute
//!     cargo bench --bench hit_ratio -- --write   also writes it to docs/performance.md
//!
//! It replaces what stands between two marks in that page.

use foldhash::fast::FixedState;
use manifest_cache::{Cache, CacheOption};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const IDS: u32 = 100_000;
const REQUESTS: usize = 2_000_000;
const BETWEEN_SCANS: usize = 10_000;
const SCAN: u32 = 5_000;
const BOUNDS: [(usize, &str); 3] = [(100, "0.1 %"), (1_000, "1 %"), (10_000, "10 %")];
const PEERS: [&str; 2] = ["LRU", "moka"];
const MARKS: [&str; 2] = ["<!-- hit ratio -->\n", "<!-- end of hit ratio -->"];

/// A get of a cache with a bound, in which every miss loads. Returns whether it was a hit.
type Get = Box<dyn FnMut(u32) -> bool>;

struct Row {
    trace: &'static str,
    bound: &'static str,
    /// Ours, then those of the peers, in tenths of a percent: compared as they are printed.
    ratios: [u64; 3],
}

fn main() -> ExitCode {
    let zipf = zipf();
    let scanned = with_scans(&zipf);
    let row = |trace, ids: &[u32], (bound, name)| {
        let ratios = [ours, lru, moka].map(|new| hit_ratio(new(bound), ids));
        Row { trace, bound: name, ratios }
    };
    // Each row has a thread, only to save time; the threads share no cache.
    let rows: Vec<Row> = thread::scope(|scope| {
        let of_trace = |trace, ids| BOUNDS.map(|bound| scope.spawn(move || row(trace, ids, bound)));
        let rows = [of_trace("Zipf", &zipf), of_trace("Zipf and scans", &scanned)];
        rows.into_iter().flatten().map(|row| row.join().expect("no bench panics")).collect()
    });
    let text = format!("{}\n{}\n", table(&rows), verdict(&rows));
    println!("{text}");
    if !std::env::args().any(|argument| argument == "--write") {
        return ExitCode::SUCCESS;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    match write(&page, &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", page.display());
            ExitCode::FAILURE
        }
    }
}

/// Hits per get. The first quarter of the trace warms the cache up and is not counted.
fn hit_ratio(mut get: Get, ids: &[u32]) -> u64 {
    let (warm_up, measured) = ids.split_at(ids.len() / 4);
    for id in warm_up {
        get(*id);
    }
    let hits = measured.iter().filter(|id| get(**id)).count();
    (hits as f64 / measured.len() as f64 * 1000.0).round() as u64
}

fn ours(bound: usize) -> Get {
    let cache = Cache::new(Duration::MAX);
    cache.set(CacheOption::MaxEntries, bound as u64).expect("any number is a bound");
    Box::new(move |id| {
        let mut is_hit = true;
        let manifest = cache.get(&format!("plugin-{id:06}"), |load| {
            is_hit = false;
            load.json(r#"{"name":"Weather"}"#).expect("this is a manifest");
        });
        manifest.expect("every plugin can be loaded");
        is_hit
    })
}

/// An exact LRU. The order of gets also has gets that are no longer the latest of their id; an
/// eviction skips them.
fn lru(bound: usize) -> Get {
    let (mut latest, mut order, mut now) =
        (HashMap::with_hasher(FixedState::default()), VecDeque::new(), 0_u64);
    Box::new(move |id| {
        now += 1;
        order.push_back((id, now));
        if latest.insert(id, now).is_some() {
            return true;
        }
        while latest.len() > bound {
            let (oldest, time) = order.pop_front().expect("what is held is in the order");
            if latest.get(&oldest) == Some(&time) {
                latest.remove(&oldest);
            }
        }
        false
    })
}

/// The hasher is the same in every run, because moka's estimate of frequencies depends on it.
fn moka(bound: usize) -> Get {
    let builder = moka::sync::Cache::builder().max_capacity(bound as u64);
    let cache = builder.build_with_hasher(FixedState::default());
    let mut gets = 0_usize;
    Box::new(move |id| {
        let mut is_hit = true;
        cache.get_with(id, || is_hit = false);
        gets += 1;
        // Otherwise moka evicts later, and its delay would be measured with it.
        if gets % 16 == 0 {
            cache.run_pending_tasks();
        }
        is_hit
    })
}

/// The ids of all gets, by Zipf's law with `s` = 0.99. The lower an id, the more popular it is.
fn zipf() -> Vec<u32> {
    let (mut random, mut total) = (Random(42), 0.0);
    let up_to: Vec<f64> = (1..=IDS)
        .map(|rank| {
            total += f64::from(rank).powf(-0.99);
            total
        })
        .collect();
    let mut draw = || {
        let at = random.unit() * total;
        up_to.partition_point(|sum| *sum <= at) as u32
    };
    (0..REQUESTS).map(|_| draw()).collect()
}

/// The same trace with scans in between, over ids that are asked for only once.
fn with_scans(trace: &[u32]) -> Vec<u32> {
    let mut new = IDS..;
    trace
        .chunks(BETWEEN_SCANS)
        .flat_map(|part| [part.to_vec(), new.by_ref().take(SCAN as usize).collect()].concat())
        .collect()
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "| trace | bound | manifest_cache | {} |\n| --- | --- | --- | --- | --- |\n",
        PEERS.join(" | ")
    );
    for Row { trace, bound, ratios } in rows {
        let [ours, lru, moka] = ratios.map(percent);
        writeln!(text, "| {trace} | {bound} | {ours} % | {lru} % | {moka} % |")
            .expect("a string takes everything");
    }
    text
}

/// Where a peer has a higher ratio.
fn verdict(rows: &[Row]) -> String {
    let mut worse = Vec::new();
    for Row { trace, bound, ratios: [ours, peers @ ..] } in rows {
        for (peer, ratio) in PEERS.iter().zip(peers).filter(|(_, ratio)| *ratio > ours) {
            worse.push(format!("{peer} by {} points ({trace}, {bound})", percent(ratio - ours)));
        }
    }
    match worse.is_empty() {
        true => "Neither LRU nor moka has a higher ratio in any row.".to_owned(),
        false => format!("Another cache has a higher ratio: {}.", worse.join(", ")),
    }
}

fn percent(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Puts the table and its explanation between the marks.
fn write(page: &Path, text: &str) -> Result<(), String> {
    let old = std::fs::read_to_string(page).map_err(|error| error.to_string())?;
    let [start, end] = MARKS;
    let (before, rest) =
        old.split_once(start).ok_or(format!("the mark {} is missing", start.trim_end()))?;
    let (_, after) = rest.split_once(end).ok_or(format!("the mark {end} is missing"))?;
    let new = format!("{before}{start}\n{text}{MEANING}\n{end}{after}");
    std::fs::write(page, new).map_err(|error| error.to_string())
}

const MEANING: &str = "
The table shows the share of gets that hit. The bound is `MC_OPT_MAX_ENTRIES`, as a share of the
100 000 plugins. Two million gets follow Zipf's law (s = 0.99), and every miss loads. The first
quarter of them warms the cache up and is not counted. In the traces with scans, each 10 000 gets
are followed by 5 000 plugins that are asked for only once. So a third of all gets cannot hit, and
the rest show whether the scans evict the popular plugins.

`cargo bench --bench hit_ratio -- --write` writes this table.
";
