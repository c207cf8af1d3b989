//! The workloads: ids, manifests, traces, and how contestants take turns in rounds.

use crate::contestants::{Cache, Error};
use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// The values that one contestant's turns measured, one for each round.
pub type Series = Vec<f64>;

pub type Turn<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Runs each turn once in each round, so that what disturbs the machine disturbs all contestants
/// alike. A first round to warm up is not counted.
pub fn rounds(count: usize, mut turns: Vec<Turn>) -> Vec<Series> {
    let mut series = vec![Series::new(); turns.len()];
    for round in 0..=count {
        let mut order: Vec<usize> = (0..turns.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for at in order {
            let measured = turns[at]();
            if round > 0 {
                series[at].push(measured);
            }
        }
    }
    series
}

/// Ids of plugins, as C strings.
pub fn ids(plugins: usize) -> Vec<CString> {
    (0..plugins).map(|n| CString::new(format!("plugin-{n:06}")).expect("no NUL")).collect()
}

/// A manifest of exactly `bytes` bytes.
pub fn manifest(bytes: usize) -> String {
    let mut text = r#"{"name":"Weather","version":"1.4.2","requires":["#.to_owned();
    while text.len() + 40 < bytes {
        text += r#""sensor.temperature","#;
    }
    let end = "]}";
    let padding =
        bytes.checked_sub(text.len() + 2 + end.len()).expect("a manifest has at least 60 bytes");
    text + "\"" + &"x".repeat(padding) + "\"" + end
}

/// The ids of all gets, by Zipf's law with `s` = 0.99. The popular ids are spread at random.
pub fn zipf(ids: &[CString]) -> Vec<*const c_char> {
    draws(ids, if ids.len() == 1 { 1024 } else { 1 << 20 })
}

/// The ids of so many gets, by the same law.
pub fn draws(ids: &[CString], count: usize) -> Vec<*const c_char> {
    let mut random = Random(42);
    let mut by_rank: Vec<_> = ids.iter().map(|id| id.as_ptr()).collect();
    for at in (1..by_rank.len()).rev() {
        by_rank.swap(at, random.below(at + 1));
    }
    let mut total = 0.0;
    let up_to: Vec<f64> = (1..=ids.len())
        .map(|rank| {
            total += (rank as f64).powf(-0.99);
            total
        })
        .collect();
    let draw = |_| {
        let at = random.unit() * total;
        by_rank[up_to.partition_point(|sum| *sum < at)]
    };
    (0..count).map(draw).collect()
}

/// SplitMix64: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }
}

/// A trace of ids. It starts again at its end, and each turn goes on where the last one stopped.
#[derive(Clone)]
pub struct Trace {
    ids: std::sync::Arc<[*const c_char]>,
    at: usize,
}

// SAFETY: the ids are only read.
unsafe impl Send for Trace {}
// SAFETY: as above.
unsafe impl Sync for Trace {}

impl Trace {
    pub fn new(ids: Vec<*const c_char>) -> Self {
        Trace { ids: ids.into(), at: 0 }
    }

    /// The next ids, at most `count`.
    #[inline]
    pub fn next(&mut self, count: usize) -> &[*const c_char] {
        let start = if self.at < self.ids.len() { self.at } else { 0 };
        self.at = self.ids.len().min(start + count);
        &self.ids[start..self.at]
    }

    pub fn skip(mut self, count: usize) -> Self {
        self.at = (self.at + count) % self.ids.len();
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    One,
    Two,
    /// Two threads; one of them clears and reloads the plugins that the other gets.
    Clearing,
}

impl Threads {
    pub const ALL: [Threads; 3] = [Threads::One, Threads::Two, Threads::Clearing];

    pub fn name(self) -> &'static str {
        match self {
            Threads::One => "1",
            Threads::Two => "2",
            Threads::Clearing => "2, one clears",
        }
    }
}

/// What a turn repeats: a hit of a cache, or another way of a host to get a manifest.
pub trait Hit: Sync {
    /// How many hits are made between two looks at the clock.
    const AT_ONCE: usize = 128;

    fn hit(&self, id: *const c_char, error: &mut Error);

