//! Measures the library through its exported C functions against its peers, all in turns in the same run.
//!
//!     cargo bench                              all of it, in some minutes
//!     cargo bench -- --quick                   the same, rougher, in less than one
//!     cargo bench -- --write                   also writes docs/performance.md and its plots
//!     cargo bench -- --instructions            only compares the instructions of a hit with those on record (valgrind)
//!     cargo bench -- --instructions --record   puts them on record

mod contestants;
mod instructions;
mod plot;
mod report;
mod workloads;

use contestants::{Cache, Contestant, Error, Library};
use report::{Figure, Hits, Measured, Report, Table, ratio, short};
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use workloads::{Directory, Series, Threads, Trace, Turn, hits, ids, manifest, rounds, slow_hits, zipf};

/// How long it all takes: rounds, the length of a turn of hits, and how many single hits a percentile is made of.
struct Effort {
    rounds: usize,
    turn: Duration,
    single_hits: usize,
}

const FULL: Effort = Effort { rounds: 41, turn: Duration::from_millis(5), single_hits: 1_000_000 };
const QUICK: Effort = Effort { rounds: 7, turn: Duration::from_millis(1), single_hits: 200_000 };

/// One plugin or many, and the sizes of their manifests. With 100 000 of 64 KiB all contestants together would need
/// 40 GB of memory.
const HITS: [(usize, &[usize]); 3] =
    [(1, &[300, 1024, 5120, 65_536]), (1000, &[300, 1024, 5120, 65_536]), (100_000, &[300, 1024, 5120])];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    if let Some(at) = arguments.iter().position(|argument| argument == "--child") {
        child(&arguments[at + 1..]);
        return ExitCode::SUCCESS;
    }
    if given("--instructions") {
        return instructions::guard(given("--record"));
    }
    let report = measure(if given("--quick") { &QUICK } else { &FULL });
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
        figure("1 thread, one plugin, 1 KiB, against the floor", "x", 1.0, against(1, Threads::One, 1)),
        figure("the same against the seed's algorithm in C++", "x", 0.4, against(1, Threads::One, 2)),
        figure("the same against moka", "x", 0.3, against(1, Threads::One, 4)),
    ];
    eprintln!("sizes and threads in pairs");
    figures.push(figure("a hit of 64 KiB against one of 300 B", "x", 1.3, flat(&contestants[0], effort)));
    let two_against_seed = against(1, Threads::Two, 2);
    figures.push(figure("2 threads, one plugin, against the seed's algorithm in C++", "x", 0.1, two_against_seed));
    figures.push(figure("2 threads, one plugin, against 1 thread", "x", 1.2, scaling(&contestants[0], effort)));
    let zipf_against_seed = against(100_000, Threads::One, 2);
    figures.push(figure("100 000 plugins, Zipf, against the seed's algorithm in C++", "x", 0.5, zipf_against_seed));
    eprintln!("cold directory");
    let (cold, cold_table) = cold_directory(&ours, &contestants[0], effort);
    figures.push(figure("a cold directory against the bare read loop", "x", 1.25, cold));
    eprintln!("misses");
    let (miss, miss_table) = misses(&contestants, effort);
    figures.push(figure("a miss without its loader, 1 000 plugins", "ns", 2000.0, miss));
    eprintln!("memory");
    let (live, memory_table) = memory(&contestants);
    figures.push(figure("live memory for a manifest of 1 KiB, 100 000 of them", "B", 1152.0, live));
    eprintln!("mc_stats");
    let (slow, stats_table) = stats(&ours, &contestants[0], effort);
    figures.push(figure("the slowest hit in a thousand, with mc_stats against without", "x", 2.0, slow));
    eprintln!("start-up and size");
    report.tables = vec![cold_table, miss_table, memory_table, stats_table, footprint(effort)];
    report.figures = figures;
    report
}

fn libraries() -> (Library, Library) {
    let ours = contestants::library();
    (Library::open(&ours), Library::open(&ours.with_file_name("libpeers.so")))
}

/// A cache that holds all these plugins.
fn filled(contestant: &Contestant, ids: &[CString], bytes: usize) -> Cache {
    let cache = Cache::new(contestant, &manifest(bytes));
    ids.iter().for_each(|id| cache.hit(id.as_ptr(), &mut Error::new()));
    cache
}

