//! The messages that a cache sends to its logger.

use super::core::Cache;
use crate::clock::NEVER;
use crate::error::{Elided, Status};
use crate::load::outcome::{Fetched, Outcome};
use crate::logger::Level;
use std::time::Duration;

impl Cache {
    #[cold]
    pub(super) fn log_hit(&self, id: &str) {
        if let Some(entry) = self.described(id) {
            let id = Elided(id);
            self.logger.log(Level::Debug, format_args!("Cache hit for manifest '{id}' ({entry})"));
        }
    }

    pub(super) fn log_begin(&self, id: &str, has_expired: bool) {
        let id = Elided(id);
        if has_expired {
            self.logger
                .log(Level::Debug, format_args!("Cache expired for manifest '{id}', reloading"));
        }
        self.logger.log(Level::Debug, format_args!("Loading manifest '{id}' from disk"));
    }

    pub(super) fn log_end(&self, id: &str, outcome: &Outcome) {
        match outcome {
            Ok(Fetched { stale: Some(error), .. }) => self.logger.log(Level::Error, error),
            Err(error) if error.status() != Status::NotFound => {
                self.logger.log(Level::Error, error);
            }
            Err(_) => {}
            Ok(fetched) => self.log_cached(id, fetched.manifest.revision()),
        }
    }

    /// Logs that a manifest was cached, unless it was not, as when its load was fenced.
    fn log_cached(&self, id: &str, revision: u64) {
        let is_cached = || self.store.peek(id, |entry| entry.manifest.revision()) == Some(revision);
        if let Some(entry) = self.described(id).filter(|_| is_cached()) {
            let id = Elided(id);
            self.logger.log(Level::Debug, format_args!("Cached manifest '{id}' ({entry})"));
        }
    }

    /// An entry as messages show it; none if the logger does not want debug messages.
    fn described(&self, id: &str) -> Option<String> {
        if !self.logger.wants(Level::Debug) {
            return None;
        }
        let now = self.clock.now();
        self.store.peek(id, |entry| {
            let age = Duration::from_nanos(now.saturating_sub(entry.stored_at())).as_secs_f64();
            let ttl = Duration::from_nanos(entry.ttl()).as_secs_f64();
            if entry.ttl() == NEVER {
                format!("CacheEntry(age={age:.1}s)")
            } else {
                format!("CacheEntry(age={age:.1}s, ttl={ttl}s)")
            }
        })
    }
}
