#!/usr/bin/env python3
"""Breaks the library on purpose, one promise at a time, and checks that a test fails.

    tests/mutants.py            builds and tests each broken variant in a copy; takes half an hour
    tests/mutants.py WORD…      only the variants whose rule or description contains one of these
    tests/mutants.py --check    only checks that each variant can be made from the sources

The script fails if a variant fails no test. If a variant hangs, the alarm of the test, the model
checker or a time limit ends it.
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
C_ABI, SHUTTLE, DIALECTS = "--test c_abi", "--test shuttle", "--test dialects"
JSONC = "--test fuzz_corpus r6_texts"
# Some scenarios of the model checker, and some tests in C.
TELLING, TASKS, CLOSING = (f"{SHUTTLE} {part}::" for part in ("telling", "tasks", "closing"))
DONE = f"{C_ABI} begin_async::"
VALUES, DECODED, VALUES_MODEL = f"{C_ABI} value", f"{C_ABI} decoded::", f"{SHUTTLE} values::"
# Needs root, the Debian packages e2fsprogs and fuse3, and a PYTHON that has mfusepy.
FILE_SYSTEMS = "--test file_systems"

# The rule, what is broken, the file, the text to replace, the new text, and the tests to run.
MUTANTS = [
    ("R1", "no get is ever a hit", "src/entries/store.rs",
     "if !manifest.is_fresh(missed.now) || manifest.is_empty() {", "if true {", [RUST, C_ABI]),
    ("R2", "an entry expires as it reaches its time to live", "src/entries/entry.rs",
     "now <= self.times.expires_at", "now < self.times.expires_at", [UNITS, RUST]),
    ("R2", "a magazine returns expired manifests", "src/manifest/spares.rs",
     " || !manifest.is_fresh(now)", "", [UNITS, RUST]),
    ("R2", "age counts from the beginning of the load", "src/cache/load_guard.rs",
     "let ttl = cache.options.ttl(own_ms);\n", "let ttl = cache.options.ttl(own_ms);\n                let now = self.began_at;\n", [RUST]),
    ("R2", "an expired entry stays when its reload fails", "src/cache/load_guard.rs",
     "0 => drop(ledger.remove(&cache.store, id)),", "0 => {}", [RUST, C_ABI]),
    ("R8", "a failure removes an entry that another load stored", "src/cache/load_guard.rs",
     "if !is_same {", "if false {", [C_ABI, SHUTTLE]),
    ("R8", "a failure fences the loads before it", "src/load/table.rs",
     "if takes_effect && !is_fenced {", "if !is_fenced {", [UNITS, C_ABI]),
    ("R8", "a load that takes effect fences nothing", "src/load/table.rs",
     "            loads[..at].iter().for_each(|before| before.fence());\n", "", [UNITS, C_ABI]),
    ("R8", "a load that takes effect fences those that began later", "src/load/table.rs",
     "loads[..at].iter()", "loads.iter()", [UNITS, C_ABI]),
    ("R7", "a time-out fences the load", "src/load/in_flight.rs",
     "        self.has_timed_out.store(true, Relaxed);\n", "        self.has_timed_out.store(true, Relaxed);\n        self.fence();\n", [UNITS, C_ABI]),
    ("R2", "a thread reads the time since boot only once", "src/clock.rs",
     "self.valid_until = coarse + VALID_FOR;", "self.valid_until = NEVER;", [C_ABI]),
    ("R2", "a wait counts the time since boot", "src/clock.rs",
     "            None => system::awake(),", "            None => system::since_boot(),", [C_ABI]),
    ("R2", "entries expire by the time awake", "src/clock.rs",
     "None => ORIGIN + system::since_boot(),", "None => ORIGIN + system::awake(),", [C_ABI]),
    ("R2", "advancing the time wakes no waiting call", "src/cache/core.rs",
     "        state.in_flight.wake_all();\n", "", [C_ABI]),
    ("R2", "advancing the time leaves the backoff as it is", "src/entries/ledger.rs",
     "backoff.until = earlier(backoff.until, by);", "backoff.until = earlier(backoff.until, by * 0);", [C_ABI]),
    ("R12", "a child repairs no lock", "src/fork.rs",
     "if self.epoch.load(SeqCst) != epoch() {", "if self.epoch.load(SeqCst) != epoch() && false {", [C_ABI]),
    ("R12", "a child does not replace a torn value", "src/fork.rs",
     "            None => repair(Inherited::Torn),", "            None => None,", [C_ABI]),
    ("R12", "a child does not count an entry that was just being stored", "src/entries/table.rs",
     "                    totals = next;\n", "                    let _ = next;\n", [UNITS, C_ABI]),
    ("R12", "a child joins loads that began in its parent", "src/cache/core.rs",
     "                    state.in_flight.forget_all();\n", "", [C_ABI]),
    ("R12", "a child waits for a repair that the fork interrupted", "src/fork.rs",
     "if seen == now | REPAIRING {", "if seen & REPAIRING != 0 {", [UNITS, C_ABI]),
    ("R12", "a repair that a fork interrupted is taken for whole", "src/fork.rs",
     "let was_interrupted = seen & REPAIRING != 0;", "let was_interrupted = seen & REPAIRING == 1;", [UNITS]),
    ("R9", "a thread is still inside loads that have ended", "src/load/within.rs",
     "        loads.retain(|node| !node.has_ended());\n", "", [UNITS]),
    ("R7", "a wait ends at a sum that can wrap around", "src/load/in_flight.rs",
     "limit => limit.saturating_sub(passed),",
     "limit => began_at.saturating_add(limit).saturating_sub(began_at.wrapping_add(passed)),", [UNITS]),
    ("R2", "for ever ends when the time is advanced", "src/clock.rs",
     "if moment == NEVER { NEVER } else { moment.saturating_sub(by) }", "moment.saturating_sub(by)", [RUST]),
    ("R2", "a time to live of its own is the difference of two moments", "src/entries/entry.rs",
     "Ttl { span: self.times.ttl, is_own: true }", "Ttl { span: self.times.expires_at - self.times.stored_at, is_own: true }", [RUST]),
    ("R13", "a slot gives away its last reference", "src/manifest/spares.rs",
     "if self.count <= 1 {", "if self.count < 1 {", [UNITS, C_ABI]),
    ("Rust", "a load that the loader swapped is accepted", "src/cache/load_guard.rs",
     "if self.load.is_of(self.id()) {", "if true {", [RUST]),
    ("Bounds", "an entry counts its manifest only", "src/entries/entry.rs",
     "manifest.len() + manifest.id().len() + message + OVERHEAD", "message * 0 + manifest.len()", [UNITS, C_ABI]),
    ("Failure", "a failure is remembered although its loader forbids it", "src/cache/load_guard.rs",
     "let is_forbidden = self.load.own_ttl_ms() == Some(0);", "let is_forbidden = false;", [C_ABI]),
    ("Failure", "a failure is never remembered", "src/cache/load_guard.rs",
     "self.remember(ledger, error, CacheOption::FailureTtlMs, now);", "drop(ledger.remove(&cache.store, id));", [C_ABI]),
    ("Failure", "a failure is remembered as not found", "src/entries/entry.rs",
     "let is_failure = error.status() != Status::NotFound;", "let is_failure = false;", [C_ABI]),
    ("Logging", "a logger gets messages of the level before", "src/logger.rs",
     ".filter(|target| target.level >= level)", "", [UNITS]),
    ("R3", "the loader runs under the cache's lock", "src/cache/get.rs",
     "loader(&mut guard);", "let _state = self.lock();\n                loader(&mut guard);", [SHUTTLE]),
    ("R4", "no answer counts as not found", "src/load/answer.rs",
     "Err(failed(&self.id, silence))", "Err(self.error(Status::NotFound, silence))", [UNITS, C_ABI]),
    ("R5", "{} is cached", "src/cache/core.rs",
     "if members == Members::None || ttl.span == 0 {", "if ttl.span == 0 {", [RUST, C_ABI]),
    ("R6", "a text is not checked to its end", "src/load/json.rs",
     "serde_json::from_slice::<IgnoredAny>(text)",
     "serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>().next().unwrap_or(Ok(IgnoredAny))",
     [C_ABI, UNITS]),
    ("R6", "strict JSON takes comments", "src/load/json.rs",
     "Err(_) if syntax == Syntax::Jsonc", "Err(_)", [UNITS, C_ABI]),
    ("R6", "the syntax that is set does not reach a load", "src/cache/load_guard.rs",
     "cache.options.syntax()", "crate::Syntax::Json", [C_ABI]),
    ("R6", "the syntax that is set does not reach a put", "src/cache/core.rs",
     "self.options.syntax()", "crate::Syntax::Json", [C_ABI]),
    ("R6", "blanking replaces newlines", "src/load/json.rs",
     "if !matches!(byte, b'\\n' | b'\\r' | 0)", "if *byte != 0", [UNITS, C_ABI]),
    ("R6", "a comment may contain a NUL", "src/load/json.rs",
     "if !matches!(byte, b'\\n' | b'\\r' | 0)", "if !matches!(byte, b'\\n' | b'\\r')", [UNITS, C_ABI, JSONC]),
    ("R6", "a comma without a value is a trailing comma", "src/load/json.rs",
     "(b',', _) if is_behind_value =>", "(b',', _) =>", [UNITS, C_ABI, JSONC]),
    ("R6", "comments are recognized inside strings", "src/load/json.rs",
     "(b'\"', _) => self.skip_string(),", "", [UNITS, C_ABI, JSONC]),
    ("R6", "an escaped quote ends a string", "src/load/json.rs",
     "b'\\\\' => self.at += 1,", "", [UNITS, JSONC]),
    ("R6", "/*/ is a whole comment", "src/load/json.rs",
     "rest[2..].windows(2).position(|pair| pair == b\"*/\").map(|len| len + 4)",
     "rest[1..].windows(2).position(|pair| pair == b\"*/\").map(|len| len + 3)", [UNITS, JSONC]),
    ("R6", "a comment without an end is replaced by spaces", "src/load/json.rs",
     "None => (What::EndlessComment, from..from)", "None => (What::EndlessComment, from..self.text.len())",
     [UNITS, C_ABI, JSONC]),
    ("R6", "the flaw of a truncated text is before its end", "src/load/json.rs",
     "        return text.len();\n", "        return text.len() - 1;\n", [UNITS]),
    ("R7", "every miss begins its own load", "src/load/table.rs",
     "return Ok(Part::Join(last.clone()));", "", [C_ABI, SHUTTLE]),
    ("R7", "the end of a load wakes no waiting call", "src/load/in_flight.rs",
     "        self.ended.notify_all(&graph);\n", "", [SHUTTLE]),
    ("R7", "a get joins a load after a time-out", "src/cache/get.rs",
     "self.lock().in_flight.time_out(load);", "", [RUST]),
    ("R8", "a clear fences nothing", "src/load/table.rs",
     "        self.loads.get(id).into_iter().flatten().for_each(|load| load.fence());\n", "", [C_ABI, SHUTTLE]),
    ("R8", "clearing all fences nothing", "src/load/table.rs",
     "        self.loads.values().flatten().for_each(|load| load.fence());\n", "", [C_ABI, SHUTTLE]),
    ("R8", "a fenced load is stored", "src/cache/load_guard.rs",
     "if state.in_flight.end(&self.start.in_flight, takes_effect) {",
     "if state.in_flight.end(&self.start.in_flight, takes_effect) || true {", [C_ABI, SHUTTLE]),
    ("R8", "the end of a load removes the first load of its plugin", "src/load/table.rs",
     "loads.iter().position(|other| Arc::ptr_eq(other, load))", "loads.iter().position(|_| true)",
     [UNITS, C_ABI, SHUTTLE]),
    ("R8", "a magazine returns cleared manifests", "src/entries/store.rs",
     "        let old = self.table.take(hash, id.as_bytes())?;\n        self.versions.renew(hash);\n", "        let old = self.table.take(hash, id.as_bytes())?;\n", [RUST, SHUTTLE]),
    ("R8", "the version changes before the table", "src/entries/store.rs",
     "        let old = self.table.take(hash, id.as_bytes())?;\n        self.versions.renew(hash);\n", "        self.versions.renew(hash);\n        let old = self.table.take(hash, id.as_bytes())?;\n", [SHUTTLE]),
    ("R9", "no cycle over threads is found", "src/load/wait_graph.rs",
     "within.and_then(|within| self.path(target, within))", "within.and_then(|within| self.path(target, within)).filter(|_| false)", [UNITS, SHUTTLE]),
    ("R9", "no cycle within a thread is found", "src/load/table.rs",
     "        graph.refuse_nested(within, self.cache, id)?;\n", "", [UNITS, SHUTTLE]),
    ("R9", "a load that has ended stays in the wait graph", "src/load/wait_graph.rs",
     "self.loads.remove(&node.number)?",
     "self.loads.get_mut(&node.number).map(|load| InProgress {\n"
     "            node: load.node.clone(),\n            within: load.within,\n            waits: Vec::new(),\n"
     "            asynchronous: take(&mut load.asynchronous),\n        })?", [UNITS]),
    ("R9", "looking for a cycle and waiting are two steps", "src/load/wait_graph.rs",
     "        self.add_wait(within, target);\n        Ok(())", "        Ok(())",
     [SHUTTLE]),
    ("Begin", "the host's function is never called", "src/load/in_flight.rs",
     "        call_all(waits.into_iter().map(|wait| || (wait.tell)(outcome.clone())));\n", "", [SHUTTLE]),
    ("Begin", "mc_done is called twice", "src/capi/get.rs",
     "                done(manifest, error.as_ptr(), user_data.pointer());\n",
     "                done(manifest, error.as_ptr(), user_data.pointer());\n"
     "                done(null(), error.as_ptr(), user_data.pointer());\n", [DONE]),
    ("Begin", "mc_done is not called for a failure", "src/capi/get.rs",
     "                done(manifest, error.as_ptr(), user_data.pointer());\n",
     "                if !manifest.is_null() {\n                    done(manifest, error.as_ptr(), user_data.pointer());\n                }\n", [DONE]),
    ("Begin", "mc_free does not close the cache", "src/capi/cache.rs",
     "            cache.close();\n", "", [DONE]),
    ("Begin", "mc_begin_async does not look within which load it is called", "src/capi/get.rs",
     "cache.begin_async_missed(id, within_of(within), ", "cache.begin_async_missed(id, Within::NOTHING, ", [DONE]),
    ("Begin", "only the first of those who wait is told", "src/load/in_flight.rs",
     "call_all(waits.into_iter().map(", "call_all(waits.into_iter().take(1).map(", [SHUTTLE]),
    ("Begin", "those who wait are told in the wrong order", "src/load/in_flight.rs",
     "call_all(waits.into_iter().map(", "call_all(waits.into_iter().rev().map(", [SHUTTLE]),
    ("Begin", "those who wait are told under the lock of the wait graph", "src/load/in_flight.rs",
     "        drop(graph);\n        call_all(", "        call_all(", [SHUTTLE]),
    ("Begin", "those who wait are told under the cache's lock", "src/cache/load_guard.rs",
     "        let removed = state.unlock();\n        let outcome = self.outcome(answer, now);\n        self.start.in_flight.end(outcome.clone());\n",
     "        let outcome = self.outcome(answer, now);\n        self.start.in_flight.end(outcome.clone());\n        let removed = state.unlock();\n", [SHUTTLE]),
    ("Begin", "those who wait are told before the manifest is stored", "src/cache/load_guard.rs",
     "            self.store(&mut state.ledger, &answer, now);\n",
     "            if let Ok(Answer::New { manifest, .. }) = &answer {\n                drop(state);\n"
     "                self.start.in_flight.end(Ok(manifest.clone().into()));\n                state = cache.lock();\n            }\n"
     "            self.store(&mut state.ledger, &answer, now);\n", [SHUTTLE]),
    ("Begin", "a wait for a load that has ended is told within the call", "src/load/in_flight.rs",
     "            return Joined::Ended(outcome.clone());\n",
     "            let outcome = outcome.clone();\n            drop(graph);\n            tell(outcome);\n            return Joined::Waits;\n", [SHUTTLE]),
    ("Begin", "a time-out is told under the cache's lock by a purge", "src/cache/core.rs",
     "        let removed = state.unlock();\n        self.tell_overdue(overdue);\n", "        self.tell_overdue(overdue);\n        let removed = state.unlock();\n", [SHUTTLE]),
    ("Begin", "a time-out is told under the cache's lock by a get", "src/cache/get.rs",
     "            drop(state);\n            cache.tell_overdue(overdue);\n            state = cache.lock();\n", "            cache.tell_overdue(overdue);\n            drop(state);\n            state = cache.lock();\n", [TELLING]),
    ("Begin", "a purge ends waits and tells nobody", "src/cache/core.rs",
     "        self.tell_overdue(overdue);\n", "        drop(overdue);\n", [SHUTTLE]),
    ("Begin", "a get that misses ends no wait whose time is over", "src/cache/get.rs",
     "state.in_flight.take_overdue(id, || cache.awake_now())", "state.in_flight.take_overdue(\"\", || cache.awake_now())", [TELLING]),
    ("Begin", "a get joins a load after an asynchronous wait for it has timed out", "src/load/in_flight.rs",
     "        if !overdue.is_empty() {\n            self.time_out();\n        }\n", "", [TELLING]),
    ("Begin", "a wait whose time is over is told again when its load ends", "src/load/wait_graph.rs",
     "        load.asynchronous = rest;\n",
     "        let told = |_| unreachable!(\"told twice\");\n"
     "        let again = |wait: &AsyncWait| AsyncWait { tell: Box::new(told), ..*wait };\n"
     "        load.asynchronous = overdue.iter().map(again).chain(rest).collect();\n", [UNITS, TELLING]),
    ("Begin", "a load that is dropped does not end", "src/cache/load_guard.rs",
     "if !self.has_ended {", "if !self.has_ended && self.has_loader {", [TELLING]),
    ("Begin", "a closed cache lets its loads tell those who wait", "src/cache/begin.rs",
     "move || load.end(Err(failure))", "move || drop(failure)", [CLOSING]),
    ("Begin", "a closed cache forgets loads that those who are told begin", "src/cache/begin.rs",
     "                move || load.end(Err(failure))\n            }));\n",
     "                move || load.end(Err(failure))\n            }));\n            return;\n", [CLOSING]),
    ("Begin", "who panics when it is told keeps others from being told", "src/load/outcome.rs",
     "catch_unwind(AssertUnwindSafe(call))", "Ok::<(), Box<dyn std::any::Any + Send>>(call())", [RUST]),
    ("Begin", "a load that ends after its cache was closed stores its manifest", "src/load/table.rs",
     "else { return false };", "else { return true };", [CLOSING]),
    ("Begin", "a closed cache keeps its entries", "src/cache/begin.rs",
     "                state.ledger.remove_all(&self.store);\n", "", [CLOSING]),
    ("R9", "a load does not wait for the loads that begin within it", "src/load/wait_graph.rs",
     "        self.add_wait(outer, &node);\n", "", [TASKS]),
    ("R9", "a load goes on waiting for those that began within it and have ended", "src/load/wait_graph.rs",
     "        self.remove_wait(ended.within, node);\n", "", [UNITS]),
    ("R9", "an asynchronous wait is not in the wait graph", "src/load/in_flight.rs",
     "        let within = within.number();\n        if let Err(cycle) = graph.join(within, &self.node) {\n            return Joined::Cycle(cycle);",
     "        let within = within.number().filter(|_| false);\n        if let Err(cycle) = graph.join(within, &self.node) {\n            return Joined::Cycle(cycle);", [TASKS]),
    ("R9", "an asynchronous wait whose time is over stays in the wait graph", "src/load/wait_graph.rs",
     "        for wait in &overdue {\n            self.remove_wait(wait.within, target);\n        }\n", "        let _ = target;\n", [TASKS]),
    ("R9", "a waiting call whose time is over stays in the wait graph", "src/load/in_flight.rs",
     "        graph.leave(within, &self.node);\n", "", [TASKS]),
    ("R9", "the load that a call names is taken for the thread's", "src/load/within.rs",
     "node.map_or(Self::NOTHING, |node| Within(Kind::Load(node)))", "node.map_or(Self::NOTHING, |_| Self::THREAD)", [TASKS]),
    ("R9", "each load becomes the innermost one of the thread on which it begins", "src/load/wait_graph.rs",
     "if let Kind::Thread = within.kind() {", "if true {", [TASKS]),
    ("R9", "a load that began with MC_THREAD is not the thread's", "src/load/wait_graph.rs",
     "of_this_thread(|loads| loads.push(node.clone()));", "", [TASKS]),
    ("R9", "a call within nothing is within the thread's load", "src/load/within.rs",
     "            Kind::Nothing => None,\n            Kind::Thread =>", "            Kind::Nothing | Kind::Thread =>", [TASKS]),
    ("R9", "the first load of a thread counts as its innermost one", "src/load/within.rs",
     "loads.last().map(|node| node.number)", "loads.first().map(|node| node.number)", [UNITS]),
    ("R10", "a failure is remembered", "src/load/table.rs",
     "loads.remove(at).is_fenced()", "loads[at].is_fenced()", [RUST, C_ABI]),
    ("R11", "a load that throws never ends", "src/cache/load_guard.rs",
     "if !self.has_ended {", "if false {", [RUST, C_ABI, SHUTTLE]),
    ("R11", "the classes do not rethrow a loader's exception", "include/manifest_cache.hpp",
     "            std::rethrow_exception(call.thrown);", "            return manifest;", [C_ABI]),
    ("R11", "the classes drop the message of a loader's exception", "include/manifest_cache.hpp",
     "mc_load_fail(load, 0, exception.what());", 'mc_load_fail(load, 0, "");', [C_ABI]),
    ("R13", "a returned reference is also dropped", "src/manifest/spares.rs",
     "        self.count += 1;\n        std::mem::forget(manifest);", "        self.count += 1;\n        drop(manifest);", [UNITS, C_ABI]),
    ("R13", "a string that is freed at thread exit leaks", "src/capi/string.rs",
     "let manifest = unsafe { Manifest::from_raw(string) };",
     "let manifest = unsafe { Manifest::from_raw(string) };\n        let manifest = std::mem::ManuallyDrop::new(manifest);\n"
     "        let manifest = Manifest::clone(&manifest);", [C_ABI]),
    ("R14", "mc_get does not check for NULL", "src/capi/get.rs",
     "let (cache, id) = unsafe { (cache_of(cache)?, bytes(id)?) };", "let (cache, id) = unsafe { (&*cache.cast::<Cache>(), bytes(id)?) };", [C_ABI]),
    ("R15", "two threads count in one stripe", "src/stats.rs",
     "Ok(taken) => StripeIndex(taken.trailing_ones() as usize),", "Ok(_) => StripeIndex(0),", [UNITS, C_ABI]),
    ("Stale", "a stale manifest outlives a clear", "src/entries/ledger.rs",
     "            self.beside.remove(old.manifest.id());\n", "", [UNITS, OPTIONS]),
    ("Stale", "stale-if-error never ends", "src/cache/core.rs",
     "grace > 0 && !entry.has_no_manifest() && now <= entry.expires_at().saturating_add(grace)", "grace > 0", [OPTIONS, MODEL]),
    ("Stale", "the loader is called during the retry time", "src/cache/get.rs",
     "if now >= *until || ", "if true || ", [OPTIONS, MODEL]),
    ("Negative", "a remembered \"not found\" counts as a miss", "src/cache/get.rs",
     "self.counters.add(Stat::NegativeHits, 1);", "self.counters.add(Stat::Misses, 1);", [OPTIONS]),
    ("Put", "a put fences nothing", "src/cache/core.rs",
     "            state.in_flight.fence(plugin_id);\n            let (ttl", "            let (ttl", [OPTIONS, SHUTTLE]),
    ("Unchanged", "a renewed manifest gets a new revision", "src/load/answer.rs",
     "manifest: cached.manifest.clone(),", "manifest: Manifest::new(&self.id, &cached.manifest),", [OPTIONS]),
    ("Files", "the times of a file just written are trusted", "src/load/stamp.rs",
     "else { CLOCK_TICK }", "else { Duration::ZERO }", [UNITS]),
    ("Files", "times of whole seconds are trusted as soon as others", "src/load/stamp.rs",
     "if are_whole_seconds {", "if false {", [UNITS, C_ABI, FILE_SYSTEMS]),
    ("Files", "a replaced file of the same size is not noticed", "src/load/stamp.rs",
     "Identity::from(&metadata) == self.identity", "metadata.size() == self.identity.size", [UNITS]),
    ("Files", "the age of a file is taken after it was read, not before", "src/load/file.rs",
     "is_local && after.is_settled(now)", "is_local && after.is_settled(SystemTime::now())", [C_ABI]),
    ("Files", "times are trusted on every file system", "src/load/file.rs",
     "is_local && after.is_settled(now)", "after.is_settled(now)", [C_ABI, FILE_SYSTEMS]),
    ("Files", "the attributes that the kernel has cached are not refreshed", "src/load/file.rs",
     "        file_system::refresh(file);\n", "", [FILE_SYSTEMS]),
    ("Files", "a wrong size counts as a change on every file system", "src/load/file.rs",
     "(!is_local && last_text", "(false && last_text", [UNITS, C_ABI, FILE_SYSTEMS]),
    ("Files", "a file that was truncated while it was read is accepted", "src/load/file.rs",
     "before == after && after.size == text.len() as u64", "before == after", [C_ABI]),
    ("Files", "an open does not wait for the end of a lease", "src/load/file.rs",
     "if error.kind() == ErrorKind::WouldBlock)", "if error.kind() == ErrorKind::WouldBlock && false)",
     [C_ABI, FILE_SYSTEMS]),
    ("Files", "an open waits for a FIFO that replaced a file with a lease", "src/load/file.rs",
     "open_with(Path::new(&held_path), libc::O_NOCTTY)", "open_with(path, libc::O_NOCTTY)", [C_ABI]),
    ("Files", "a name that is too long is a failure, not \"not found\"", "src/load/file.rs",
     " | libc::ENAMETOOLONG)", ")", [UNITS, C_ABI]),
    ("Files", "an unchanged file may be longer than the limit", "src/load/answer.rs",
     "manifest.len() as u64 <= self.largest && ", "", [OPTIONS]),
    ("Files", "an unchanged manifest may be longer than the limit", "src/load/answer.rs",
     "Some(cached) if cached.manifest.len() as u64 > self.largest", "Some(_) if false", [OPTIONS]),
    ("Files", "a scope may lead out of the directory", "src/load/directory.rs",
     "is_plain(scope.as_bytes()) && ", "", [UNITS, C_ABI]),
    ("Files", "a file name may lead out of the directory", "src/load/directory.rs",
     "!is_plain(name.as_encoded_bytes())", "false", [UNITS, C_ABI]),
    ("Bounds", "the cache holds one entry more than the bound", "src/entries/ledger.rs",
     "entries: (bounds.entries - 1).saturating_add(old.entries),", "entries: bounds.entries.saturating_add(old.entries),", [UNITS, OPTIONS, MODEL, SHUTTLE]),
    ("Bounds", "a hit does not mark its entry as used", "src/manifest/mod.rs",
     "            is_used.store(true, Ordering::Relaxed);\n", "            let _ = is_used;\n", [UNITS, OPTIONS]),
    ("Logging", "a logger receives messages about its own calls", "src/logger.rs",
     "|| IS_LOGGING.with(|logging| logging.replace(true))", "|| IS_LOGGING.with(|logging| logging.replace(false))", [UNITS]),
    ("Headers", "the classes set an option to a negative value", "include/manifest_cache.hpp",
     "if (value < 0)", "if (false)", [C_ABI]),
    ("Headers", "the classes set an option to a bool", "include/manifest_cache.hpp",
     " && !std::is_same_v<Value, bool>", "", [C_ABI]),
    ("Headers", "the classes pass NULL for an empty view", "include/manifest_cache.hpp",
     'text.data() == nullptr ? "" : text.data()', "text.data()", [C_ABI]),
    ("Headers", "the classes read an id up to its NUL without exceptions", "include/manifest_cache.hpp",
     "        return has_nul;", "        return false;", [DIALECTS]),
    ("Headers", "the C header has comments that C89 does not have", "build.rs",
     'format!("{code}/* {comment} */\\n")', 'format!("{code}// {comment}\\n")', [DIALECTS]),
    ("R18", "values end under the cache's lock", "src/cache/core.rs",
     "        Removed(self.0.take().map_or_else(Vec::new, |mut state| state.ledger.take_removed()))\n",
     "        drop(self.0.as_mut().map(|state| state.ledger.take_removed()));\n"
     "        self.0 = None;\n        Removed(Vec::new())\n", [VALUES_MODEL]),
    ("R18", "threads are not told that manifests with values were removed", "src/cache/core.rs",
     "            count_removal();\n", "", [VALUES_MODEL]),
    ("R18", "threads are told before the manifests are marked as removed", "src/cache/core.rs",
     "            count_removal();\n",
     "            self.0.iter().for_each(|manifest| manifest.set_removed(false));\n"
     "            count_removal();\n            crate::sync::yield_now();\n"
     "            self.0.iter().for_each(|manifest| manifest.set_removed(true));\n", [VALUES_MODEL]),
    ("R18", "a thread that is told keeps what was removed", "src/entries/magazine.rs",
     "if stock.places[at].spares.is_removed_with_value() {", "if false {", [VALUES_MODEL]),
    ("R18", "a thread begins to keep what was removed while it looked", "src/cache/get.rs",
     "if it.is_removed_with_value() {", "if false {", [VALUES_MODEL]),
    ("R18", "a value is destroyed twice", "src/manifest/value.rs",
     "            unsafe { destroy(self.value) };\n",
     "            unsafe { destroy(self.value) };\n            unsafe { destroy(self.value) };\n", [VALUES]),
    ("R18", "a value is never destroyed", "src/manifest/value.rs",
     "unsafe { destroy(self.value) };", "let _ = destroy;", [VALUES]),
    ("R18", "what a magazine replaces ends while the thread's data is borrowed", "src/entries/stock.rs",
     "let_go.extend(spares.drop_unless_last());", "drop(spares);", [VALUES]),
    ("R18", "a value that is attached after the removal stays with its thread", "src/manifest/value.rs",
     "Ok(_) if hot.is_removed.load(order) =>", "Ok(_) if false =>", [VALUES]),
    ("R18", "what was removed without a value is dropped under the lock", "src/entries/store.rs",
     "        self.removed.push(manifest);\n",
     "        if manifest.has_value() {\n            self.removed.push(manifest);\n        }\n", [UNITS]),
    ("R18", "a cache that is dropped tells no thread", "src/cache/core.rs",
     "self.lock().ledger.remove_all(&self.store);", "drop(self.lock());", [RUST]),
    ("R18", "a string that goes back to a thread's stock lets go of nothing", "src/local.rs",
     "if local.is_behind() { Err(manifest) }", "if false { Err(manifest) }", [VALUES]),
    ("R18", "a value is taken for one of another type", "src/capi/string.rs",
     "Value::Host(host) if host.kind == kind =>", "Value::Host(host) =>", [VALUES]),
    ("R18", "the classes decode at each get", "include/manifest_cache.hpp",
     "if (manifest.value<T>() == nullptr) {", "if (true) {", [DECODED]),
    ("R18", "the classes decode after the load", "include/manifest_cache.hpp",
     "text.data() && !answer.has_value<T>())", "text.data() && false)", [DECODED]),
    ("R15", "all new stores have the same versions", "src/entries/store.rs",
     "let first = next_versions(count as u64);", "let first = next_versions(count as u64) * 0 + 1;", [UNITS]),
]


def mutated(name, old, new):
    text = (ROOT / name).read_text()
    if text.count(old) != 1:
        sys.exit(f"{name} does not have this once: {old!r}")
    return text.replace(old, new)


def failures(copy, tests, limit=120):
    """The tests that fail within a limit in seconds, or what else went wrong."""
    environment = dict(os.environ, SCHEDULES="5000")
    command = ["cargo", "test", "--quiet", "--target-dir", str(copy / "target"), *tests.split()]
    if tests.startswith(SHUTTLE):
        environment |= {"RUSTFLAGS": "--cfg shuttle", "CARGO_PROFILE_RELEASE_LTO": "off"}
        command = command[:3] + ["--release", "--target-dir", str(copy / "target/shuttle"), *tests.split()]
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return ["(no end within two minutes)"]
    output = run.stdout + run.stderr
    if "could not compile" in output:
        sys.exit(output)
    if run.returncode == 0:
        return []
    named = sorted(set(re.findall(r"^    (?:\w+::)*(\w+)$", output, re.MULTILINE)))
    return [f"`{name}`" for name in named] or [re.findall(r"signal: \d+, \w+|$", output)[0] or "(the process ended)"]


def main():
    words = sys.argv[1:]
    if words == ["--check"]:
        for _, _, name, old, new, _ in MUTANTS:
            mutated(name, old, new)
        print(f"all {len(MUTANTS)} broken variants can be made")
        return
    chosen = [mutant for mutant in MUTANTS if not words or any(word in " ".join(mutant[:2]) for word in words)]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git", "build", "corpus"))
        for suite in {suite for *_, suites in chosen for suite in suites}:
            if failures(copy, suite, limit=None):
                sys.exit(f"{suite} fails without a broken variant")
        for rule, what, name, old, new, suites in chosen:
            (copy / name).write_text(mutated(name, old, new))
            # The first suite that notices is enough.
            caught = next(filter(None, (failures(copy, suite) for suite in suites)), [])
            (copy / name).write_text((ROOT / name).read_text())
            missed += not caught
            shown = ", ".join(caught[:4]) + (f" and {len(caught) - 4} more" if len(caught) > 4 else "")
            print(f"| {rule} | {what} | {shown or '**nobody**'} |", flush=True)
    sys.exit(f"{missed} broken variants were not noticed" if missed else 0)


main()