    /// Drops the manifest, where the workload has a thread that clears.
    fn clear(&self, _id: *const c_char) {
        unreachable!("nothing clears here");
    }
}

impl Hit for Cache {
    #[inline]
    fn hit(&self, id: *const c_char, error: &mut Error) {
        Cache::hit(self, id, error);
    }

    fn clear(&self, id: *const c_char) {
        Cache::clear(self, id);
    }
}

/// The time of a hit on one thread in nanoseconds, averaged over a turn.
pub fn hits(cache: &Cache, trace: &mut Trace, threads: Threads, length: Duration) -> f64 {
    turn_of_hits([cache; 2], trace, threads, Lengths::of(length)).time
}

/// The same for a machine that is also busy with something else. One thread counts the time of the
/// processor. Two threads count only if both ran at the same time without an interruption; it is
/// NaN if three turns were none of that. Each thread has a cache, which may be the same one.
pub fn quiet_hits<H: Hit>(
    caches: [&H; 2],
    trace: &mut Trace,
    threads: Threads,
    lengths: Lengths,
) -> f64 {
    if threads == Threads::One {
        return turn_of_hits(caches, trace, threads, lengths).processor_time;
    }
    (0..3)
        .map(|_| turn_of_hits(caches, trace, threads, lengths))
        .find(|turn| turn.is_quiet)
        .map_or(f64::NAN, |turn| turn.time)
}

/// How long each thread warms up before a turn, and how long the turn is. All threads of a turn are
/// running when it begins, so the shorter it is, the less likely it is interrupted.
#[derive(Clone, Copy)]
pub struct Lengths {
    pub warm_up: Duration,
    pub turn: Duration,
}

impl Lengths {
    pub fn of(turn: Duration) -> Self {
        Lengths { warm_up: turn / 4, turn }
    }
}

struct TurnOfHits {
    /// Nanoseconds for a hit.
    time: f64,
    processor_time: f64,
    /// Whether nothing interrupted the threads, and they ran at the same time.
    is_quiet: bool,
}

/// What one thread did in a turn.
struct Spent {
    start: Instant,
    time: Duration,
    processor_time: Duration,
    interruptions: usize,
    hits: usize,
}

