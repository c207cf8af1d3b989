//! Measures the library through its exported C functions, compared with other caches in the same
//! run.
//!
//!     cargo bench                              takes some minutes
//!     cargo bench -- --quick                   less exact, in less than a minute
//!     cargo bench -- --write                   also writes docs/performance.md and its plots;
//!                                              needs valgrind
//!     cargo bench -- --instructions            compares the instructions of a hit, a miss and a
//!                                              put with those on record; needs valgrind
//!     cargo bench -- --instructions --record   puts the counts on record
//!     cargo bench -- --cores                   measures only many plugins, one core and two, and
//!                                              empty caches, in less than a minute
//!     cargo bench -- --decoded                 measures only what a host pays for a decoded manifest,
//!                                              in less than a minute
//!     cargo bench -- --shared-writes           compares the writes of a hit to cache lines of
//!                                              other threads with their limits; needs valgrind

mod contestants;
mod cores;
mod decoded;
mod instructions;
mod measured;
mod plot;
mod report;
mod shared_writes;
mod workloads;

use contestants::{Cache, Contestant, Error, Library};
use measured::{Measured, count, ratio, short};
use report::{Figure, Hits, Report, Table};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use workloads::{
    Directory, Series, Threads, Trace, Turn, hits, ids, manifest, rounds, slow_hits, zipf,
};

/// How long the bench measures: the number of rounds, the length of a turn of hits, and the number
/// of single hits for a percentile.
struct Effort {
    rounds: usize,
    turn: Duration,
    single_hits: usize,
}

const FULL: Effort = Effort { rounds: 41, turn: Duration::from_millis(5), single_hits: 1_000_000 };
/// Turns that are long enough for a magazine to be filled, and short enough that most are not
/// interrupted.
const CORES: Effort = Effort { rounds: 31, turn: Duration::from_millis(5), ..FULL };
/// Fewer rounds, as there are many ways and sizes.
const DECODED: Effort = Effort { rounds: 11, ..CORES };
const QUICK: Effort = Effort { rounds: 7, turn: Duration::from_millis(1), single_hits: 200_000 };

/// Numbers of plugins, and the sizes of their manifests. For 100 000 manifests of 64 KiB all
/// contestants together would need 40 GB of memory.
const HITS: [(usize, &[usize]); 3] = [
    (1, &[300, 1024, 5120, 65_536]),
    (1000, &[300, 1024, 5120, 65_536]),
    (100_000, &[300, 1024, 5120]),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    if let Some(at) = arguments.iter().position(|argument| argument == "--child") {
        child(&arguments[at + 1..]);
        return ExitCode::SUCCESS;
    }
    if given("--instructions") {
        contestants::compile_peers();
        return instructions::guard(given("--record"));
    }
    if given("--shared-writes") {
        return shared_writes::guard();
    }
    if given("--cores") {
        contestants::compile_peers();
        let (ours, peers) = libraries();
        println!("{}\n", report::machine(CORES.rounds));
        cores::tables(&ours, &peers, &CORES).iter().for_each(|table| println!("{}", table.print()));
        return ExitCode::SUCCESS;
    }
    if given("--decoded") {
        contestants::compile_peers();
        let (ours, peers) = libraries();
        println!("{}\n", report::machine(DECODED.rounds));
        let tables = decoded::tables(&ours, &peers, &DECODED);
        tables.iter().for_each(|table| println!("{}", table.print()));
        return ExitCode::SUCCESS;
    }
    let mut report = measure(if given("--quick") { &QUICK } else { &FULL });
    if given("--write") {
        eprintln!("shared writes");
        report.tables.push(shared_writes::table());
    }
    println!("{}", report.print());
    if given("--write") {
        report.write(Path::new(env!("CARGO_MANIFEST_DIR")));
    }
    ExitCode::SUCCESS
}

