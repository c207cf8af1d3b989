//! An entry of the cache: a manifest, or that there is none, and how long that is fresh.

use crate::clock::{NEVER, Nanos, earlier};
use crate::error::{Error, Quoted, Status};
use crate::manifest::{Manifest, Times};
use crate::options::Ttl;
use std::sync::Arc;

/// An entry as it is, or was, at one moment.
///
/// While it is in the store, its manifest keeps the times itself, so that a hit finds both in one
/// place.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) manifest: Manifest,
    times: Times,
}

/// How many bytes an entry occupies besides its manifest, its id and its message: its places in the
/// store, in the order of eviction and in what is remembered beside it. The header states it.
const OVERHEAD: usize = 384;

impl Entry {
    pub(crate) fn new(manifest: Manifest, now: Nanos, ttl: Ttl) -> Self {
        let expires_at = now.saturating_add(ttl.span);
        let span = if expires_at == NEVER { NEVER } else { ttl.span };
        let times = Times { stored_at: now, expires_at, ttl: span, has_own_ttl: ttl.is_own };
        Entry { manifest, times }
    }

    /// Remembers that there is no such plugin, or that its load failed.
    pub(crate) fn without_manifest(id: &str, error: &Error, now: Nanos, ttl: Nanos) -> Self {
        let is_failure = error.status() != Status::NotFound;
        let failure = is_failure.then(|| Arc::new(error.clone()));
        Entry::new(Manifest::none(id, failure), now, Ttl { span: ttl, is_own: true })
    }

    /// The entry that a stored manifest is.
    pub(super) fn of(manifest: &Manifest) -> Self {
        Entry { manifest: manifest.clone(), times: manifest.times() }
    }

    /// Makes the manifest, which is about to be stored, keep the times.
    pub(super) fn set_times(&self) {
        self.manifest.set_times(self.times);
    }

    pub(crate) fn stored_at(&self) -> Nanos {
        self.times.stored_at
    }

    pub(crate) fn expires_at(&self) -> Nanos {
        self.times.expires_at
    }

    pub(crate) fn ttl(&self) -> Nanos {
        self.times.ttl
    }

    /// How many bytes the entry occupies.
    pub(crate) fn size(&self) -> usize {
        Self::size_of(&self.manifest)
    }

    pub(super) fn size_of(manifest: &Manifest) -> usize {
        // An entry that has a text has no failure, which is further away in memory.
        let failure = if manifest.is_empty() { manifest.failure() } else { None };
        let message = failure.map_or(0, |failure| failure.message().len());
        manifest.len() + manifest.id().len() + message + OVERHEAD
    }

    /// Expired is what is older than its time to live, not what has just reached it (R2).
    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now <= self.times.expires_at
    }

    /// Whether this remembers a "not found" or a failure in place of a manifest.
    pub(crate) fn has_no_manifest(&self) -> bool {
        self.manifest.is_empty()
    }

    /// The error that this entry remembers, if it has no manifest.
    pub(super) fn remembered(&self) -> Error {
        let id = Quoted(self.manifest.id());
        match self.manifest.failure() {
            Some(failure) => Error::clone(failure),
            None => {
                let why = "it was not found a short while ago, so the loader was not called";
                Error::new(Status::NotFound, format!("plugin {id}: {why}"))
            }
        }
    }

    /// The entry as it would be if it had been stored so much earlier.
    pub(crate) fn aged(&self, by: Nanos) -> Self {
        let stored_at = self.times.stored_at.saturating_sub(by);
        let expires_at = earlier(self.times.expires_at, by);
        let times = Times { stored_at, expires_at, ..self.times };
        Entry { manifest: self.manifest.clone(), times }
    }

    /// Whether this is that very entry, neither replaced nor renewed since.
    pub(crate) fn is(&self, other: &Entry) -> bool {
        self.manifest.is(&other.manifest) && self.times.stored_at == other.times.stored_at
    }

    /// The time to live that its loader gave it, if it gave one.
    pub(crate) fn own_ttl(&self) -> Option<Ttl> {
        self.times.has_own_ttl.then_some(Ttl { span: self.times.ttl, is_own: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_fresh_up_to_and_with_the_end_of_its_time() {
        let ttl = Ttl { span: 7, is_own: false };
        let entry = Entry::new(Manifest::new("a", "{}"), 3, ttl);
        assert!(entry.is_fresh(10) && !entry.is_fresh(11));
        entry.set_times();
        assert!(entry.manifest.is_fresh(10) && !entry.manifest.is_fresh(11));
    }
}
