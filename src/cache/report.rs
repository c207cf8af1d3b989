//! The statistics and the entries of a cache.

use super::core::Cache;
use crate::clock::{NEVER, Nanos};
use crate::entries::store::{Entry, Snapshot};
use crate::options::CacheOption;
use crate::stats::{Held, Stat, Stats};
use serde_json::Value;

impl Cache {
    /// All statistics. The number of entries, their bytes and how many of them have expired are of
    /// one moment.
    pub fn stats(&self) -> Stats {
        let moment = {
            let ledger = &self.lock().ledger;
            Moment {
                entries: ledger.entries as u64,
                bytes: ledger.bytes as u64,
                ttl_ms: self.options.get(CacheOption::TtlMs),
                snapshot: ledger.snapshot(&self.store),
                now: self.coarse_now(),
            }
        };
        Stats::collect(&self.counters, &moment)
    }

    /// One statistic. This is cheaper than [`Cache::stats`].
    pub fn stat(&self, stat: Stat) -> u64 {
        self.counters.get(stat, self)
    }

    /// The entries that the cache holds, in no particular order.
    pub fn entries(&self) -> Vec<EntryReport> {
        let snapshot = self.lock().ledger.snapshot(&self.store);
        let (now, coarse_now) = (self.clock.now(), self.coarse_now());
        let report = |entry: &Entry| EntryReport {
            plugin_id: entry.manifest.id().to_owned(),
            age_ms: now.saturating_sub(entry.stored_at) / 1_000_000,
            ttl_ms: if entry.ttl == NEVER { u64::MAX } else { entry.ttl / 1_000_000 },
            bytes: entry.manifest.len(),
            revision: entry.manifest.revision(),
            expired: !entry.is_fresh(coarse_now),
        };
        snapshot.entries().map(report).collect()
    }

    /// The entries as a JSON array.
    pub(crate) fn entries_json(&self) -> String {
        let entries: Vec<String> = self.entries().iter().map(EntryReport::to_json).collect();
        format!("[{}]", entries.join(","))
    }
}

/// For [`Cache::stat`]: each number is taken when it is asked for, so it costs no more than it
/// needs.
impl Held for Cache {
    fn entries(&self) -> u64 {
        self.lock().ledger.entries as u64
    }

    fn expired_entries(&self) -> u64 {
        let snapshot = self.lock().ledger.snapshot(&self.store);
        count_expired(&snapshot, self.coarse_now())
    }

    fn bytes(&self) -> u64 {
        self.lock().ledger.bytes as u64
    }

    fn ttl_ms(&self) -> u64 {
        self.options.get(CacheOption::TtlMs)
    }
}

/// For [`Cache::stats`]: the numbers of one moment.
struct Moment {
    entries: u64,
    bytes: u64,
    ttl_ms: u64,
    snapshot: Snapshot,
    now: Nanos,
}

impl Held for Moment {
    fn entries(&self) -> u64 {
        self.entries
    }

    fn expired_entries(&self) -> u64 {
        count_expired(&self.snapshot, self.now)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }
}

fn count_expired(snapshot: &Snapshot, now: Nanos) -> u64 {
    snapshot.entries().filter(|entry| !entry.is_fresh(now)).count() as u64
}

/// An entry of a cache at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EntryReport {
    /// The id of the plugin.
    pub plugin_id: String,
    /// Milliseconds since it was stored or renewed.
    pub age_ms: u64,
    /// Its time to live in milliseconds; `u64::MAX` is for ever.
    pub ttl_ms: u64,
    /// Length of the manifest in bytes, 0 for a remembered "not found" or failure.
    pub bytes: usize,
    /// Revision of the manifest, 0 for a remembered "not found" or failure.
    pub revision: u64,
    /// Whether its time to live is over.
    pub expired: bool,
}

impl EntryReport {
    /// The entry as a JSON object.
    pub fn to_json(&self) -> String {
        let id = Value::from(self.plugin_id.as_str());
        let ttl_ms = if self.ttl_ms == u64::MAX { Value::Null } else { self.ttl_ms.into() };
        format!(
            "{{\"plugin_id\":{id},\"age_ms\":{},\"ttl_ms\":{ttl_ms},\"bytes\":{},\
             \"revision\":{},\"expired\":{}}}",
            self.age_ms, self.bytes, self.revision, self.expired
        )
    }
}
