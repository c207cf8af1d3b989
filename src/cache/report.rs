//! What a cache tells of itself: figures, entries, and messages.

use super::Cache;
use crate::clock::NEVER;
use crate::error::{Elided, Status};
use crate::flight::{Got, Outcome};
use crate::logger::Level;
use crate::options::CacheOption;
use crate::stats::{Stat, Stats};
use crate::store::Entry;
use std::time::Duration;

impl Cache {
    /// What the cache holds.
    pub fn entries(&self) -> Vec<EntryReport> {
        let snapshot = self.state.lock().ledger.snapshot(&self.store);
        let now = self.clock.now();
        let report = |entry: &Entry| EntryReport {
            plugin_id: entry.manifest.id().to_owned(),
            age_ms: now.saturating_sub(entry.stored_at) / 1_000_000,
            ttl_ms: if entry.ttl() == NEVER { u64::MAX } else { entry.ttl() / 1_000_000 },
            bytes: entry.manifest.len(),
            revision: entry.manifest.revision(),
            expired: !entry.is_fresh(now),
        };
        snapshot.entries().map(report).collect()
    }

    /// What the cache holds and what it has done so far.
    pub fn stats(&self) -> Stats {
        let (entries, bytes, snapshot) = {
            let state = self.state.lock();
            (state.ledger.entries, state.ledger.bytes, state.ledger.snapshot(&self.store))
        };
        let now = self.clock.coarse_now();
        Stats::collect(|stat| match stat {
            Stat::TotalEntries => entries as u64,
            Stat::ExpiredEntries => {
                snapshot.entries().filter(|entry| !entry.is_fresh(now)).count() as u64
            }
            Stat::Bytes => bytes as u64,
            stat => self.counted(stat),
        })
    }

    /// One statistic, without what the others cost.
    pub fn stat(&self, stat: Stat) -> u64 {
        match stat {
            Stat::TotalEntries => self.state.lock().ledger.entries as u64,
            Stat::Bytes => self.state.lock().ledger.bytes as u64,
            Stat::ExpiredEntries => self.stats().get(stat),
            stat => self.counted(stat),
        }
    }

    fn counted(&self, stat: Stat) -> u64 {
        let counters = &self.counters;
        match stat {
            Stat::TtlMs => self.options.get(CacheOption::TtlMs),
            Stat::Hits => counters.hits.get(),
            Stat::StaleHits => counters.stale_hits.get(),
            Stat::NegativeHits => counters.negative_hits.get(),
            Stat::Misses => counters.misses.get(),
            Stat::Waits => counters.waits.get(),
            Stat::Timeouts => counters.timeouts.get(),
            Stat::Loads => counters.loads.get(),
            Stat::LoadFailures => counters.load_failures.get(),
            Stat::NotFound => counters.not_found.get(),
            Stat::Unchanged => counters.unchanged.get(),
            Stat::Discarded => counters.discarded.get(),
            Stat::Evictions => counters.evictions.get(),
            Stat::LoadTimeMs => counters.load_time_ns.get() / 1_000_000,
            Stat::TotalEntries | Stat::ExpiredEntries | Stat::Bytes => {
                unreachable!("these are not counted as they go")
            }
        }
    }

    #[cold]
    pub(super) fn log_hit(&self, id: &str) {
        if let Some(entry) = self.described_for(Level::Debug, id) {
            self.logger.log(
                Level::Debug,
                format_args!("Cache hit for manifest '{}' ({entry})", Elided(id)),
            );
        }
    }

    pub(super) fn log_lead(&self, id: &str, has_expired: bool) {
        let id = Elided(id);
        if has_expired {
            self.logger
                .log(Level::Debug, format_args!("Cache expired for manifest '{id}', reloading"));
        }
        self.logger.log(Level::Debug, format_args!("Loading manifest '{id}' from disk"));
    }

    pub(super) fn log_landing(&self, id: &str, outcome: &Outcome) {
        match outcome {
            Ok(Got { stale: Some(error), .. }) => self.logger.log(Level::Error, error),
            Err(error) if error.status() != Status::NotFound => {
                self.logger.log(Level::Error, error)
            }
            Err(_) => {}
            Ok(got) => self.log_cached(id, got.manifest.revision()),
        }
    }

    /// Tells that a manifest was cached, if it was: a fenced one was not.
    fn log_cached(&self, id: &str, revision: u64) {
        let is_cached = || self.store.peek(id, |entry| entry.manifest.revision()) == Some(revision);
        if let Some(entry) = self.described_for(Level::Debug, id).filter(|_| is_cached()) {
            self.logger
                .log(Level::Debug, format_args!("Cached manifest '{}' ({entry})", Elided(id)));
        }
    }

    /// An entry as the messages have it, if anyone wants messages.
    fn described_for(&self, level: Level, id: &str) -> Option<String> {
        if !self.logger.wants(level) {
            return None;
        }
        let now = self.clock.now();
        self.store.peek(id, |entry| {
            let age = Duration::from_nanos(now.saturating_sub(entry.stored_at)).as_secs_f64();
            let ttl = Duration::from_nanos(entry.ttl()).as_secs_f64();
            if entry.ttl() == NEVER {
                format!("CacheEntry(age={age:.1}s)")
            } else {
                format!("CacheEntry(age={age:.1}s, ttl={ttl}s)")
            }
        })
    }
}

/// An entry of a cache, as it was at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EntryReport {
    /// The plugin.
    pub plugin_id: String,
    /// Milliseconds since it was stored or renewed.
    pub age_ms: u64,
    /// Its time to live in milliseconds; `u64::MAX` is for ever.
    pub ttl_ms: u64,
    /// Length of the manifest, 0 for a remembered "not found".
    pub bytes: usize,
    /// Revision of the manifest, 0 for a remembered "not found".
    pub revision: u64,
    /// Whether its time to live is over.
    pub expired: bool,
}
