//! The whole story: a hit, a miss, a wait, a clear.

use crate::clock::{Clock, NEVER, Nanos, from_millis};
use crate::error::{Error, Quoted, Status};
use crate::flight::{Departures, Flight, Outcome, Part, Waited};
use crate::fork::{self, Inherit};
use crate::json::Members;
use crate::load::{Found, Load, failed};
use crate::local::{self, Local};
use crate::manifest::Manifest;
use crate::policy::{Policies, Policy};
use crate::stats::{Counters, Stats};
use crate::store::{Holdings, Store};
use crate::sync::{Mutex, ThreadId};
use std::sync::Arc;
use std::time::Duration;

/// Manifests in memory, each for its time to live.
///
/// All methods may be called from any thread at any time, from within a loader too.
pub struct Cache {
    store: Store,
    state: Arc<Mutex<State>>,
    counters: Counters,
    policies: Policies,
    clock: Clock,
}

/// What the cache's one lock guards: every change of the store and of the flights happens under it.
struct State {
    held: Holdings,
    departures: Departures,
}

impl Inherit for State {
    fn inherit(&mut self, survivor: ThreadId) {
        self.departures.inherit(survivor);
    }
}

impl Cache {
    /// A new, empty cache. `Duration::MAX` keeps manifests for ever, `Duration::ZERO` keeps none.
    pub fn new(ttl: Duration) -> Self {
        Self::with_clock(ttl, Clock::system())
    }