fn turn_of_hits<H: Hit>(
    [cache, other_cache]: [&H; 2],
    trace: &mut Trace,
    threads: Threads,
    Lengths { warm_up, turn: length }: Lengths,
) -> TurnOfHits {
    let other = trace.clone().skip(trace.ids.len() / 2);
    let start = Barrier::new(if threads == Threads::One { 1 } else { 2 });
    let (running, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = |cache: &H, trace: &mut Trace| {
        spend(cache, trace, warm_up);
        start.wait();
        // The barrier wakes a thread that waits; the turn begins when it runs.
        running.fetch_add(1, Relaxed);
        while threads == Threads::Two && running.load(Relaxed) < 2 {
            std::hint::spin_loop();
        }
        spend(cache, trace, length)
    };
    let spent = thread::scope(|scope| {
        let another = match threads {
            Threads::One => None,
            Threads::Two => {
                let (run, mut other) = (&run, other);
                Some(scope.spawn(move || run(other_cache, &mut other)))
            }
            Threads::Clearing => {
                let (mut other, start, done) = (other, &start, &done);
                scope.spawn(move || {
                    start.wait();
                    let mut error = Error::new();
                    while !done.load(Relaxed) {
                        for id in other.next(16) {
                            cache.clear(*id);
                            cache.hit(*id, &mut error);
                        }
                    }
                });
                None
            }
        };
        let mut spent = vec![run(cache, trace)];
        done.store(true, Relaxed);
        spent.extend(another.map(|another| another.join().expect("hits do not panic")));
        spent
    });
    let hits: usize = spent.iter().map(|spent| spent.hits).sum();
    let sum = |of: fn(&Spent) -> Duration| spent.iter().map(of).sum::<Duration>().as_nanos() as f64;
    let starts = |spent: &Spent| spent.start;
    let first = spent.iter().map(starts).min().expect("there is one");
    let last = spent.iter().map(starts).max().expect("there is one");
    TurnOfHits {
        time: sum(|spent| spent.time) / hits as f64,
        processor_time: sum(|spent| spent.processor_time) / hits as f64,
        is_quiet: spent.iter().all(|spent| spent.interruptions == 0) && last - first < length / 10,
    }
}

/// The time that this thread has had a processor, and how often that was taken away from it.
pub fn processor_time() -> (Duration, usize) {
    // SAFETY: zeroed structures are valid, and the kernel fills them.
    unsafe {
        let (mut time, mut usage): (libc::timespec, libc::rusage) = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        (Duration::new(time.tv_sec as u64, time.tv_nsec as u32), usage.ru_nivcsw as usize)
    }
}

/// Runs hits for at least `length`.
fn spend<H: Hit>(cache: &H, trace: &mut Trace, length: Duration) -> Spent {
    let mut error = Error::new();
    let mut hits = 0;
    let (processor_time_before, interruptions_before) = processor_time();
    let start = Instant::now();
    loop {
        let ids = trace.next(H::AT_ONCE);
        for id in ids {
            cache.hit(*id, &mut error);
        }
        hits += ids.len();
        let time = start.elapsed();
        if time >= length {
            let (processor_time, interruptions) = processor_time();
            return Spent {
                start,
                time,
                processor_time: processor_time - processor_time_before,
                interruptions: interruptions - interruptions_before,
                hits,
            };
        }
    }
}

/// The 99.9th percentile of single hits in nanoseconds, including the reading of the clock.
pub fn slow_hits(cache: &Cache, trace: &mut Trace, count: usize) -> f64 {
    let mut error = Error::new();
    let mut times: Vec<u32> = Vec::with_capacity(count);
    while times.len() < count {
        for id in trace.next(128) {
            let start = Instant::now();
            cache.hit(*id, &mut error);
            times.push(start.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
        }
    }
    let at = times.len() * 999 / 1000;
    f64::from(*times.select_nth_unstable(at).1)
}

/// A directory of plugins below the system's temporary directory, removed when dropped.
pub struct Directory {
    pub root: PathBuf,
    pub ids: Vec<CString>,
    pub files: Vec<CString>,
}

/// Pairs of a share of the manifests and the size that they do not exceed, as counted in a
/// collection of 1 252 real manifests.
const SIZES: [(f64, f64); 13] = [
    (0.0, 102.0),
    (0.1, 178.0),
    (0.2, 228.0),
    (0.3, 246.0),
    (0.4, 262.0),
    (0.5, 277.0),
    (0.6, 293.0),
    (0.7, 317.0),
    (0.8, 343.0),
    (0.9, 420.0),
    (0.95, 544.0),
    (0.999, 1500.0),
    (1.0, 11_357.0),
];

impl Directory {
    /// Manifests of sizes as in that collection.
    pub fn generate(plugins: usize) -> Self {
        Self::of_sizes("real", plugins, |n| size_at(n as f64 / (plugins - 1) as f64))
    }

    /// Manifests of the sizes that `size` gives for their numbers. The name is the directory's own.
    pub fn of_sizes(name: &str, plugins: usize, size: impl Fn(usize) -> usize) -> Self {
        let root = std::env::temp_dir()
            .join(format!("manifest-cache-bench-{}-{name}", std::process::id()));
        let ids = ids(plugins);
        let path =
            |id: &CString| root.join(id.to_str().expect("ids are UTF-8")).join("manifest.json");
        let files = ids
            .iter()
            .map(|id| CString::new(path(id).as_os_str().as_encoded_bytes()).expect("no NUL"))
            .collect();
        for (n, id) in ids.iter().enumerate() {
            write(&path(id), &manifest(size(n)));
        }
        Directory { root, ids, files }
    }
}

fn write(file: &Path, text: &str) {
    let folder = file.parent().expect("a file has a folder");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(file, text))
        .expect("the temporary directory is writable");
}

fn size_at(share: f64) -> usize {
    let upper =
        SIZES.iter().position(|(up_to, _)| share <= *up_to).unwrap_or(SIZES.len() - 1).max(1);
    let ((x0, y0), (x1, y1)) = (SIZES[upper - 1], SIZES[upper]);
    (y0 + (y1 - y0) * (share - x0) / (x1 - x0)) as usize
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
