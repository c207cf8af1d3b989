//! Counts the writes of a hit to cache lines that another thread touches too. Such a write makes the
//! other core fetch the line again, so these writes limit how a hit scales over many cores. A count
//! shows that on a machine with two cores, and on a busy one.
//!
//! Two threads take turns under valgrind's lackey, which prints each access to memory. It does not
//! print which thread makes it, so `--trace-sched` adds the switches between threads. Each thread
//! writes to a mark before and after its turn, so that what hands over the turns is not counted.

use crate::contestants::{Cache, Error, Library, library, ours};
use crate::measured::count;
use crate::report::Table;
use crate::workloads::{Trace, draws, ids};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{ChildStderr, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Numbers of plugins; how many shared writes a hit of them may make on average; and in how many
/// processes that is counted. Each process has its own random hash, which decides which plugins get
/// in each other's way.
const LIMITS: [(usize, f64, usize); 4] =
    [(1, 0.0, 1), (10, 0.005, 3), (100, 0.02, 3), (1000, 0.42, 3)];

/// The hits of each thread: first those that warm its magazine up, then those that are counted.
const WARM_UP: usize = 2000;
const COUNTED: usize = 2000;
/// The hits of one turn.
const TURN: usize = 100;

/// Compares the shared writes of a hit with their limits.
pub fn guard() -> ExitCode {
    let control = count_writes("control").all;
    println!("control, hits that add to one counter: {control:.3} shared writes a hit (exactly 1)");
    let mut is_within = control == 1.0;
    for (plugins, limit, processes) in LIMITS {
        let (writes, each) = mean(plugins, processes);
        println!(
            "{plugins} plugin{}: {:.3} shared writes a hit (at most {limit}), the mean of {each}; \
             {:.4} to one line",
            if plugins == 1 { "" } else { "s" },
            writes.all,
            writes.to_one_line
        );
        is_within &= writes.all <= limit;
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    println!(
        "There are too many. What they cost with many cores is explained in\n    \
         docs/performance.md, \"Many cores, many plugins\""
    );
    ExitCode::FAILURE
}

/// The same figures for the page.
pub fn table() -> Table {
    let row = |(plugins, limit, processes): (usize, f64, usize)| {
        let (writes, each) = mean(plugins, processes);
        let [all, to_one_line] =
            [format!("{:.3}", writes.all), format!("{:.4}", writes.to_one_line)];
        vec![count(plugins), all, each, limit.to_string(), to_one_line]
    };
    let columns =
        ["plugins", "shared writes of a hit", "in each process", "at most", "to one line"];
    let columns = columns.map(str::to_owned).into();
    Table { title: "Shared writes", columns, rows: LIMITS.map(row).into() }
}

/// The mean of so many processes, and what each counted.
fn mean(plugins: usize, processes: usize) -> (SharedWrites, String) {
    let writes: Vec<_> = (0..processes).map(|_| count_writes(&plugins.to_string())).collect();
    let each: Vec<String> = writes.iter().map(|writes| format!("{:.3}", writes.all)).collect();
    let mean = |of: fn(&SharedWrites) -> f64| writes.iter().map(of).sum::<f64>() / processes as f64;
    let [all, to_one_line] = [mean(|writes| writes.all), mean(|writes| writes.to_one_line)];
    (SharedWrites { all, to_one_line }, each.join(", "))
}

/// The shared writes of a hit.
struct SharedWrites {
    all: f64,
    /// Those to the line that gets the most of them.
    to_one_line: f64,
}

/// Counts in a process of its own; see [`take_turns`] for the workload.
fn count_writes(workload: &str) -> SharedWrites {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--basic-counts=no", "--trace-mem=yes", "--trace-sched=yes"])
        .arg(program)
        .args(["--child", "take-turns", workload])
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind is installed");
    let trace = child.stderr.take().expect("it is piped");
    // SAFETY: the call changes only the size of the pipe. If it fails, reading takes longer.
    unsafe { libc::fcntl(trace.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
    let mut said = BufReader::with_capacity(PIPE, Pieces(trace));
    let (mut accesses, mut line, mut other) = (Accesses::default(), Vec::new(), String::new());
    while said.read_until(b'\n', &mut line).expect("valgrind can be read") > 0 {
        if !accesses.read(&line) {
            other += &String::from_utf8_lossy(&line);
        }
        line.clear();
    }
    assert!(child.wait().is_ok_and(|status| status.success()), "{other}");
    accesses.shared_writes().unwrap_or_else(|| panic!("the trace is not whole: {other}"))
}

/// What a pipe can hold, if the system allows it.
const PIPE: usize = 1 << 20;

/// Reads a pipe in large pieces. A reader that waited would be woken for each line, which takes much
/// longer than the trace itself.
struct Pieces(ChildStderr);

impl Read for Pieces {
    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        thread::sleep(Duration::from_millis(1));
        self.0.read(piece)
    }
}

/// What the two threads did with each cache line.
#[derive(Default)]
struct Accesses {
    /// The addresses of [`MARKS`].
    marks: Vec<u64>,
    /// The thread that runs, by valgrind's number.
    running: u64,
    threads: Vec<Thread>,
    lines: HashMap<u64, Line>,
}

struct Thread {
    number: u64,
    phase: Phase,
    counted_turns: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    WarmUp,
    Counted,
    /// It hands the turn over.
    Between,
}

const PHASES: [Phase; 3] = [Phase::WarmUp, Phase::Counted, Phase::Between];

#[derive(Default)]
struct Line {
    is_touched: [bool; 2],
    writes: [usize; 2],
}

impl Accesses {
    /// Reads a line of the trace; returns whether it is one.
    fn read(&mut self, line: &[u8]) -> bool {
        match line {
            [b'I', ..] => true, // code
            [b' ', kind, b' ', access @ ..] => {
                self.access(access, *kind != b'L');
                true
            }
            _ => std::str::from_utf8(line).is_ok_and(|line| self.read_text(line).is_some()),
        }
    }

    fn read_text(&mut self, line: &str) -> Option<()> {
        if let Some(marks) = line.strip_prefix("marks:") {
            let address = |mark| u64::from_str_radix(mark, 16).expect("an address");
            self.marks = marks.split_whitespace().map(address).collect();
        } else {
            let (number, event) = line.split_once("SCHED[")?.1.split_once("]:")?;
            if event.trim_start().starts_with("acquired lock") {
                self.running = number.parse().ok()?;
            }
        }
        Some(())
    }

    /// `access` is an address in hexadecimal digits, a comma and a size.
    fn access(&mut self, access: &[u8], is_write: bool) {
        let comma = access.iter().position(|byte| *byte == b',').expect("an address and a size");
        let digit = |n: u64, byte: &u8| n << 4 | u64::from((byte & 15) + (byte >> 6) * 9);
        let address = access[..comma].iter().fold(0, digit);
        let size = access[comma + 1..].trim_ascii().iter();
        let size = size.fold(0, |n, byte| n * 10 + u64::from(byte - b'0'));
        if let Some(mark) = self.marks.iter().position(|mark| *mark == address) {
            // An exchange is printed as a load and a modification.
            return if is_write {
                self.enter(PHASES[mark])
            };
        }
        let Some(at) = self.threads.iter().position(|thread| thread.number == self.running) else {
            return;
        };
        let phase = self.threads[at].phase;
        if phase == Phase::Between {
            return;
        }
        for line in address / 64..=(address + size - 1) / 64 {
            let line = self.lines.entry(line).or_default();
            line.is_touched[at] = true;
            line.writes[at] += usize::from(is_write && phase == Phase::Counted);
        }
    }

    /// The thread that runs has written to a mark.
    fn enter(&mut self, phase: Phase) {
        let number = self.running;
        let thread = match self.threads.iter_mut().find(|thread| thread.number == number) {
            Some(thread) => thread,
            None => {
                self.threads.push(Thread { number, phase, counted_turns: 0 });
                self.threads.last_mut().expect("it was pushed")
            }
        };
        thread.counted_turns += usize::from(phase == Phase::Counted);
        thread.phase = phase;
    }

    /// The writes of a hit to lines that the other thread has touched in any turn. None if a part of
    /// the trace is missing.
    fn shared_writes(&self) -> Option<SharedWrites> {
        let is_whole = |thread: &Thread| thread.counted_turns * TURN == COUNTED;
        if self.threads.len() != 2 || !self.threads.iter().all(is_whole) {
            return None;
        }
        let shared = |line: &Line| {
            let by = |at: usize| if line.is_touched[1 - at] { line.writes[at] } else { 0 };
            by(0) + by(1)
        };
        let shared = || self.lines.values().map(shared);
        let of_a_hit = |writes: usize| writes as f64 / (2 * COUNTED) as f64;
        let to_one_line = of_a_hit(shared().max().unwrap_or(0));
        Some(SharedWrites { all: of_a_hit(shared().sum()), to_one_line })
    }
}

/// What a thread writes to when it enters one of the [`PHASES`].
static MARKS: [Mark; 3] = [const { Mark(AtomicU8::new(0)) }; 3];

#[repr(align(64))]
struct Mark(AtomicU8);

fn mark(phase: Phase) {
    MARKS[phase as usize].0.store(1, SeqCst);
}

/// Two threads in strict turns hit so many plugins, by Zipf's law. In the workload "control", a hit
/// adds to a counter of both threads instead.
pub fn take_turns(workload: &str) {
    let addresses: Vec<String> = MARKS.iter().map(|mark| format!("{mark:p}")).collect();
    let addresses = format!("marks: {}\n", addresses.join(" ").replace("0x", ""));
    // In one piece, so that no line of valgrind comes between.
    std::io::stderr().write_all(addresses.as_bytes()).expect("stderr is a pipe");

    if workload == "control" {
        let counter = AtomicUsize::new(0);
        return in_turns(|_| || (0..TURN).for_each(|_| _ = counter.fetch_add(1, Relaxed)));
    }
    let ids = ids(workload.parse().expect("the number of plugins"));
    // Its size matters, but not its text. One long string is checked with few instructions.
    let text = format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 - r#"{"name":""}"#.len()));
    let cache = Cache::new(&ours(&Library::open(&library())), &text);
    ids.iter().for_each(|id| cache.hit(id.as_ptr(), &mut Error::new()));
    let hits = WARM_UP + COUNTED;
    let trace = Trace::new(draws(&ids, hits));
    in_turns(|thread| {
        let (mut trace, mut error, cache) =
            (trace.clone().skip(thread * hits / 2), Error::new(), &cache);
        move || trace.next(TURN).iter().for_each(|id| cache.hit(*id, &mut error))
    });
}

/// Runs the turns that `of` returns for the two threads. While one has its turn, the other sleeps.
fn in_turns<Turn: FnMut()>(of: impl Fn(usize) -> Turn + Sync) {
    let (turns, changed) = (Mutex::new(0), Condvar::new());
    let run = |thread| {
        let mut turn = of(thread);
        for hits in (0..WARM_UP + COUNTED).step_by(TURN) {
            let turns = turns.lock().expect("no turn panics");
            let mut turns =
                changed.wait_while(turns, |turns| *turns % 2 != thread).expect("no turn panics");
            mark(if hits < WARM_UP { Phase::WarmUp } else { Phase::Counted });
            turn();
            mark(Phase::Between);
            *turns += 1;
            changed.notify_one();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| run(0));
        scope.spawn(|| run(1));
    });
}
