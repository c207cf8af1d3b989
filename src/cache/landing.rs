//! How a load ends: what it leaves in the cache, and what everyone who waits is told.

use super::Cache;
use crate::clock::{Nanos, from_millis};
use crate::error::{Error, Status};
use crate::file::Stamp;
use crate::flight::{Flight, Got, Outcome};
use crate::json::Members;
use crate::ledger::{Bounds, Ledger};
use crate::load::{Brought, Cached, Load, failed};
use crate::manifest::Manifest;
use crate::options::CacheOption;
use crate::store::Entry;
use std::sync::Arc;

/// A load that this call leads: let the loader answer `load`, then `land`. Dropped instead, as when
/// an exception unwinds, it lands as failed (R11).
pub(crate) struct Lead<'c> {
    cache: &'c Cache,
    flight: Arc<Flight>,
    expired: Option<Entry>,
    began_at: Nanos,
    has_landed: bool,
    pub(crate) load: Load,
}

impl<'c> Lead<'c> {
    pub(super) fn new(
        cache: &'c Cache,
        flight: Arc<Flight>,
        expired: Option<Entry>,
        stamp: Option<Stamp>,
    ) -> Self {
        let cached =
            expired.as_ref().map(|entry| Cached { manifest: entry.manifest.clone(), stamp });
        let load = Load::new(
            flight.id().clone(),
            cache.options.get(CacheOption::MaxManifestBytes),
            cached,
        );
        let lead =
            Lead { cache, flight, expired, began_at: cache.clock.now(), has_landed: false, load };
        cache.log_lead(lead.flight.id(), lead.expired.is_some());
        lead
    }

    pub(crate) fn land(mut self) -> Outcome {
        let answer = self.load.take_answer();
        let outcome = self.cache.land(&self, answer);
        self.has_landed = true;
        self.cache.log_landing(self.flight.id(), &outcome);
        outcome
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            // Tells no logger, as an exception is on its way.
            let thrown = Err(failed(
                self.flight.id(),
                "the loader threw an exception; its own caller has it",
            ));
            drop(self.cache.land(self, thrown));
        }
    }
}

impl Cache {
    /// Ends a load: stores what it brought, unless it was fenced, and answers those waiting.
    fn land(&self, lead: &Lead, answer: Result<Brought, Error>) -> Outcome {
        let now = self.clock.now();
        self.counters.load_time_ns.add(now - lead.began_at);
        self.count(&answer);
        let mut state = self.state.lock();
        // A fenced load changes nothing, but its caller and those already waiting get its outcome.
        let is_unfenced = state.departures.take(&lead.flight);
        let ledger = is_unfenced.then_some(&mut state.ledger);
        if ledger.is_none() {
            self.counters.discarded.add(1);
        }
        let outcome = match answer {
            Ok(Brought::New(manifest, members, stamp)) => {
                if let Some(ledger) = ledger {
                    self.keep(
                        ledger,
                        manifest.clone(),
                        members,
                        self.ttl(lead.load.own_ttl_ms()),
                        stamp,
                        now,
                    );
                }
                Ok(manifest.into())
            }
            Ok(Brought::Unchanged(manifest, stamp)) => {
                if let Some(ledger) = ledger {
                    let own = lead
                        .expired
                        .as_ref()
                        .filter(|entry| entry.has_own_ttl)
                        .map(|entry| (entry.ttl(), true));
                    let ttl = match lead.load.own_ttl_ms() {
                        None => own.unwrap_or_else(|| self.ttl(None)),
                        given => self.ttl(given),
                    };
                    self.keep(ledger, manifest.clone(), Members::Some, ttl, stamp, now);
                }
                Ok(manifest.into())
            }
            Err(error) => self.land_without(lead, ledger, error, now),
        };
        drop(state);
        lead.flight.land(outcome.clone());
        outcome
    }

    /// A load that brought nothing leaves nothing, but for what a option keeps.
    fn land_without(
        &self,
        lead: &Lead,
        ledger: Option<&mut Ledger>,
        error: Error,
        now: Nanos,
    ) -> Outcome {
        let id = lead.flight.id();
        let is_trouble = error.status() != Status::NotFound;
        let stale = lead
            .expired
            .as_ref()
            .filter(|entry| is_trouble && self.serves(CacheOption::StaleIfErrorMs, entry, now));
        if let Some(ledger) = ledger {
            match stale {
                // Unless it was purged or evicted meanwhile.
                Some(_) if self.store.peek(id, |_| ()).is_some() => {
                    ledger.note_trouble(
                        id,
                        now.saturating_add(self.options.time(CacheOption::RetryMs)),
                        error.clone(),
                    );
                }
                _ => drop(ledger.remove(&self.store, id)),
            }
            let negative_ttl = self.options.time(CacheOption::NegativeTtlMs);
            if !is_trouble && negative_ttl > 0 {
                self.store_within_bounds(
                    ledger,
                    Entry::new(Manifest::not_found(id), now, negative_ttl, true),
                    None,
                    now,
                );
            }
        }
        match stale {
            Some(entry) => {
                Ok(Got { manifest: entry.manifest.clone(), stale: Some(error.as_stale()) })
            }
            None => Err(error),
        }
    }

    /// Stores a manifest, if it is one to store.
    pub(super) fn keep(
        &self,
        ledger: &mut Ledger,
        manifest: Manifest,
        members: Members,
        ttl: (Nanos, bool),
        stamp: Option<Stamp>,
        now: Nanos,
    ) {
        let (ttl, is_own) = ttl;
        if members == Members::None || ttl == 0 {
            ledger.remove(&self.store, manifest.id());
        } else {
            self.store_within_bounds(ledger, Entry::new(manifest, now, ttl, is_own), stamp, now);
        }
    }

    fn store_within_bounds(
        &self,
        ledger: &mut Ledger,
        entry: Entry,
        stamp: Option<Stamp>,
        now: Nanos,
    ) {
        let evicted = ledger.store(&self.store, entry, stamp, self.bounds(), now);
        self.counters.evictions.add(evicted as u64);
    }

    /// A time to live, and whether it is a manifest's own.
    pub(super) fn ttl(&self, own_ms: Option<u64>) -> (Nanos, bool) {
        own_ms.map_or((self.options.time(CacheOption::TtlMs), false), |ms| (from_millis(ms), true))
    }

    pub(super) fn bounds(&self) -> Bounds {
        let bound = |option| match self.options.get(option) {
            0 => usize::MAX,
            bound => usize::try_from(bound).unwrap_or(usize::MAX),
        };
        Bounds { entries: bound(CacheOption::MaxEntries), bytes: bound(CacheOption::MaxBytes) }
    }

    fn count(&self, answer: &Result<Brought, Error>) {
        match answer {
            Ok(Brought::New(..)) => {}
            Ok(Brought::Unchanged(..)) => self.counters.unchanged.add(1),
            Err(error) if error.status() == Status::NotFound => self.counters.not_found.add(1),
            Err(_) => self.counters.load_failures.add(1),
        }
    }
}
