//! A load in progress, from its begin to its end: what it stores, and what all who wait are told.

use super::core::Cache;
use crate::clock::Nanos;
use crate::entries::entry::Entry;
use crate::entries::ledger::{Backoff, Ledger};
use crate::error::{Error, Status};
use crate::load::answer::{Answer, Cached, Load, failed};
use crate::load::in_flight::InFlight;
use crate::load::json::Members;
use crate::load::outcome::{Fetched, Outcome};
use crate::load::stamp::Stamp;
use crate::options::{CacheOption, Ttl};
use crate::stats::Stat;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A load that has begun, from [`Cache::begin`]: answer it as the [`Load`] that it is, then call
/// [`LoadGuard::end`]. Both may happen on any thread.
///
/// A guard that is dropped instead, for instance because a panic unwinds, ends the load as failed
/// (R11).
pub struct LoadGuard<C: Deref<Target = Cache> = Arc<Cache>> {
    cache: C,
    start: Start,
    began_at: Nanos,
    /// Whether a loader answers, which the cache calls.
    has_loader: bool,
    has_ended: bool,
    load: Load,
}

/// What the cache knows of a load when it begins.
pub(super) struct Start {
    pub(super) in_flight: Arc<InFlight>,
    /// The entry that this load is to replace.
    pub(super) expired: Option<Entry>,
    /// The stamp of the file that the entry came from.
    pub(super) stamp: Option<Stamp>,
    /// By how much the cache's time had been advanced when `expired` was found.
    pub(super) advanced: Nanos,
}

impl<C: Deref<Target = Cache>> LoadGuard<C> {
    pub(super) fn new(cache: C, mut start: Start) -> Self {
        let manifest = |entry: &Entry| (!entry.has_no_manifest()).then(|| entry.manifest.clone());
        let cached = start.expired.as_ref().and_then(manifest);
        let stamp = start.stamp.take();
        let cached = cached.map(|manifest| Cached { manifest, stamp });
        let largest = cache.options.get(CacheOption::MaxManifestBytes);
        let node = start.in_flight.node().clone();
        let load = Load::new(node, largest, cache.options.syntax(), cached);
        let began_at = cache.clock.awake_now();
        let (has_loader, has_ended) = (false, false);
        let guard = LoadGuard { cache, start, began_at, has_loader, has_ended, load };
        // Last, so that the load ends if the logger panics.
        guard.cache.log_begin(guard.id(), guard.load.cached().is_some());
        guard
    }

    /// From now on a loader answers, which the cache calls.
    pub(crate) fn leave_to_loader(&mut self) {
        self.has_loader = true;
    }

    fn id(&self) -> &Arc<str> {
        self.start.in_flight.id()
    }

    /// Ends the load with its answer. First the cache stores it, then the waiting threads wake,
    /// then the asynchronous waits are told, in the order in which they joined.
    ///
    /// # Errors
    /// As for [`Cache::get`].
    pub fn end(mut self) -> Result<Fetched, Error> {
        let answer = if self.load.is_of(self.id()) {
            self.load.take_answer()
        } else {
            let what = "the loader swapped its load with another one; answer the load it was given";
            Err(failed(self.id(), what))
        };
        let outcome = self.end_with(answer);
        self.cache.log_end(self.id(), &outcome);
        outcome
    }

    /// Stores the answer, unless the load was fenced, and gives the outcome to all who wait.
    fn end_with(&mut self, answer: Result<Answer, Error>) -> Outcome {
        self.has_ended = true;
        let cache = &*self.cache;
        self.count(&answer);
        let takes_effect = answer.as_ref().map_or_else(is_not_found, |_| true);
        let mut state = cache.lock();
        let now = cache.clock.now();
        self.start.expired = self.start.expired.take().map(|entry| self.aged(&entry));
        if state.in_flight.end(&self.start.in_flight, takes_effect) {
            self.store(&mut state.ledger, &answer, now);
        } else {
            cache.counters.add(Stat::Discarded, 1);
        }
        let removed = state.unlock();
        let outcome = self.outcome(answer, now);
        self.start.in_flight.end(outcome.clone());
        drop(removed);
        outcome
    }

    /// The entry as it is now, if the cache's time was advanced during the load.
    fn aged(&self, entry: &Entry) -> Entry {
        entry.aged(self.cache.advanced().wrapping_sub(self.start.advanced))
    }

    fn count(&self, answer: &Result<Answer, Error>) {
        let counters = &self.cache.counters;
        counters.add(Stat::LoadTimeMs, self.cache.clock.awake_now() - self.began_at);
        match answer {
            Ok(Answer::New { .. }) => {}
            Ok(Answer::Unchanged { .. }) => counters.add(Stat::Unchanged, 1),
            Err(error) if is_not_found(error) => counters.add(Stat::NotFound, 1),
            Err(_) => counters.add(Stat::LoadFailures, 1),
        }
    }

