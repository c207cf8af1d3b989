//! How many instructions a hit takes, which no noise moves: the guard that the hit path does not rot unseen.

use crate::contestants::{Cache, Contestant, Error};
use crate::workloads::{ids, manifest};
use std::process::{Command, ExitCode};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/instructions.txt");
const TOLERANCE: f64 = 0.05;
const FEW: usize = 1_000;
const MANY: usize = 11_000;

/// Compares the count with the one on record, or puts it there.
pub fn guard(record: bool) -> ExitCode {
    let counted = (instructions(MANY) - instructions(FEW)) as f64 / (MANY - FEW) as f64;
    if record {
        std::fs::write(RECORD, format!("{counted:.0}\n")).expect("the record is writable");
        println!("{counted:.1} instructions for a hit, recorded");
        return ExitCode::SUCCESS;
    }
    let recorded = std::fs::read_to_string(RECORD).expect("there is a record; make one with --record");
    let recorded: f64 = recorded.trim().parse().expect("the record is a number");
    let off = counted / recorded - 1.0;
    println!("{counted:.1} instructions for a hit, {recorded} on record: {:+.1} %", off * 100.0);
    if off.abs() <= TOLERANCE {
        return ExitCode::SUCCESS;
    }
    println!(
        "That is more than {} % off. If it is meant to be, record it with\n    cargo bench -- --instructions --record",
        TOLERANCE * 100.0
    );
    ExitCode::FAILURE
}

/// All that a process executes which makes so many hits, under callgrind.
fn instructions(hits: usize) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--child", "hits", &hits.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    collected.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("callgrind failed: {said}"))
}

/// What is counted: hits of one plugin of 1 KiB.
pub fn hits(ours: &Contestant, count: usize) {
    let id = &ids(1)[0];
    let cache = Cache::new(ours, &manifest(1024));
    let mut error = Error::new();
    for _ in 0..count {
        cache.hit(id.as_ptr(), &mut error);
    }
}