fn measure(effort: &Effort) -> Report {
    contestants::compile_peers();
    let (ours, peers) = libraries();
    let contestants = contestants::all(&ours, &peers);
    let mut report = Report {
        contestants: contestants.iter().map(|contestant| contestant.name).collect(),
        hits: Vec::new(),
        tables: Vec::new(),
        figures: Vec::new(),
        machine: report::machine(effort.rounds),
    };
    for (plugins, sizes) in HITS {
        for bytes in sizes {
            eprintln!("hits: {plugins} plugins of {bytes} bytes");
            report.hits.extend(hit_workloads(&contestants, plugins, *bytes, effort));
        }
    }
    let figure = |what, unit, limit, measured| Figure { what, measured, unit, limit };
    let against = |plugins, threads, other: usize| {
        let hits: &Hits = report.hits(plugins, 1024, threads);
        ratio(&hits.series[0], &hits.series[other])
    };
    let mut figures = vec![
        figure(
            "1 thread, one plugin, 1 KiB, compared with the floor",
            "x",
            1.0,
            against(1, Threads::One, 1),
        ),
        figure("the same compared with recursive_mutex", "x", 0.4, against(1, Threads::One, 2)),
        figure("the same compared with moka", "x", 0.3, against(1, Threads::One, 4)),
    ];
    eprintln!("sizes and threads in pairs");
    figures.push(figure(
        "a hit of 64 KiB compared with one of 300 B",
        "x",
        1.3,
        flat(&contestants[0], effort),
    ));
    let two_against_mutex = against(1, Threads::Two, 2);
    figures.push(figure(
        "2 threads, one plugin, compared with recursive_mutex",
        "x",
        0.1,
        two_against_mutex,
    ));
    let (scaling, scaling_table) = scaling(&contestants, effort);
    figures.push(figure("2 threads, one plugin, compared with 1 thread", "x", 1.2, scaling));
    let zipf_against_mutex = against(100_000, Threads::One, 2);
    figures.push(figure(
        "100 000 plugins, Zipf, compared with recursive_mutex",
        "x",
        0.5,
        zipf_against_mutex,
    ));
    eprintln!("cold directory");
    let (cold, cold_table) = cold_directory(&ours, &contestants[0], effort);
    figures.push(figure("a cold directory compared with a loop that reads it", "x", 1.25, cold));
    eprintln!("misses");
    let (miss, miss_table) = misses(&contestants, effort);
    figures.push(figure("a miss without its loader, 1 000 plugins", "ns", 2000.0, miss));
    eprintln!("memory");
    let (live, memory_table) = memory(&contestants);
    figures.push(figure(
        "allocated memory for a manifest of 1 KiB, 100 000 plugins",
        "B",
        1152.0,
        live,
    ));
    eprintln!("mc_stats");
    let (slow, stats_table) = stats(&ours, &contestants[0], effort);
    figures.push(figure(
        "the slowest hit in a thousand, with mc_stats() compared with alone",
        "x",
        2.0,
        slow,
    ));
    eprintln!("start-up and size");
    report.tables =
        vec![scaling_table, cold_table, miss_table, memory_table, stats_table, footprint(effort)];
    eprintln!("many cores, many plugins");
    report.tables.extend(cores::tables(&ours, &peers, effort));
    eprintln!("decoded manifests");
    report.tables.extend(decoded::tables(&ours, &peers, effort));
    report.figures = figures;
    report
}

fn libraries() -> (Library, Library) {
    let ours = contestants::library();
    (Library::open(&ours), Library::open(&ours.with_file_name("libpeers.so")))
}

/// A cache that holds these plugins.
fn filled(contestant: &Contestant, ids: &[CString], bytes: usize) -> Cache {
    let cache = Cache::new(contestant, &manifest(bytes));
    ids.iter().for_each(|id| cache.hit(id.as_ptr(), &mut Error::new()));
    cache
}

fn hit_workloads(
    contestants: &[Contestant],
    plugins: usize,
    bytes: usize,
    effort: &Effort,
) -> Vec<Hits> {
    let ids = ids(plugins);
    let trace = Trace::new(zipf(&ids));
    let caches: Vec<Cache> =
        contestants.iter().map(|contestant| filled(contestant, &ids, bytes)).collect();
    let turn = |cache, threads| -> Turn {
        let mut trace = trace.clone();
        Box::new(move || hits(cache, &mut trace, threads, effort.turn))
    };
    let turns = Threads::ALL
        .iter()
        .flat_map(|threads| caches.iter().map(|cache| turn(cache, *threads)))
        .collect();
    let mut series = rounds(effort.rounds, turns).into_iter();
    let workload = |threads| Hits {
        plugins,
        bytes,
        threads,
        series: series.by_ref().take(caches.len()).collect(),
    };
    Threads::ALL.map(workload).into()
}

fn flat(ours: &Contestant, effort: &Effort) -> Measured {
    let ids = ids(1);
    let [large, small] = [65_536, 300].map(|bytes| filled(ours, &ids, bytes));
    let trace = Trace::new(zipf(&ids));
    let turn = |cache| -> Turn {
        let mut trace = trace.clone();
        Box::new(move || hits(cache, &mut trace, Threads::One, effort.turn))
    };
    let series = rounds(2 * effort.rounds, vec![turn(&large), turn(&small)]);
    ratio(&series[0], &series[1])
}

