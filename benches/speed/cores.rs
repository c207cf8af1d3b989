//! Many plugins on one core and on two, and what the cache costs besides hits: when it is empty, and
//! when one of many plugins changes.

use crate::contestants::{self, Cache, Contestant, Error, Functions, Library};
use crate::measured::{Measured, count, ratio, short};
use crate::report::Table;
use crate::workloads::{
    Lengths, Series, Threads, Trace, Turn, ids, processor_time, quiet_hits, rounds, zipf,
};
use crate::{Effort, Memory, filled};
use std::ffi::CString;

/// The numbers of plugins, and how many times as long a hit may take as with one plugin, and on two
/// threads as on one.
const PLUGINS: [(usize, f64, f64); 4] =
    [(1, 1.0, 1.2), (30, 1.05, 1.05), (100, 1.15, 1.15), (1000, 1.6, 1.3)];

const MANY: usize = 100_000;

const TTL: u64 = 3_600_000;

/// How many empty caches are made for one measurement.
const EMPTY: usize = 50;

/// With 100 000 plugins a turn takes so much longer, as the processor's caches are filled anew; and
/// there are fewer rounds.
const LONGER: u32 = 60;
const FEWER: usize = 5;

pub fn tables(library: &Library, peers: &Library, effort: &Effort) -> Vec<Table> {
    let all = contestants::all(library, peers);
    let named = |name| *all.iter().find(|contestant| contestant.name == name).expect("it is one");
    let (ours, two_misses) = (contestants::ours(library), contestants::two_misses(peers));
    vec![
        few_plugins(&[ours, named("floor"), two_misses], effort),
        many_plugins(&[ours, two_misses, named("quick_cache")], effort),
        besides_hits(library, &ours, effort),
    ]
}

/// The time of a hit by the number of plugins, on one thread and on two.
fn few_plugins(contestants: &[Contestant], effort: &Effort) -> Table {
    let ids = ids(1000);
    let traces = PLUGINS.map(|(plugins, ..)| (plugins, Trace::new(zipf(&ids[..plugins]))));
    let mut caches = Vec::new();
    for contestant in contestants {
        for (plugins, trace) in &traces {
            caches.push((filled(contestant, &ids[..*plugins], 1024), trace));
        }
    }
    let others = traces.each_ref().map(|(n, _)| filled(&contestants[0], &ids[..*n], 1024));
    let turn = |cache, other, trace, threads| -> Turn {
        let mut trace = Trace::clone(trace);
        Box::new(move || quiet_hits([cache, other], &mut trace, threads, Lengths::of(effort.turn)))
    };
    let turns = caches.iter().flat_map(|(cache, trace)| {
        [Threads::One, Threads::Two].map(|threads| turn(cache, cache, *trace, threads))
    });
    // The first contestant also with a cache for each thread, so that they share nothing.
    let apart = caches
        .iter()
        .zip(&others)
        .map(|((cache, trace), other)| turn(cache, other, *trace, Threads::Two));
    let mut series = rounds(effort.rounds, turns.chain(apart).collect());
    let apart = series.split_off(2 * caches.len());
    // Of a contestant, a place in PLUGINS, and one thread (0) or two (1).
    let of = |contestant: usize, at: usize, threads: usize| -> &Series {
        &series[(contestant * PLUGINS.len() + at) * 2 + threads]
    };
    let row = |(at, (plugins, than_one_plugin, than_one_thread)): (usize, (usize, f64, f64))| {
        let hit = of(0, at, 0);
        let mut row = vec![
            count(plugins),
            format!("{} ns", short(Measured::from(hit).median)),
            ratio(hit, of(0, 0, 0)).with_spread(),
            short(than_one_plugin),
        ];
        let loss = |contestant| ratio(of(contestant, at, 1), of(contestant, at, 0));
        row.extend((0..contestants.len()).map(|contestant| loss(contestant).with_spread()));
        let apart = ratio(&apart[at], hit);
        row.push(apart.with_spread());
        row.push(short(than_one_thread.max(apart.median)));
        row
    };
    let columns = [
        "plugins",
        "a hit",
        "compared with one plugin",
        "at most",
        "2 threads compared with 1",
        "the floor's loss",
        "that of two_misses",
        "a cache for each thread",
        "at most",
    ];
    let rows = PLUGINS.into_iter().enumerate().map(row).collect();
    Table { title: "Many plugins", columns: columns.map(str::to_owned).into(), rows }
}