fn hit_workloads(contestants: &[Contestant], plugins: usize, bytes: usize, effort: &Effort) -> Vec<Hits> {
    let ids = ids(plugins);
    let trace = Trace::new(zipf(&ids));
    let caches: Vec<Cache> = contestants.iter().map(|contestant| filled(contestant, &ids, bytes)).collect();
    let turn = |cache, threads| -> Turn {
        let mut trace = trace.clone();
        Box::new(move || hits(cache, &mut trace, threads, effort.turn))
    };
    let turns = Threads::ALL.iter().flat_map(|threads| caches.iter().map(|cache| turn(cache, *threads))).collect();
    let mut series = rounds(effort.rounds, turns).into_iter();
    let workload = |threads| Hits { plugins, bytes, threads, series: series.by_ref().take(caches.len()).collect() };
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

fn scaling(ours: &Contestant, effort: &Effort) -> Measured {
    let ids = ids(1);
    let cache = filled(ours, &ids, 1024);
    let trace = Trace::new(zipf(&ids));
    let turn = |threads| -> Turn {
        let (mut trace, cache) = (trace.clone(), &cache);
        Box::new(move || hits(cache, &mut trace, threads, effort.turn))
    };
    let series = rounds(2 * effort.rounds, vec![turn(Threads::Two), turn(Threads::One)]);
    ratio(&series[0], &series[1])
}

/// Nanoseconds for each of `count` things done between now and the drop of what is returned.
fn per_piece(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

fn cold_directory(ours: &Library, contestant: &Contestant, effort: &Effort) -> (Measured, Table) {
    const PLUGINS: usize = 1252;
    let directory = Directory::generate(PLUGINS);
    let files: Vec<*const c_char> = directory.files.iter().map(|file| file.as_ptr()).collect();
    let root = CString::new(directory.root.as_os_str().as_encoded_bytes()).expect("a path has no NUL");
    let (_, peers) = libraries();
    type BareRead = unsafe extern "C" fn(*const *const c_char, usize, *mut u8, usize) -> usize;
    type LoadDirectory = unsafe extern "C" fn(*mut c_void, *const c_char) -> i32;
    // SAFETY: peers.cpp and the header declare them so.
    let (bare_read, load_directory): (BareRead, LoadDirectory) =
        unsafe { (peers.function("bare_read"), ours.function("mc_load_directory")) };
    struct Source(LoadDirectory, CString);
    unsafe extern "C" fn load(_id: *const c_char, load: *mut c_void, user_data: *mut c_void) {
        // SAFETY: it is given the source below.
        unsafe {
            let Source(load_directory, root) = &*user_data.cast::<Source>();
            load_directory(load, root.as_ptr());
        }
    }
    let source = Source(load_directory, root);
    let functions = contestant.functions;
    let cold = || {
        let mut error = Error::new();
        // SAFETY: the ids are C strings, `load` knows its source, and all that is given is given back.
        unsafe {
            let cache = (functions.new)(3_600_000);
            let start = Instant::now();
            for id in &directory.ids {
                let source = (&raw const source).cast_mut().cast();
                let string = (functions.get)(cache, id.as_ptr(), Some(load), source, &mut error);
                assert!(!string.is_null());
                (functions.string_free)(string);
            }
            let time = per_piece(start, PLUGINS);
            (functions.free)(cache);
            time
        }
    };
    let mut buffer = vec![0; 1 << 16];
    let bare = || {
        let start = Instant::now();
        // SAFETY: the paths are C strings, and the buffer is as large as said.
        unsafe { bare_read(files.as_ptr(), files.len(), buffer.as_mut_ptr(), buffer.len()) };
        per_piece(start, PLUGINS)
    };
    let series = rounds(2 * effort.rounds, vec![Box::new(cold), Box::new(bare)]);
    let measured = ratio(&series[0], &series[1]);
    let row = |name: &str, series| vec![name.to_owned(), format!("{} ns", short(Measured::from(series).median))];
    let rows = vec![row("mc_load_directory", &series[0]), row("bare open, read, close", &series[1])];
    (
        measured,
        Table { title: "Cold directory", columns: vec!["of 1 252 manifests".into(), "per manifest".into()], rows },
    )
}

/// The loader answers with a manifest so small that what is measured is the miss itself.
fn misses(contestants: &[Contestant], effort: &Effort) -> (Measured, Table) {
    const NEW: usize = 1000;
    let (held, all) = ([0, 99_000], ids(100_000));
    let mut columns = vec!["plugins".to_owned()];
    // The floor finds every plugin, so it has no misses.
    let contestants: Vec<&Contestant> = contestants.iter().filter(|contestant| contestant.name != "floor").collect();
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
        let mut row = vec![report::count(held + NEW)];
        row.extend(series.iter().map(|series| format!("{} ns", short(Measured::from(series).median))));
        row
    };
    let rows = held.iter().zip(&series).map(|(held, series)| row(held, series)).collect();
    (Measured::from(&series[0][0]), Table { title: "Misses", columns, rows })
}

fn memory(contestants: &[Contestant]) -> (Measured, Table) {
    let mut live_of_ours = Series::new();
    let mut columns = vec!["plugins".to_owned()];
    columns.extend(contestants.iter().filter(|c| c.name != "floor").map(|contestant| contestant.name.to_owned()));
    let rows = [1000, 10_000, 100_000].map(|plugins: usize| {
        let mut row = vec![report::count(plugins)];
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
    // SAFETY: the header declares it so.
    let mc_stats: unsafe extern "C" fn(*mut c_void) -> *const c_char = unsafe { ours.function("mc_stats") };
    // SAFETY: it is a function of this library's.
    let call = || unsafe { cache.report(mc_stats) };
    let trace = Trace::new(zipf(&ids));
    let without = |mut trace: Trace| -> Turn {
        let cache = &cache;
        Box::new(move || slow_hits(cache, &mut trace, effort.single_hits))
    };
    let with = |mut trace: Trace| -> Turn {
        let (cache, call) = (&cache, &call);
        Box::new(move || {
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        call();
                    }
                });
                let slow = slow_hits(cache, &mut trace, effort.single_hits);
                done.store(true, Relaxed);
                slow
            })
        })
    };
    let one = Trace::new(vec![ids[0].as_ptr(); 1024]);
    let time = || {
        let start = Instant::now();
        call();
        per_piece(start, 1)
    };
    let turns =
        vec![with(trace.clone()), without(trace.clone()), with(one.clone()), without(one), Box::new(time) as Turn];
    let series = rounds(effort.rounds.min(15), turns);
    let nanoseconds = |at: usize| format!("{} ns", short(Measured::from(&series[at]).median));
    let columns = ["100 000 plugins", "with mc_stats", "without"].map(str::to_owned).into();
    let rows = vec![
        vec!["99.9th percentile of hits, Zipf".into(), nanoseconds(0), nanoseconds(1)],
        vec!["99.9th percentile of hits, one plugin".into(), nanoseconds(2), nanoseconds(3)],
        vec!["one call of mc_stats".into(), nanoseconds(4), String::new()],
    ];
    let worse = [ratio(&series[0], &series[1]), ratio(&series[2], &series[3])];
    let worse = worse.into_iter().max_by(|one, other| one.median.total_cmp(&other.median));
    (worse.expect("there are two"), Table { title: "Statistics", columns, rows })
}