fn scaling(contestants: &[Contestant], effort: &Effort) -> (Measured, Table) {
    let ids = ids(1);
    let caches =
        [&contestants[0], &contestants[1]].map(|contestant| filled(contestant, &ids, 1024));
    let trace = Trace::new(zipf(&ids));
    let turn = |cache, threads| -> Turn {
        let mut trace = trace.clone();
        Box::new(move || hits(cache, &mut trace, threads, effort.turn))
    };
    let turns = caches
        .iter()
        .flat_map(|cache| [turn(cache, Threads::Two), turn(cache, Threads::One)])
        .collect();
    let series = rounds(2 * effort.rounds, turns);
    let ratios = [ratio(&series[0], &series[1]), ratio(&series[2], &series[3])];
    let row = |at: usize| vec![contestants[at].name.to_owned(), ratios[at].with_spread()];
    let columns = vec!["one plugin of 1 KiB".into(), "2 threads compared with 1".into()];
    (ratios[0], Table { title: "Scaling", columns, rows: vec![row(0), row(1)] })
}

/// Nanoseconds since `start`, divided by `count`.
fn per_piece(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// Where a cold cache gets its manifests from: the directory, or memory to leave the files out.
struct Source {
    load_directory: unsafe extern "C" fn(*mut c_void, *const c_char) -> i32,
    root: CString,
    load_json: unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32,
    text: Cell<Option<*const [u8]>>,
}

unsafe extern "C" fn load_from_source(
    _id: *const c_char,
    load: *mut c_void,
    user_data: *mut c_void,
) {
    // SAFETY: the caller of `mc_get` below passes a source, and its text is live if there is one.
    unsafe {
        let source = &*user_data.cast::<Source>();
        match source.text.get() {
            None => (source.load_directory)(load, source.root.as_ptr()),
            Some(text) => (source.load_json)(load, text.cast(), text.len()),
        };
    }
}

fn cold_directory(ours: &Library, contestant: &Contestant, effort: &Effort) -> (Measured, Table) {
    const PLUGINS: usize = 1252;
    let directory = Directory::generate(PLUGINS);
    let files: Vec<*const c_char> = directory.files.iter().map(|file| file.as_ptr()).collect();
    let read = |file: &CString| {
        std::fs::read(file.to_str().expect("the path is UTF-8")).expect("it was written")
    };
    let texts: Vec<Vec<u8>> = directory.files.iter().map(read).collect();
    let (_, peers) = libraries();
    type BareRead =
        unsafe extern "C" fn(*const *const c_char, usize, *mut u8, usize, bool) -> usize;
    // SAFETY: these are their types in peers.cpp and in the header.
    let (bare_read, load_directory): (BareRead, _) =
        unsafe { (peers.function("bare_read"), ours.function("mc_load_directory")) };
    let functions = contestant.functions;
    let root =
        CString::new(directory.root.as_os_str().as_encoded_bytes()).expect("a path has no NUL");
    let source =
        Source { load_directory, root, load_json: functions.load_json, text: Cell::new(None) };
    let cold = |from_memory: bool| -> Turn {
        let (directory, texts, source) = (&directory, &texts, &source);
        Box::new(move || {
            let mut error = Error::new();
            // SAFETY: the ids are C strings, the loader gets its source, and each string and the
            // cache are freed once.
            unsafe {
                let cache = (functions.new)(3_600_000);
                let start = Instant::now();
                for (id, text) in directory.ids.iter().zip(texts) {
                    source.text.set(from_memory.then_some(&raw const **text));
                    let user_data = (&raw const *source).cast_mut().cast();
                    let string = (functions.get)(
                        cache,
                        id.as_ptr(),
                        Some(load_from_source),
                        user_data,
                        &mut error,
                    );
                    assert!(!string.is_null());
                    (functions.string_free)(string);
                }
                let time = per_piece(start, PLUGINS);
                (functions.free)(cache);
                time
            }
        })
    };
    let bare = |with_kind: bool| -> Turn {
        let (files, mut buffer) = (&files, vec![0; 1 << 16]);
        Box::new(move || {
            let start = Instant::now();
            // SAFETY: the paths are C strings, and the length is that of the buffer.
            unsafe {
                bare_read(files.as_ptr(), files.len(), buffer.as_mut_ptr(), buffer.len(), with_kind)
            };
            per_piece(start, PLUGINS)
        })
    };
    let series = rounds(2 * effort.rounds, vec![cold(false), bare(false), bare(true), cold(true)]);
    let row = |name: &str, at: usize| {
        let time = format!("{} ns", short(Measured::from(&series[at]).median));
        vec![name.to_owned(), time, short(ratio(&series[at], &series[1]).median)]
    };
    let rows = vec![
        row("mc_load_directory()", 0),
        row("a loop of open, read, close", 1),
        row("a loop of open, fstat, read, close", 2),
        row("mc_load_json() of the same texts, no files", 3),
    ];
    let columns = ["1 252 manifests", "each", "compared with the loop"].map(str::to_owned).into();
    (ratio(&series[0], &series[1]), Table { title: "Cold directory", columns, rows })
}

/// The loader answers with a very small manifest, so that the miss itself is measured.
fn misses(contestants: &[Contestant], effort: &Effort) -> (Measured, Table) {
    const NEW: usize = 1000;
    let (held, all) = ([0, 99_000], ids(100_000));
    let mut columns = vec!["plugins".to_owned()];
    // The floor finds every plugin, so it has no misses.
    let contestants: Vec<&Contestant> =
        contestants.iter().filter(|contestant| contestant.name != "floor").collect();
    columns.extend(contestants.iter().map(|contestant| contestant.name.to_owned()));
    let series = held.map(|held| {
        let fill = |contestant: &&Contestant| {
            let cache = Cache::new(contestant, r#"{"a":1}"#);
            all[..held].iter().for_each(|id| cache.hit(id.as_ptr(), &mut Error::new()));
            cache
        };
        let caches: Vec<Cache> = contestants.iter().map(fill).collect();
        let turn = |cache| -> Turn {
            let new = &all[held..held + NEW];
            Box::new(move || {
                new.iter().for_each(|id| Cache::clear(cache, id.as_ptr()));
                let mut error = Error::new();
                let start = Instant::now();
                new.iter().for_each(|id| cache.hit(id.as_ptr(), &mut error));
                per_piece(start, NEW)
            })
        };
        rounds(2 * effort.rounds, caches.iter().map(turn).collect())
    });
    let row = |held: &usize, series: &Vec<Series>| {
        let mut row = vec![count(held + NEW)];
        row.extend(
            series.iter().map(|series| format!("{} ns", short(Measured::from(series).median))),
        );
        row
    };
    let rows = held.iter().zip(&series).map(|(held, series)| row(held, series)).collect();
    (Measured::from(&series[0][0]), Table { title: "Misses", columns, rows })
}

fn memory(contestants: &[Contestant]) -> (Measured, Table) {
    let mut live_of_ours = Series::new();
    let mut columns = vec!["plugins".to_owned()];
    columns.extend(
        contestants
            .iter()
            .filter(|c| c.name != "floor")
            .map(|contestant| contestant.name.to_owned()),
    );
    let rows = [1000, 10_000, 100_000].map(|plugins: usize| {
        let mut row = vec![count(plugins)];
        for contestant in contestants.iter().filter(|contestant| contestant.name != "floor") {
            let said = run_child(&["memory", contestant.name, &plugins.to_string()]);
            let (live, peak) = (said[0] / plugins as f64, said[1] / plugins as f64);
            row.push(format!("{} B, {} B", short(live), short(peak)));
            if contestant.name == "manifest_cache" {
                live_of_ours = vec![live];
            }
        }
        row
    });
    (Measured::from(&live_of_ours), Table { title: "Memory", columns, rows: rows.into() })
}

fn stats(ours: &Library, contestant: &Contestant, effort: &Effort) -> (Measured, Table) {
    let ids = ids(100_000);
    let cache = filled(contestant, &ids, 1024);
    // SAFETY: this is its type in the header.
    let mc_stats: unsafe extern "C" fn(*mut c_void) -> *const c_char =
        unsafe { ours.function("mc_stats") };
    // SAFETY: the function is this library's, and so is the cache.
    let call = || unsafe { cache.report(mc_stats) };
    let count = || {
        std::hint::black_box((0..100_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
    };
    let beside = |trace: &Trace, other| beside(&cache, trace.clone(), effort.single_hits, other);
    let time: Turn = Box::new(|| {
        let start = Instant::now();
        call();
        per_piece(start, 1)
    });
    let (many, one) = (Trace::new(zipf(&ids)), Trace::new(vec![ids[0].as_ptr(); 1024]));
    let mut turns: Vec<Turn> = [&many, &one]
        .iter()
        .flat_map(|trace| {
            [beside(trace, Some(&call)), beside(trace, None), beside(trace, Some(&count))]
        })
        .collect();
    turns.push(time);
    let series = rounds(effort.rounds.min(15), turns);
    let nanoseconds = |at: usize| format!("{} ns", short(Measured::from(&series[at]).median));
    let row = |what: &str, at: usize| {
        vec![what.into(), nanoseconds(at), nanoseconds(at + 1), nanoseconds(at + 2)]
    };
    let columns = ["100 000 plugins", "with mc_stats()", "alone", "with a thread that counts"]
        .map(str::to_owned)
        .into();
    let rows = vec![
        row("99.9th percentile of hits, Zipf", 0),
        row("99.9th percentile of hits, one plugin", 3),
        vec!["one call of mc_stats()".into(), nanoseconds(6), String::new(), String::new()],
    ];
    let worse = [ratio(&series[0], &series[1]), ratio(&series[3], &series[4])];
    let worse = worse.into_iter().max_by(|one, other| one.median.total_cmp(&other.median));
    (worse.expect("there are two"), Table { title: "Statistics", columns, rows })
}

/// Slow hits, alone or while a second thread repeats `other`.
fn beside<'a>(
    cache: &'a Cache,
    mut trace: Trace,
    count: usize,
    other: Option<&'a (dyn Fn() + Sync)>,
) -> Turn<'a> {
    Box::new(move || {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            if let Some(other) = other {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Relaxed) {
                        other();
                    }
                });
            }
            let slow = slow_hits(cache, &mut trace, count);
            done.store(true, Relaxed);
            slow
        })
    })
}