    /// Changes the store as the answer says.
    fn store(&self, ledger: &mut Ledger, answer: &Result<Answer, Error>, now: Nanos) {
        let (cache, own_ms) = (&*self.cache, self.load.own_ttl_ms());
        match answer {
            Ok(Answer::New { manifest, members, stamp }) => {
                let ttl = cache.options.ttl(own_ms);
                cache.keep(ledger, manifest.clone(), *members, ttl, stamp.clone(), now);
            }
            Ok(Answer::Unchanged { manifest, stamp }) => {
                let ttl = self.renewed_ttl(own_ms);
                cache.keep(ledger, manifest.clone(), Members::Some, ttl, stamp.clone(), now);
            }
            Err(error) if is_not_found(error) => {
                self.remember(ledger, error, CacheOption::NegativeTtlMs, now);
            }
            Err(error) => self.store_failure(ledger, error, now),
        }
    }

    /// The time to live of a manifest that is unchanged: a new one that the loader gave it, or the
    /// one it was given before.
    fn renewed_ttl(&self, own_ms: Option<u64>) -> Ttl {
        let before = || self.start.expired.as_ref().and_then(Entry::own_ttl);
        own_ms.is_none().then(before).flatten().unwrap_or_else(|| self.cache.options.ttl(own_ms))
    }

    /// Replaces the plugin's entry by the memory of an error, if an option says how long that
    /// lasts.
    fn remember(&self, ledger: &mut Ledger, error: &Error, ttl: CacheOption, now: Nanos) {
        let (cache, id) = (&*self.cache, self.id());
        // With a time to live of 0 the loader wants nothing of this load to be cached.
        let is_forbidden = self.load.own_ttl_ms() == Some(0);
        match if is_forbidden { 0 } else { cache.options.time(ttl) } {
            0 => drop(ledger.remove(&cache.store, id)),
            ttl => {
                let entry = Entry::without_manifest(id, error, now, ttl);
                cache.store_within_bounds(ledger, entry, None, now);
            }
        }
    }

    /// A failure leaves no entry, or the expired one if an option allows it to be returned. It
    /// leaves alone what is not the entry that its load began with: another load stored that.
    fn store_failure(&self, ledger: &mut Ledger, error: &Error, now: Nanos) {
        let (cache, id) = (&*self.cache, self.id());
        let is_same = match &self.start.expired {
            Some(expired) => cache.store.peek(id, |entry| entry.is(expired)) == Some(true),
            None => cache.store.peek(id, |_| ()).is_none(),
        };
        if !is_same {
            return;
        }
        if self.stale(error, now).is_some() {
            let until = now.saturating_add(cache.options.time(CacheOption::RetryMs));
            ledger.back_off(id, Backoff { until, error: error.clone() });
        } else {
            self.remember(ledger, error, CacheOption::FailureTtlMs, now);
        }
    }

    /// What the caller of this load and all who wait for it are given.
    fn outcome(&self, answer: Result<Answer, Error>, now: Nanos) -> Outcome {
        match answer {
            Ok(Answer::New { manifest, .. } | Answer::Unchanged { manifest, .. }) => {
                Ok(manifest.into())
            }
            Err(error) => match self.stale(&error, now) {
                Some(entry) => {
                    Ok(Fetched { manifest: entry.manifest.clone(), stale: Some(error.as_stale()) })
                }
                None => Err(error),
            },
        }
    }

    /// The expired entry, if an option allows it to be returned after this failure.
    fn stale(&self, error: &Error, now: Nanos) -> Option<&Entry> {
        let allows = |entry: &&Entry| self.cache.allows(CacheOption::StaleIfErrorMs, entry, now);
        self.start.expired.as_ref().filter(|_| !is_not_found(error)).filter(allows)
    }
}

impl<C: Deref<Target = Cache>> Drop for LoadGuard<C> {
    fn drop(&mut self) {
        if !self.has_ended {
            // Without a message to the logger, as an exception may be unwinding.
            let what = match self.has_loader {
                true => "the loader threw an exception; its own caller has it",
                false => "its load was dropped before it ended; answer it and end it",
            };
            drop(self.end_with(Err(failed(self.id(), what))));
        }
    }
}

impl<C: Deref<Target = Cache>> Deref for LoadGuard<C> {
    type Target = Load;

    fn deref(&self) -> &Load {
        &self.load
    }
}

impl<C: Deref<Target = Cache>> DerefMut for LoadGuard<C> {
    fn deref_mut(&mut self) -> &mut Load {
        &mut self.load
    }
}

/// "Not found" is an answer; all other errors are failures.
fn is_not_found(error: &Error) -> bool {
    error.status() == Status::NotFound
}
