//! Counts the instructions of a hit, a miss and a put. A busy machine does not change these counts,
//! so they show a small loss of speed that no timing would show.

use crate::contestants::{Cache, Contestant, Error, Library, library};
use crate::workloads::{ids, manifest};
use std::process::{Command, ExitCode};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/instructions.txt");
const OPERATIONS: [&str; 3] = ["hit", "miss", "put"];
const TOLERANCE: f64 = 0.05;
const FEW: usize = 1_000;
const MANY: usize = 11_000;

/// Compares the counts with the record; with `record`, writes the record first.
pub fn guard(record: bool) -> ExitCode {
    let counts = OPERATIONS.map(|operation| {
        (instructions(operation, MANY) - instructions(operation, FEW)) as f64 / (MANY - FEW) as f64
    });
    if record {
        let lines = OPERATIONS
            .iter()
            .zip(counts)
            .map(|(operation, count)| format!("{operation} {count:.0}\n"));
        std::fs::write(RECORD, lines.collect::<String>()).expect("the record is writable");
    }
    let recorded =
        std::fs::read_to_string(RECORD).expect("there is a record; make one with --record");
    let mut is_within = true;
    for (operation, count) in OPERATIONS.iter().zip(counts) {
        let recorded = recorded
            .lines()
            .find_map(|line| line.strip_prefix(operation))
            .expect("each is on record");
        let recorded: f64 = recorded.trim().parse().expect("the record is a number");
        let off = count / recorded - 1.0;
        println!(
            "{operation}: {count:.1} instructions, {recorded} on record: {:+.1} %",
            off * 100.0
        );
        is_within &= off.abs() <= TOLERANCE;
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    println!(
        "One is more than {} % off. If that is intended, record the counts with\n    \
         cargo bench -- --instructions --record",
        TOLERANCE * 100.0
    );
    ExitCode::FAILURE
}

/// The instructions of a process that repeats an operation, counted by callgrind.
fn instructions(operation: &str, times: usize) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--child", "repeat", operation, &times.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .map(|(_, count)| count.trim());
    collected
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("callgrind failed: {said}"))
}

/// The operations that are counted, on one plugin with a manifest of 1 KiB. A miss is a clear and a
/// get that loads.
pub fn repeat(ours: &Contestant, operation: &str, times: usize) {
    let id = &ids(1)[0];
    let text = manifest(1024);
    let cache = Cache::new(ours, &text);
    let put = Library::open(&library()).put();
    let mut error = Error::new();
    match operation {
        "hit" => (0..times).for_each(|_| cache.hit(id.as_ptr(), &mut error)),
        "miss" => (0..times).for_each(|_| {
            cache.clear(id.as_ptr());
            cache.hit(id.as_ptr(), &mut error);
        }),
        "put" => (0..times).for_each(|_| cache.put(put, id.as_ptr(), &text)),
        other => panic!("{other} is not counted"),
    }
}
