//! The whole story: a hit, a miss, a wait, a clear.

use crate::clock::{Clock, NEVER, Nanos, from_millis};
use crate::error::{Elided, Error, Quoted, Status};
use crate::file::Stamp;
use crate::flight::{Departures, Flight, Got, Outcome, Part, Waited};
use crate::fork::{self, Inherit};
use crate::json::Members;
use crate::ledger::{Bounds, Ledger};
use crate::load::{Brought, Cached, Load, failed};
use crate::local::{self, Local};
use crate::logger::{Level, Logger};
use crate::manifest::Manifest;
use crate::policy::{Policies, Policy};
use crate::stats::{Counters, Stat, Stats};
use crate::store::{Entry, Store};
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
    logger: Logger,
    clock: Clock,
}

/// What the cache's one lock guards: every change of the store and of the flights happens under it.
struct State {
    ledger: Ledger,
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
        let (store, pen) = Store::new();
        let state = Arc::new(Mutex::new(State { ledger: Ledger::new(pen), departures: Departures::new() }));
        fork::register(&state);
        Cache {
            store,
            state,
            counters: Counters::default(),
            policies: Policies::new(u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)),
            logger: Logger::default(),
            clock,
        }
    }

    /// Changes a policy from now on; a bound holds when this returns.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if the value cannot be; then nothing changes.
    pub fn set(&self, policy: Policy, value: u64) -> Result<(), Error> {
        self.policies.set(policy, value)?;
        if matches!(policy, Policy::MaxEntries | Policy::MaxBytes) {
            let mut state = self.state.lock();
            let evicted = state.ledger.bound(&self.store, self.bounds(), self.clock.now());
            self.counters.evictions.add(evicted as u64);
        }
        Ok(())
    }

    /// Tells `sink` from now on what this cache does, up to a level. It is called on the thread that does it, with no lock
    /// held; it may call the cache, but what it would be told of that is dropped.
    pub fn set_logger(&self, level: Level, sink: impl Fn(Level, &str) + Send + Sync + 'static) {
        self.logger.set(level, Some(Box::new(sink)));
    }

    /// Tells nobody any more.
    pub fn unset_logger(&self) {
        self.logger.set(Level::Off, None);
    }

    /// The manifest of a plugin, loaded if need be.
    ///
    /// A fresh manifest is returned at once (R1). Otherwise one caller runs its `loader`, with no lock held, and all who
    /// ask meanwhile wait and share its outcome (R7). With a stale policy it may be an expired one; [`Cache::fetch`] tells.
    ///
    /// # Errors
    /// What the loader answered or did not answer; [`Status::LoadCycle`] if waiting would never end;
    /// [`Status::Timeout`] if another thread's load takes too long.
    pub fn get(&self, plugin_id: &str, loader: impl FnOnce(&mut Load)) -> Result<Manifest, Error> {
        self.fetch(plugin_id, loader).map(|got| got.manifest)
    }

    /// The same, and whether the manifest is an expired one because its reload failed.
    ///
    /// # Errors
    /// As for [`Cache::get`].
    pub fn fetch(&self, plugin_id: &str, loader: impl FnOnce(&mut Load)) -> Result<Got, Error> {
        if let Some(manifest) = self.hit(plugin_id.as_bytes()) {
            return Ok(manifest.into());
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

    /// The revision of the fresh manifest of a plugin, if it is here. This is a use of the entry, and a hit.
    pub fn revision(&self, plugin_id: impl AsRef<[u8]>) -> Option<u64> {
        let manifest = self.hit(plugin_id.as_ref())?;
        let revision = manifest.revision();
        local::try_with(|local| local.magazine.give_back(manifest));
        Some(revision)
    }

    /// Stores a manifest that the caller has. It is newer than any load in progress, which is fenced as by a clear.
    ///
    /// # Errors
    /// [`Status::InvalidManifest`] as for [`Load::json`]; then nothing changes.
    pub fn put(&self, plugin_id: &str, text: impl AsRef<[u8]>) -> Result<(), Error> {
        let mut load = Load::new(plugin_id.into(), self.policies.get(Policy::MaxManifestBytes), None);
        load.text(text.as_ref(), &"the text to put")?;
        if let Brought::New(manifest, members, _) = load.take_answer()? {
            let mut state = self.state.lock();
            state.departures.fence(plugin_id);
            self.keep(&mut state.ledger, manifest, members, self.ttl(None), None, self.clock.now());
        }
        Ok(())
    }

    /// Forgets a plugin; says whether there was something to forget.
    ///
    /// A get that begins after this returned sees nothing of a load that began before (R8).
    pub fn clear(&self, plugin_id: &str) -> bool {
        let is_cleared = {
            let mut state = self.state.lock();
            state.departures.fence(plugin_id);
            state.ledger.remove(&self.store, plugin_id)
        };
        if is_cleared {
            self.logger.log(Level::Info, format_args!("Cleared cache for plugin '{}'", Elided(plugin_id)));
        }
        is_cleared
    }

    /// Forgets all plugins, in the same way; says how many entries went.
    pub fn clear_all(&self) -> usize {
        let count = {
            let mut state = self.state.lock();
            state.departures.fence_all();
            state.ledger.remove_all(&self.store)
        };
        self.logger.log(Level::Info, format_args!("Cleared entire manifest cache ({count} entries)"));
        count
    }

    /// Drops the entries that have expired and that no stale policy can serve any more; says how many. It fences nothing.
    pub fn purge(&self) -> usize {
        let grace = [Policy::StaleIfErrorMs, Policy::StaleWhileRevalidateMs].map(|policy| self.policies.time(policy));
        let grace = grace.into_iter().max().unwrap_or(0);
        let now = self.clock.now();
        let worth = |entry: &Entry| {
            let served_until =
                if entry.is_not_found() { entry.expires_at } else { entry.expires_at.saturating_add(grace) };
            now <= served_until
        };
        self.state.lock().ledger.sweep(&self.store, worth)
    }

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
            Stat::ExpiredEntries => snapshot.entries().filter(|entry| !entry.is_fresh(now)).count() as u64,
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
            Stat::TtlMs => self.policies.get(Policy::TtlMs),
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
            Stat::TotalEntries | Stat::ExpiredEntries | Stat::Bytes => unreachable!("these are not counted as they go"),
        }
    }

    /// A fresh manifest, without a lock.
    #[inline]
    pub(crate) fn hit(&self, id: &[u8]) -> Option<Manifest> {
        let manifest = self.fresh(id)?;
        if self.logger.wants(Level::Debug) {
            self.log_hit(manifest.id());
        }
        Some(manifest)
    }

    #[inline]
    fn fresh(&self, id: &[u8]) -> Option<Manifest> {
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

    /// Counts a look that found no fresh manifest.
    pub(crate) fn look_missed(&self, id: &str) -> Error {
        if let Some(error) = self.negative_hit(id) {
            return error;
        }
        self.counters.misses.add(1);
        Error::new(Status::NotFound, format!("plugin {}: not in the cache, and no loader was given", Quoted(id)))
    }

    /// What a call does that found no fresh manifest: it is content with an expired one, leads a load, or waits for the one
    /// in progress.
    pub(crate) fn miss(&self, id: &str) -> Turn<'_> {
        if let Some(error) = self.negative_hit(id) {
            return Turn::Done(Err(error));
        }
        let mut state = self.state.lock();
        // Someone may have stored it since.
        if let Some(manifest) = self.fresh(id.as_bytes()) {
            drop(state);
            self.log_hit(id);
            return Turn::Done(Ok(manifest.into()));
        }
        let expired = self.store.peek(id, Entry::clone).filter(|entry| !entry.is_not_found());
        if let Some(got) = expired.as_ref().and_then(|entry| self.spare_loader(&state.ledger, entry)) {
            return Turn::Done(Ok(got));
        }
        match state.departures.join_or_lead(id) {
            Ok(Part::Lead(flight)) => {
                let beside = state.ledger.beside(id);
                let stamp = beside.and_then(|beside| beside.stamp.clone());
                drop(state);
                self.counters.misses.add(1);
                self.counters.loads.add(1);
                Turn::Lead(Lead::new(self, flight, expired, stamp))
            }
            Ok(Part::Wait(flight)) => {
                drop(state);
                let stale = expired.and_then(|entry| self.spare_wait(entry));
                Turn::Done(stale.map_or_else(|| self.wait(&flight), Ok))
            }
            Err(cycle) => {
                self.counters.misses.add(1);
                Turn::Done(Err(cycle))
            }
        }
    }

    /// The memory of a plugin that was not found.
    fn negative_hit(&self, id: &str) -> Option<Error> {
        let now = self.clock.coarse_now();
        self.store
            .peek(id, |entry| {
                entry.is_not_found() && entry.is_fresh(now) && {
                    entry.manifest.mark_used();
                    true
                }
            })
            .filter(|is| *is)?;
        self.counters.negative_hits.add(1);
        let what = format!("plugin {}: it was not found a short while ago, so the loader was not asked", Quoted(id));
        Some(Error::new(Status::NotFound, what))
    }

    /// The expired manifest, while a loader that has just failed is left alone.
    fn spare_loader(&self, ledger: &Ledger, entry: &Entry) -> Option<Got> {
        let (retry_at, error) = ledger.beside(entry.manifest.id())?.trouble.as_ref()?;
        let now = self.clock.now();
        if now >= *retry_at || !self.serves(Policy::StaleIfErrorMs, entry, now) {
            return None;
        }
        self.counters.stale_hits.add(1);
        Some(Got { manifest: entry.manifest.clone(), stale: Some(error.as_stale()) })
    }

    /// The expired manifest, while another caller reloads it.
    fn spare_wait(&self, entry: Entry) -> Option<Got> {
        if !self.serves(Policy::StaleWhileRevalidateMs, &entry, self.clock.now()) {
            return None;
        }
        self.counters.stale_hits.add(1);
        Some(entry.manifest.into())
    }

    /// Whether a stale policy still serves an expired entry.
    fn serves(&self, policy: Policy, entry: &Entry, now: Nanos) -> bool {
        let grace = self.policies.time(policy);
        grace > 0 && now <= entry.expires_at.saturating_add(grace)
    }

    fn wait(&self, flight: &Arc<Flight>) -> Outcome {
        let deadline = match self.policies.time(Policy::WaitMs) {
            0 => NEVER,
            limit => self.clock.now().saturating_add(limit),
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
                self.counters.timeouts.add(1);
                // The next get shall not wait for this one again.
                self.state.lock().departures.take(flight);
                self.logger.log(Level::Warn, &timeout);
                Err(timeout)
            }
        }
    }

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
                    self.keep(ledger, manifest.clone(), members, self.ttl(lead.load.own_ttl_ms()), stamp, now);
                }
                Ok(manifest.into())
            }
            Ok(Brought::Unchanged(manifest, stamp)) => {
                if let Some(ledger) = ledger {
                    let own = lead.expired.as_ref().filter(|entry| entry.has_own_ttl).map(|entry| (entry.ttl(), true));
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

    /// A load that brought nothing leaves nothing, but for what a policy keeps.
    fn land_without(&self, lead: &Lead, ledger: Option<&mut Ledger>, error: Error, now: Nanos) -> Outcome {
        let id = lead.flight.id();
        let is_trouble = error.status() != Status::NotFound;
        let stale = lead.expired.as_ref().filter(|entry| is_trouble && self.serves(Policy::StaleIfErrorMs, entry, now));
        if let Some(ledger) = ledger {
            match stale {
                // Unless it was purged or evicted meanwhile.
                Some(_) if self.store.peek(id, |_| ()).is_some() => {
                    ledger.note_trouble(id, now.saturating_add(self.policies.time(Policy::RetryMs)), error.clone());
                }
                _ => drop(ledger.remove(&self.store, id)),
            }
            let negative_ttl = self.policies.time(Policy::NegativeTtlMs);
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
            Some(entry) => Ok(Got { manifest: entry.manifest.clone(), stale: Some(error.as_stale()) }),
            None => Err(error),
        }
    }

    /// Stores a manifest, if it is one to store.
    fn keep(
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

    fn store_within_bounds(&self, ledger: &mut Ledger, entry: Entry, stamp: Option<Stamp>, now: Nanos) {
        let evicted = ledger.store(&self.store, entry, stamp, self.bounds(), now);
        self.counters.evictions.add(evicted as u64);
    }

    /// A time to live, and whether it is a manifest's own.
    fn ttl(&self, own_ms: Option<u64>) -> (Nanos, bool) {
        own_ms.map_or((self.policies.time(Policy::TtlMs), false), |ms| (from_millis(ms), true))
    }

    fn bounds(&self) -> Bounds {
        let bound = |policy| match self.policies.get(policy) {
            0 => usize::MAX,
            bound => usize::try_from(bound).unwrap_or(usize::MAX),
        };
        Bounds { entries: bound(Policy::MaxEntries), bytes: bound(Policy::MaxBytes) }
    }

    fn count(&self, answer: &Result<Brought, Error>) {
        match answer {
            Ok(Brought::New(..)) => {}
            Ok(Brought::Unchanged(..)) => self.counters.unchanged.add(1),
            Err(error) if error.status() == Status::NotFound => self.counters.not_found.add(1),
            Err(_) => self.counters.load_failures.add(1),
        }
    }

    #[cold]
    fn log_hit(&self, id: &str) {
        if let Some(entry) = self.described_for(Level::Debug, id) {
            self.logger.log(Level::Debug, format_args!("Cache hit for manifest '{}' ({entry})", Elided(id)));
        }
    }

    fn log_lead(&self, id: &str, has_expired: bool) {
        let id = Elided(id);
        if has_expired {
            self.logger.log(Level::Debug, format_args!("Cache expired for manifest '{id}', reloading"));
        }
        self.logger.log(Level::Debug, format_args!("Loading manifest '{id}' from disk"));
    }

    fn log_landing(&self, id: &str, outcome: &Outcome) {
        match outcome {
            Ok(Got { stale: Some(error), .. }) => self.logger.log(Level::Error, error),
            Err(error) if error.status() != Status::NotFound => self.logger.log(Level::Error, error),
            Err(_) => {}
            Ok(_) => {
                if let Some(entry) = self.described_for(Level::Debug, id) {
                    self.logger.log(Level::Debug, format_args!("Cached manifest '{}' ({entry})", Elided(id)));
                }
            }
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

impl Drop for Cache {
    fn drop(&mut self) {
        fork::forget(&self.state);
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

/// What a call that found no fresh manifest is to do.
#[allow(clippy::large_enum_variant)] // it is made once a miss, and only looked at
pub(crate) enum Turn<'c> {
    Done(Outcome),
    Lead(Lead<'c>),
}

/// A load that this call leads: let the loader answer `load`, then `land`. Dropped instead, as when an exception unwinds,
/// it lands as failed (R11).
pub(crate) struct Lead<'c> {
    cache: &'c Cache,
    flight: Arc<Flight>,
    expired: Option<Entry>,
    began_at: Nanos,
    has_landed: bool,
    pub(crate) load: Load,
}

impl<'c> Lead<'c> {
    fn new(cache: &'c Cache, flight: Arc<Flight>, expired: Option<Entry>, stamp: Option<Stamp>) -> Self {
        let cached = expired.as_ref().map(|entry| Cached { manifest: entry.manifest.clone(), stamp });
        let load = Load::new(flight.id().clone(), cache.policies.get(Policy::MaxManifestBytes), cached);
        let lead = Lead { cache, flight, expired, began_at: cache.clock.now(), has_landed: false, load };
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
            let thrown = Err(failed(self.flight.id(), "the loader threw an exception; its own caller has it"));
            drop(self.cache.land(self, thrown));
        }
    }
}