fn footprint(effort: &Effort) -> Table {
    let start_up: Series = (0..effort.rounds).map(|_| run_child(&["start-up"])[0] / 1000.0).collect();
    let library = contestants::library();
    let stripped = library.with_file_name("stripped.so");
    let status = Command::new("strip").arg("-o").args([&stripped, &library]).status();
    let size = match status.is_ok_and(|status| status.success()) {
        true => std::fs::metadata(&stripped).map_or("?".into(), |file| format!("{} KiB", file.len() / 1024)),
        false => "strip is missing".into(),
    };
    let rows = vec![
        vec!["dlopen and mc_new".into(), format!("{} us", short(Measured::from(&start_up).median))],
        vec!["the stripped shared object".into(), size],
    ];
    Table { title: "Footprint", columns: vec![String::new(), String::new()], rows }
}

/// The numbers that a process of its own prints.
fn run_child(arguments: &[&str]) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).arg("--child").args(arguments).output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    said.split_whitespace().map(|number| number.parse().expect("a child prints numbers")).collect()
}

/// What needs a process of its own.
fn child(arguments: &[String]) {
    let contestant = |name: &str| {
        let (ours, peers) = libraries();
        *contestants::all(&ours, &peers).iter().find(|contestant| contestant.name == name).expect("it takes part")
    };
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    match arguments[0].as_str() {
        "hits" => instructions::hits(&contestant("manifest_cache"), number(1)),
        "start-up" => {
            let start = Instant::now();
            let library = Library::open(&contestants::library());
            // SAFETY: the header declares it so.
            unsafe { library.function::<unsafe extern "C" fn(u64) -> *mut c_void>("mc_new")(3_600_000) };
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
    /// What malloc has given out, its own overhead included.
    live: usize,
    resident: usize,
    /// The most that has been resident so far.
    peak: usize,
}

impl Memory {
    fn now() -> Self {
        // SAFETY: it only counts.
        let heap = unsafe { libc::mallinfo2() };
        let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
        let kibibytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says so");
            line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
        };
        Memory { live: heap.uordblks + heap.hblkhd, resident: kibibytes("VmRSS:"), peak: kibibytes("VmHWM:") }
    }
}