/// The time of a hit on one of 100 000 plugins, compared with a floor and with another cache.
fn many_plugins(contestants: &[Contestant], effort: &Effort) -> Table {
    let limits = ["", "1.12", "0.52"];
    let ids = ids(MANY);
    let trace = Trace::new(zipf(&ids));
    let caches: Vec<Cache> = contestants.iter().map(|of| filled(of, &ids, 1024)).collect();
    let turn = |cache| -> Turn {
        let mut trace = trace.clone();
        Box::new(move || {
            quiet_hits([cache; 2], &mut trace, Threads::One, Lengths::of(LONGER * effort.turn))
        })
    };
    let series = rounds(effort.rounds / FEWER, caches.iter().map(turn).collect());
    let row = |(at, contestant): (usize, &Contestant)| {
        let time = format!("{} ns", short(Measured::from(&series[at]).median));
        let ours = match at {
            0 => String::new(),
            _ => ratio(&series[0], &series[at]).with_spread(),
        };
        vec![contestant.name.to_owned(), time, ours, limits[at].to_owned()]
    };
    let columns = ["100 000 plugins", "a hit", "manifest_cache compared with it", "at most"]
        .map(str::to_owned);
    let rows = contestants.iter().enumerate().map(row).collect();
    Table { title: "100 000 plugins", columns: columns.into(), rows }
}

/// An empty cache, and what it costs to change one of 100 000 plugins. The manifests are very small,
/// so that checking and copying them counts little.
fn besides_hits(library: &Library, ours: &Contestant, effort: &Effort) -> Table {
    const TEXT: &str = r#"{"a":1}"#;
    let ids = ids(MANY);
    let (cache, put) = (Cache::new(ours, TEXT), library.put());
    let nothing: Change = &|_| ();
    let clear: Change = &|id| cache.clear(id.as_ptr());
    let load: Change = &|id| cache.hit(id.as_ptr(), &mut Error::new());
    let put: Change = &|id| cache.put(put, id.as_ptr(), TEXT);
    ids.iter().for_each(load);
    let turn = |prepare, change| changes(&ids, prepare, change, load);
    let functions = ours.functions;
    let empty: Turn = Box::new(|| {
        // SAFETY: each cache is freed once.
        let new_and_free = |_| unsafe { (functions.free)((functions.new)(TTL)) };
        microseconds(EMPTY, || (0..EMPTY).for_each(new_and_free))
    });
    let series = rounds(
        effort.rounds,
        vec![empty, turn(nothing, clear), turn(nothing, put), turn(clear, load)],
    );
    let time = |what: &str, at: usize, limit: &str| {
        let time = format!("{} us", Measured::from(&series[at]).with_spread());
        vec![what.to_owned(), time, limit.to_owned()]
    };
    let rows = vec![
        time("mc_new() and mc_free() of an empty cache", 0, "1.5 us"),
        vec![
            "memory of an empty cache".into(),
            format!("{} B", empty_bytes(&functions)),
            "2048 B".into(),
        ],
        time("a clear, 100 000 plugins", 1, ""),
        time("a put, 100 000 plugins", 2, ""),
        time("a miss, 100 000 plugins", 3, ""),
    ];
    let columns = ["", "measured", "at most"].map(str::to_owned).into();
    Table { title: "Empty caches and changes", columns, rows }
}

type Change<'a> = &'a dyn Fn(&CString);

/// Turns that each change the next plugins; `prepare` and `repair` are not measured.
fn changes<'a>(
    ids: &'a [CString],
    prepare: Change<'a>,
    change: Change<'a>,
    repair: Change<'a>,
) -> Turn<'a> {
    const CHANGES: usize = 200;
    let mut next = ids.chunks(CHANGES).cycle();
    Box::new(move || {
        let ids = next.next().expect("it starts again at the end");
        ids.iter().for_each(prepare);
        let time = microseconds(ids.len(), || ids.iter().for_each(change));
        ids.iter().for_each(repair);
        time
    })
}

/// The microseconds of the processor for each of `count` pieces of work.
fn microseconds(count: usize, work: impl FnOnce()) -> f64 {
    let (before, _) = processor_time();
    work();
    let (after, _) = processor_time();
    (after - before).as_nanos() as f64 / 1000.0 / count as f64
}

/// What malloc has allocated for an empty cache, its own overhead included.
fn empty_bytes(functions: &Functions) -> usize {
    let mut caches = Vec::with_capacity(EMPTY);
    let before = Memory::now().live;
    // SAFETY: any time to live is allowed.
    caches.extend((0..EMPTY).map(|_| unsafe { (functions.new)(TTL) }));
    let live = Memory::now().live;
    // SAFETY: each cache is freed once.
    caches.into_iter().for_each(|cache| unsafe { (functions.free)(cache) });
    (live - before) / EMPTY
}