fn footprint(effort: &Effort) -> Table {
    let start_up: Series =
        (0..effort.rounds).map(|_| run_child(&["start-up"])[0] / 1000.0).collect();
    let library = contestants::library();
    let stripped = library.with_file_name("stripped.so");
    let status = Command::new("strip").arg("-o").args([&stripped, &library]).status();
    let size = match status.is_ok_and(|status| status.success()) {
        true => std::fs::metadata(&stripped)
            .map_or("?".into(), |file| format!("{} KiB", file.len() / 1024)),
        false => "strip is missing".into(),
    };
    let rows = vec![
        vec![
            "dlopen() and mc_new()".into(),
            format!("{} us", short(Measured::from(&start_up).median)),
        ],
        vec!["the stripped shared object".into(), size],
    ];
    Table { title: "Footprint", columns: vec![String::new(), String::new()], rows }
}

/// Runs this program as a child process, and returns the numbers that it prints.
fn run_child(arguments: &[&str]) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let output =
        Command::new(program).arg("--child").args(arguments).output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    said.split_whitespace().map(|number| number.parse().expect("a child prints numbers")).collect()
}

/// Measurements that need a process of their own.
fn child(arguments: &[String]) {
    let contestant = |name: &str| {
        let (ours, peers) = libraries();
        *contestants::all(&ours, &peers)
            .iter()
            .find(|contestant| contestant.name == name)
            .expect("it takes part")
    };
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    match arguments[0].as_str() {
        "repeat" => instructions::repeat(&contestant("manifest_cache"), &arguments[1], number(2)),
        "take-turns" => shared_writes::take_turns(&arguments[1]),
        "start-up" => {
            let start = Instant::now();
            let library = Library::open(&contestants::library());
            // SAFETY: this is its type in the header.
            unsafe {
                library.function::<unsafe extern "C" fn(u64) -> *mut c_void>("mc_new")(3_600_000)
            };
            println!("{}", start.elapsed().as_nanos());
        }
        "memory" => {
            let (contestant, ids) = (contestant(&arguments[1]), ids(number(2)));
            let text = manifest(1024);
            let before = Memory::now();
            let cache = Cache::new(&contestant, &text);
            ids.iter().for_each(|id| cache.hit(id.as_ptr(), &mut Error::new()));
            let after = Memory::now();
            println!("{} {}", after.live - before.live, after.peak - before.resident);
        }
        other => panic!("no child does {other}"),
    }
}

struct Memory {
    /// What malloc has allocated, including its own overhead.
    live: usize,
    resident: usize,
    /// The peak of resident memory so far.
    peak: usize,
}

impl Memory {
    fn now() -> Self {
        // SAFETY: the function has no preconditions.
        let heap = unsafe { libc::mallinfo2() };
        let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
        let kibibytes = |key: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says so");
            line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
        };
        Memory {
            live: heap.uordblks + heap.hblkhd,
            resident: kibibytes("VmRSS:"),
            peak: kibibytes("VmHWM:"),
        }
    }
}