    /// The same, with a clock of the caller's.
    pub fn with_clock(ttl: Duration, clock: Clock) -> Self {
        let state = Arc::new(Mutex::new(State { held: Holdings::default(), departures: Departures::new() }));
        fork::register(&state);
        Cache {
            store: Store::new(),
            state,
            counters: Counters::default(),
            policies: Policies::new(u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)),
            clock,
        }
    }

    /// Changes a policy from now on.
    pub fn set(&self, policy: Policy, value: u64) {
        self.policies.set(policy, value);
    }

    /// The manifest of a plugin, loaded if need be.
    ///
    /// A fresh manifest is returned at once (R1). Otherwise one caller runs its `loader`, with no lock held, and all who
    /// ask meanwhile wait and share its outcome (R7).
    ///
    /// # Errors
    /// What the loader answered or did not answer; [`Status::LoadCycle`] if waiting would never end;
    /// [`Status::Timeout`] if another thread's load takes too long.
    pub fn get(&self, plugin_id: &str, loader: impl FnOnce(&mut Load)) -> Result<Manifest, Error> {
        if let Some(manifest) = self.hit(plugin_id.as_bytes()) {
            return Ok(manifest);
        }
        match self.miss(plugin_id) {
            Turn::Done(outcome) => outcome,
            Turn::Lead(mut lead) => {
                loader(&mut lead.load);
                lead.land()
            }
        }
    }

    /// The fresh manifest of a plugin, if it is here; neither loads nor waits.
    ///
    /// # Errors
    /// [`Status::NotFound`] if it is not.
    pub fn look(&self, plugin_id: &str) -> Result<Manifest, Error> {
        self.hit(plugin_id.as_bytes()).ok_or_else(|| self.look_missed(plugin_id))
    }

    /// Forgets a plugin; says whether there was something to forget.
    ///
    /// A get that begins after this returned sees nothing of a load that began before (R8).
    pub fn clear(&self, plugin_id: &str) -> bool {
        let mut state = self.state.lock();
        state.departures.fence(plugin_id);
        self.store.remove(&mut state.held, plugin_id)
    }

    /// Forgets all plugins, in the same way; says how many entries went.
    pub fn clear_all(&self) -> usize {
        let mut state = self.state.lock();
        state.departures.fence_all();
        self.store.clear(&mut state.held)
    }

    /// What the cache holds and what it has done so far.
    pub fn stats(&self) -> Stats {
        let (entries, bytes, snapshot) = {
            let state = self.state.lock();
            (state.held.entries, state.held.bytes, self.store.snapshot(&state.held))
        };
        let now = self.clock.coarse_now();
        let counters = &self.counters;
        Stats {
            total_entries: entries as u64,
            expired_entries: snapshot.entries().filter(|entry| !entry.is_fresh(now)).count() as u64,
            ttl_ms: self.policies.get(Policy::TtlMs),
            hits: counters.hits.get(),
            misses: counters.misses.get(),
            loads: counters.loads.get(),
            load_failures: counters.load_failures.get(),
            not_found: counters.not_found.get(),
            waits: counters.waits.get(),
            discarded: counters.discarded.get(),
            load_time_ms: counters.load_time_ns.get() / 1_000_000,
            bytes: bytes as u64,
        }
    }

    /// A fresh entry's manifest, without a lock.
    pub(crate) fn hit(&self, id: &[u8]) -> Option<Manifest> {
        let now = self.clock.coarse_now();
        local::try_with(|local| self.hit_with(local, id, now)).unwrap_or_else(|| self.late_hit(id, now))
    }

    #[inline(always)]
    fn hit_with(&self, local: &mut Local, id: &[u8], now: Nanos) -> Option<Manifest> {
        let manifest = self.store.fresh(&mut local.magazine, id, now)?;
        self.counters.hits.increment(&mut local.lane);
        Some(manifest)
    }

    /// In a destructor that runs at thread exit, when what the thread kept is gone: what is kept now is lost at once.
    #[cold]
    fn late_hit(&self, id: &[u8], now: Nanos) -> Option<Manifest> {
        self.hit_with(&mut Local::new(), id, now)
    }

    /// Counts a look that found no fresh entry.
    pub(crate) fn look_missed(&self, id: &str) -> Error {
        self.counters.misses.add(1);
        Error::new(Status::NotFound, format!("plugin {}: not in the cache, and no loader was given", Quoted(id)))
    }

    /// Leads the load of a plugin that was not there, or waits for the one in progress.
    pub(crate) fn miss(&self, id: &str) -> Turn<'_> {
        let mut state = self.state.lock();
        // Someone may have stored it since.
        if let Some(manifest) = self.hit(id.as_bytes()) {
            return Turn::Done(Ok(manifest));
        }
        let part = state.departures.join_or_lead(id);
        drop(state);
        match part {
            Ok(Part::Lead(flight)) => {
                self.counters.misses.add(1);
                self.counters.loads.add(1);
                Turn::Lead(Lead::new(self, flight))
            }
            Ok(Part::Wait(flight)) => Turn::Done(self.wait(&flight)),
            Err(cycle) => {
                self.counters.misses.add(1);
                Turn::Done(Err(cycle))
            }
        }
    }

    fn wait(&self, flight: &Arc<Flight>) -> Outcome {
        let deadline = match self.policies.get(Policy::WaitMs) {
            0 => NEVER,
            ms => self.clock.now().saturating_add(from_millis(ms)),
        };
        let waited = flight.wait(&self.clock, deadline);
        match waited {
            Waited::Circle(_) => self.counters.misses.add(1),
            _ => self.counters.waits.add(1),
        }
        match waited {
            Waited::Landed(outcome) => outcome,
            Waited::Circle(cycle) => Err(cycle),
            Waited::TooLong(timeout) => {
                // The next get shall not wait for this one again.
                self.state.lock().departures.take(flight);
                Err(timeout)
            }
        }
    }

    /// Ends a load: stores what it brought, unless a clear came between, and answers those waiting.
    fn land(&self, lead: &Lead, answer: Result<Found, Error>) -> Outcome {
        let now = self.clock.now();
        self.counters.load_time_ns.add(now - lead.began_at);
        match &answer {
            Ok(_) => {}
            Err(error) if error.status() == Status::NotFound => self.counters.not_found.add(1),
            Err(_) => self.counters.load_failures.add(1),
        }
        let ttl_ms = self.policies.get(Policy::TtlMs);
        let mut state = self.state.lock();
        if state.departures.take(&lead.flight) {
            match &answer {
                Ok(found) if found.members == Members::Some && ttl_ms > 0 => {
                    let expires_at = now.saturating_add(from_millis(ttl_ms));
                    self.store.insert(&mut state.held, found.manifest.clone(), expires_at);
                }
                _ => drop(self.store.remove(&mut state.held, lead.flight.id())),
            }
        } else {
            self.counters.discarded.add(1);
        }
        drop(state);
        let outcome = answer.map(|found| found.manifest);
        lead.flight.land(outcome.clone());
        outcome
    }
}

/// What a call that found no fresh entry is to do.
pub(crate) enum Turn<'c> {
    Done(Outcome),
    Lead(Lead<'c>),
}

/// A load that this call leads: let the loader answer `load`, then `land`. Dropped instead, as when an exception unwinds,
/// it lands as failed (R11).
pub(crate) struct Lead<'c> {
    cache: &'c Cache,
    flight: Arc<Flight>,
    began_at: u64,
    has_landed: bool,
    pub(crate) load: Load,
}

impl<'c> Lead<'c> {
    fn new(cache: &'c Cache, flight: Arc<Flight>) -> Self {
        let load = Load::new(flight.id().clone(), cache.policies.get(Policy::MaxManifestBytes));
        Lead { cache, flight, began_at: cache.clock.now(), has_landed: false, load }
    }

    pub(crate) fn land(mut self) -> Outcome {
        let answer = self.load.take_answer();
        let outcome = self.cache.land(&self, answer);
        self.has_landed = true;
        outcome
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            let thrown = Err(failed(self.flight.id(), "the loader threw an exception; its own caller has it"));
            drop(self.cache.land(self, thrown));
        }
    }
}
