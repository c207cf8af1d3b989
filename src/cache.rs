//! The whole story: a hit, a miss, a wait, a clear.

mod landing;
mod report;

pub(crate) use landing::Lead;
pub use report::EntryReport;

use crate::clock::{Clock, NEVER, Nanos};
use crate::error::{Elided, Error, Quoted, Status};
use crate::flight::{Departures, Flight, Got, Outcome, Part, Waited};
use crate::fork::{self, Inherit};
use crate::ledger::Ledger;
use crate::load::{Brought, Load};
use crate::local::{self, Local};
use crate::logger::{Level, Logger};
use crate::manifest::Manifest;
use crate::options::{CacheOption, Options};
use crate::stats::Counters;
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
    options: Options,
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
        let state =
            Arc::new(Mutex::new(State { ledger: Ledger::new(pen), departures: Departures::new() }));
        fork::register(&state);
        Cache {
            store,
            state,
            counters: Counters::default(),
            options: Options::new(
                u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX),
            ),
            logger: Logger::default(),
            clock,
        }
    }

    /// Changes a option from now on; a bound holds when this returns.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if the value cannot be; then nothing changes.
    pub fn set(&self, option: CacheOption, value: u64) -> Result<(), Error> {
        self.options.set(option, value)?;
        if matches!(option, CacheOption::MaxEntries | CacheOption::MaxBytes) {
            let mut state = self.state.lock();
            let evicted = state.ledger.bound(&self.store, self.bounds(), self.clock.now());
            self.counters.evictions.add(evicted as u64);
        }
        Ok(())
    }

    /// Tells `sink` from now on what this cache does, up to a level. It is called on the thread
    /// that does it, with no lock held; it may call the cache, but what it would be told of that is
    /// dropped.
    pub fn set_logger(&self, level: Level, sink: impl Fn(Level, &str) + Send + Sync + 'static) {
        self.logger.set(level, Some(Box::new(sink)));
    }

    /// Tells nobody any more.
    pub fn unset_logger(&self) {
        self.logger.set(Level::Off, None);
    }

    /// The manifest of a plugin, loaded if need be.
    ///
    /// A fresh manifest is returned at once (R1). Otherwise one caller runs its `loader`, with no
    /// lock held, and all who ask meanwhile wait and share its outcome (R7). With a stale option it
    /// may be an expired one; [`Cache::fetch`] tells.
    ///
    /// # Errors
    /// What the loader answered or did not answer; [`Status::LoadCycle`] if waiting would never
    /// end; [`Status::Timeout`] if another thread's load takes too long.
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

    /// The revision of the fresh manifest of a plugin, if it is here. This is a use of the entry,
    /// and a hit.
    pub fn revision(&self, plugin_id: impl AsRef<[u8]>) -> Option<u64> {
        let manifest = self.hit(plugin_id.as_ref())?;
        let revision = manifest.revision();
        local::try_with(|local| local.magazine.give_back(manifest));
        Some(revision)
    }

    /// Stores a manifest that the caller has. It is newer than any load in progress, which is
    /// fenced as by a clear.
    ///
    /// # Errors
    /// [`Status::InvalidManifest`] as for [`Load::json`]; then nothing changes.
    pub fn put(&self, plugin_id: &str, text: impl AsRef<[u8]>) -> Result<(), Error> {
        let mut load =
            Load::new(plugin_id.into(), self.options.get(CacheOption::MaxManifestBytes), None);
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
            self.logger
                .log(Level::Info, format_args!("Cleared cache for plugin '{}'", Elided(plugin_id)));
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
        self.logger
            .log(Level::Info, format_args!("Cleared entire manifest cache ({count} entries)"));
        count
    }

    /// Drops the entries that have expired and that no stale option can serve any more; says how
    /// many. It fences nothing.
    pub fn purge(&self) -> usize {
        let grace = [CacheOption::StaleIfErrorMs, CacheOption::StaleWhileRevalidateMs]
            .map(|option| self.options.time(option));
        let grace = grace.into_iter().max().unwrap_or(0);
        let now = self.clock.now();
        let worth = |entry: &Entry| {
            let served_until = if entry.is_not_found() {
                entry.expires_at
            } else {
                entry.expires_at.saturating_add(grace)
            };
            now <= served_until
        };
        self.state.lock().ledger.sweep(&self.store, worth)
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

    /// One function, not inlined, so that all it needs is inlined into it.
    #[inline(never)]
    fn fresh(&self, id: &[u8]) -> Option<Manifest> {
        let now = self.clock.coarse_now();
        local::try_with(|local| self.hit_with(local, id, now))
            .unwrap_or_else(|| self.late_hit(id, now))
    }

    #[inline(always)]
    fn hit_with(&self, local: &mut Local, id: &[u8], now: Nanos) -> Option<Manifest> {
        let manifest = self.store.fresh(&mut local.magazine, id, now)?;
        self.counters.hits.increment(&mut local.lane);
        Some(manifest)
    }

    /// In a destructor that runs at thread exit, when what the thread kept is gone: what is kept
    /// now is lost at once.
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
        Error::new(
            Status::NotFound,
            format!("plugin {}: not in the cache, and no loader was given", Quoted(id)),
        )
    }

    /// What a call does that found no fresh manifest: it is content with an expired one, leads a
    /// load, or waits for the one in progress.
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
        if let Some(error) = self.negative_hit(id) {
            return Turn::Done(Err(error));
        }
        let expired = self.store.peek(id, Entry::clone).filter(|entry| !entry.is_not_found());
        if let Some(got) =
            expired.as_ref().and_then(|entry| self.spare_loader(&state.ledger, entry))
        {
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
        let what = format!(
            "plugin {}: it was not found a short while ago, so the loader was not asked",
            Quoted(id)
        );
        Some(Error::new(Status::NotFound, what))
    }

    /// The expired manifest, while a loader that has just failed is left alone.
    fn spare_loader(&self, ledger: &Ledger, entry: &Entry) -> Option<Got> {
        let (retry_at, error) = ledger.beside(entry.manifest.id())?.trouble.as_ref()?;
        let now = self.clock.now();
        if now >= *retry_at || !self.serves(CacheOption::StaleIfErrorMs, entry, now) {
            return None;
        }
        self.counters.stale_hits.add(1);
        Some(Got { manifest: entry.manifest.clone(), stale: Some(error.as_stale()) })
    }

    /// The expired manifest, while another caller reloads it.
    fn spare_wait(&self, entry: Entry) -> Option<Got> {
        if !self.serves(CacheOption::StaleWhileRevalidateMs, &entry, self.clock.now()) {
            return None;
        }
        self.counters.stale_hits.add(1);
        Some(entry.manifest.into())
    }

    /// Whether a stale option still serves an expired entry.
    fn serves(&self, option: CacheOption, entry: &Entry, now: Nanos) -> bool {
        let grace = self.options.time(option);
        grace > 0 && now <= entry.expires_at.saturating_add(grace)
    }

    fn wait(&self, flight: &Arc<Flight>) -> Outcome {
        let deadline = match self.options.time(CacheOption::WaitMs) {
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
}

impl Drop for Cache {
    fn drop(&mut self) {
        fork::forget(&self.state);
    }
}

/// What a call that found no fresh manifest is to do.
#[allow(clippy::large_enum_variant)] // it is made once a miss, and only looked at
pub(crate) enum Turn<'c> {
    Done(Outcome),
    Lead(Lead<'c>),
}
