#!/usr/bin/env python3
"""Breaks the library on purpose, one promise at a time, and sees which tests notice.

    tests/mutants.py            builds and tests each broken variant, in a copy; takes half an hour
    tests/mutants.py WORD       those with this word in their name
    tests/mutants.py --check    only sees that each can still be made, as the sources change

A variant that no test notices is a failure. Variants in which nothing would ever return are ended by the tests' own
alarms, or by the model checker.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS, RUST, OPTIONS, MODEL = "--lib", "--test rust_api", "--test options", "--test option_model"
C_ABI, SHUTTLE = "--test c_abi", "--test shuttle"

# Rule, what is broken, file, what stands there, what is put in its place, the tests that run.
MUTANTS = [
    ("R1", "nothing is ever a hit", "src/store.rs",
     "if !entry.is_fresh(now) || entry.is_not_found() {", "if true {", [RUST, C_ABI]),
    ("R2", "an entry expires as it reaches its time to live", "src/store.rs",
     "now <= self.expires_at", "now < self.expires_at", [UNITS, RUST]),
    ("R2", "a thread remembers past expiry", "src/magazine.rs",
     "now <= slot.expires_at && ", "", [UNITS, RUST]),
    ("R2", "age counts from the beginning of the load", "src/cache/landing.rs",
     "                        stamp,\n                        now,\n", "                        stamp,\n                        lead.began_at,\n", [RUST]),
    ("R2", "an expired entry stays when its load brings nothing", "src/cache/landing.rs",
     "_ => drop(ledger.remove(&self.store, id)),", "_ => {}", [RUST, C_ABI]),
    ("R3", "the loader runs under the cache's lock", "src/cache.rs",
     "loader(&mut lead.load);", "let _state = self.state.lock();\n                loader(&mut lead.load);", [SHUTTLE]),
    ("R4", "no answer counts as not found", "src/load.rs",
     "Err(failed(&self.id, silence))", "Err(self.error(Status::NotFound, silence))", [UNITS, C_ABI]),
    ("R5", "{} is cached", "src/cache/landing.rs",
     "if members == Members::None || ttl == 0 {", "if ttl == 0 {", [RUST, C_ABI]),
    ("R6", "a text is not checked to its end", "src/json.rs",
     "serde_json::from_str::<IgnoredAny>(text)",
     "serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().next().unwrap_or(Ok(IgnoredAny))",
     [C_ABI, UNITS]),
    ("R6", "a byte order mark is taken", "src/json.rs",
     'bytes.starts_with(b"\\xEF\\xBB\\xBF")', "false", [UNITS, C_ABI]),
    ("R7", "every miss leads a load of its own", "src/flight.rs",
     "return Ok(Part::Wait(flight.clone()));", "let _ = flight;", [C_ABI, SHUTTLE]),
    ("R7", "the end of a load wakes nobody", "src/flight.rs",
     "        self.landed.notify_all(&waits);\n", "", [SHUTTLE]),
    ("R7", "a load that took too long stays on the table", "src/cache.rs",
     "self.state.lock().departures.take(flight);", "", [RUST]),
    ("R8", "a clear fences nothing", "src/flight.rs",
     "        self.flights.remove(id);\n    }", "        let _ = id;\n    }", [C_ABI, SHUTTLE]),
    ("R8", "clearing all fences nothing", "src/flight.rs",
     "        self.flights.clear();\n", "", [C_ABI, SHUTTLE]),
    ("R8", "a fenced load is stored", "src/cache/landing.rs",
     "let is_unfenced = state.departures.take(&lead.flight);",
     "let is_unfenced = state.departures.take(&lead.flight) || true;", [C_ABI, SHUTTLE]),
    ("R8", "a landing takes any flight off the table", "src/flight.rs",
     "is_some_and(|other| Arc::ptr_eq(other, flight))", "is_some()", [UNITS, C_ABI, SHUTTLE]),
    ("R8", "a thread goes on handing out what was cleared", "src/store.rs",
     "self.version.store(new_versions(1), Release);", "", [RUST, SHUTTLE]),
    ("R8", "the version changes before the list", "src/store.rs",
     "        self.list.store(list);\n        // Release: who sees this version finds this list or a later one.\n"
     "        self.version.store(new_versions(1), Release);",
     "        self.version.store(new_versions(1), Release);\n        self.list.store(list);", [SHUTTLE]),
    ("R9", "no circle over threads is seen", "src/flight.rs",
     "if next.leader == me {", "if false {", [UNITS, SHUTTLE]),
    ("R9", "no circle within a thread is seen", "src/flight.rs",
     "        waits.check_nest(self.cache, id)?;\n", "", [UNITS, SHUTTLE]),
    ("R9", "what has landed still holds up", "src/flight.rs",
     "while next.outcome.get().is_none() {", "loop {", [UNITS]),
    ("R9", "testing for a circle and waiting are two steps", "src/flight.rs",
     "        waits.link(me, Some(self));\n", "        drop(waits);\n        waits = WAITS.lock();\n        waits.link(me, Some(self));\n",
     [SHUTTLE]),
    ("R10", "a failure is remembered", "src/flight.rs",
     "        if on_table {\n", "        if on_table && flight.outcome.get().is_some() {\n", [RUST, C_ABI]),
    ("R11", "a load that throws never ends", "src/cache/landing.rs",
     "if !self.has_landed {", "if false {", [RUST, C_ABI, SHUTTLE]),
    ("R12", "other threads' loads go on in the child", "src/flight.rs",
     "self.flights.retain(|_, flight| flight.leader == survivor);", "let _ = survivor;", [C_ABI]),
    ("R12", "other threads' waits go on in the child", "src/flight.rs",
     "self.0.retain(|leader, _| *leader == survivor);", "let _ = survivor;", [C_ABI]),
    ("R12", "no lock is taken before a fork", "src/fork.rs",
     "unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };", "", [C_ABI]),
    ("R13", "a string is given back twice", "src/manifest.rs",
     "        self.count += 1;\n        std::mem::forget(manifest);", "        self.count += 1;\n        drop(manifest);", [UNITS, C_ABI]),
    ("R13", "at the end of a thread a string is lost", "src/capi/string.rs",
     "let manifest = unsafe { Manifest::from_raw(string) };",
     "let manifest = unsafe { Manifest::from_raw(string) };\n        let manifest = std::mem::ManuallyDrop::new(manifest);\n"
     "        let manifest = Manifest::clone(&manifest);", [C_ABI]),
    ("R14", "NULL is not looked for", "src/capi/cache.rs",
     "(cache.as_ref()?, bytes(id)?)", "(&*cache, bytes(id)?)", [C_ABI]),
    ("R15", "two threads count in one lane", "src/stats.rs",
     "Ok(taken) => Lane(taken.trailing_ones() as usize),", "Ok(_) => Lane(0),", [UNITS, C_ABI]),
    ("Stale", "a stale manifest outlives a clear", "src/ledger.rs",
     "            self.beside.remove(old.manifest.id());\n", "", [UNITS, OPTIONS]),
    ("Stale", "stale-if-error never ends", "src/cache.rs",
     "grace > 0 && now <= entry.expires_at.saturating_add(grace)", "grace > 0", [OPTIONS, MODEL]),
    ("Stale", "the loader is not left alone", "src/cache.rs",
     "if now >= *retry_at || ", "if now >= 0 || ", [OPTIONS, MODEL]),
    ("Negative", "an answer from memory counts as a miss", "src/cache.rs",
     "        self.counters.negative_hits.add(1);\n", "        self.counters.misses.add(1);\n", [OPTIONS]),
    ("Put", "a put fences nothing", "src/cache.rs",
     "            state.departures.fence(plugin_id);\n            self.keep", "            self.keep", [OPTIONS, SHUTTLE]),
    ("Unchanged", "a renewal has a new revision", "src/load.rs",
     "Brought::Unchanged(cached.manifest.clone(), cached.stamp.clone())",
     "Brought::Unchanged(Manifest::new(&self.id, &cached.manifest), cached.stamp.clone())", [OPTIONS]),
    ("Files", "a file just written is trusted", "src/file.rs",
     ">= SETTLED_AFTER.as_nanos() as i128", ">= 0", [UNITS]),
    ("Files", "a replaced file of the same size is not seen", "src/file.rs",
     "(metadata.dev(), metadata.ino(), metadata.size(), times)", "(metadata.dev(), 0, metadata.size(), [0, 0])", [UNITS, OPTIONS]),
    ("Bounds", "one more than the bound is held", "src/ledger.rs",
     "entries: bounds.entries - 1,", "entries: bounds.entries,", [UNITS, OPTIONS, MODEL, SHUTTLE]),
    ("Bounds", "a hit leaves no mark", "src/manifest.rs",
     "            is_used.store(true, Ordering::Relaxed);\n", "", [UNITS, OPTIONS]),
    ("Logging", "a logger hears what it causes itself", "src/logger.rs",
     "|| IS_LOGGING.with(|logging| logging.replace(true))", "|| IS_LOGGING.with(|logging| logging.replace(false))", [UNITS]),
    ("R15", "untouched shards have one version", "src/store.rs",
     "AtomicU64::new(version)", "AtomicU64::new(version * 0)", [UNITS]),
]


def mutated(name, old, new):
    text = (ROOT / name).read_text()
    if text.count(old) != 1:
        sys.exit(f"{name} does not have this once: {old!r}")
    return text.replace(old, new)


def failures(copy, tests):
    """The tests that fail, or what else went wrong."""
    environment = dict(os.environ, SCHEDULES="5000")
    command = ["cargo", "test", "--quiet", "--target-dir", str(copy / "target"), *tests.split()]
    if tests == SHUTTLE:
        environment |= {"RUSTFLAGS": "--cfg shuttle", "CARGO_PROFILE_RELEASE_LTO": "off"}
        command = command[:3] + ["--release", "--target-dir", str(copy / "target/shuttle"), *tests.split()]
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return ["(no end within two minutes)"]
    output = run.stdout + run.stderr
    if "could not compile" in output:
        sys.exit(output)
    if run.returncode == 0:
        return []
    named = sorted(set(re.findall(r"^    (?:\w+::)*(\w+)$", output, re.MULTILINE)))
    return named or [re.findall(r"signal: \d+, \w+|$", output)[0] or "(the process ended)"]


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word == "--check":
        for _, _, name, old, new, _ in MUTANTS:
            mutated(name, old, new)
        print(f"all {len(MUTANTS)} broken variants can be made")
        return
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git", "build", "corpus"))
        for rule, what, name, old, new, suites in MUTANTS:
            if word and word not in f"{rule} {what}":
                continue
            (copy / name).write_text(mutated(name, old, new))
            # The first suite that notices is enough.
            caught = next(filter(None, (failures(copy, suite) for suite in suites)), [])
            (copy / name).write_text((ROOT / name).read_text())
            missed += not caught
            shown = ", ".join(caught[:4]) + (f" and {len(caught) - 4} more" if len(caught) > 4 else "")
            print(f"| {rule} | {what} | {shown or '**nobody**'} |", flush=True)
    sys.exit(f"{missed} broken variants were not noticed" if missed else 0)


main()
