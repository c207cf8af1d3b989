//! The statistics and the entries of a cache.

use super::core::Cache;
use crate::clock::NEVER;
use crate::entries::entry::Entry;
use crate::entries::store::Totals;
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
                totals: self.store.totals(),
                ttl_ms: self.options.get(CacheOption::TtlMs),
                expired: ledger.count_expired(&self.store, self.coarse_now()) as u64,
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
        let all = self.lock().ledger.all(&self.store);
        let (now, coarse_now) = (self.clock.now(), self.coarse_now());
        let report = |entry: &Entry| EntryReport {
            plugin_id: entry.manifest.id().to_owned(),
            age_ms: now.saturating_sub(entry.stored_at()) / 1_000_000,
            ttl_ms: if entry.ttl() == NEVER { u64::MAX } else { entry.ttl() / 1_000_000 },
            bytes: entry.manifest.len(),
            revision: entry.manifest.revision(),
            expired: !entry.is_fresh(coarse_now),
        };
        all.iter().map(report).collect()
    }

    /// The entries as a JSON array.
    pub(crate) fn entries_json(&self) -> String {
        let entries: Vec<String> = self.entries().iter().map(EntryReport::to_json).collect();
        format!("[{}]", entries.join(","))
    }
}

impl Cache {
    /// Under the lock, because taking it first repairs what a forked child inherited.
    fn totals(&self) -> Totals {
        let _state = self.lock();
        self.store.totals()
    }
}

/// For [`Cache::stat`]: each number is taken when it is asked for, so it costs no more than it
/// needs.
impl Held for Cache {
    fn entries(&self) -> u64 {
        self.totals().entries as u64
    }

    fn expired_entries(&self) -> u64 {
        self.lock().ledger.count_expired(&self.store, self.coarse_now()) as u64
    }

    fn bytes(&self) -> u64 {
        self.totals().bytes as u64
    }

    fn ttl_ms(&self) -> u64 {
        self.options.get(CacheOption::TtlMs)
    }
}

/// For [`Cache::stats`]: the numbers of one moment.
struct Moment {
    totals: Totals,
    ttl_ms: u64,
    expired: u64,
}

impl Held for Moment {
    fn entries(&self) -> u64 {
        self.totals.entries as u64
    }

    fn expired_entries(&self) -> u64 {
        self.expired
    }

    fn bytes(&self) -> u64 {
        self.totals.bytes as u64
    }

    fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }
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
