//! A get: a hit, or a miss that begins a load, waits for one, or is content with an expired
//! manifest.

use super::core::Locked;
use super::core::{Cache, refuse_long};
use super::load_guard::{LoadGuard, Start};
use crate::clock::{NEVER, Nanos};
use crate::entries::entry::Entry;
use crate::entries::ledger::{Backoff, Ledger};
use crate::entries::magazine::LetGo;
use crate::entries::store::{LookUp, Missed};
use crate::error::{Error, Quoted, Status};
use crate::load::answer::Load;
use crate::load::in_flight::{InFlight, Waited};
use crate::load::outcome::{Fetched, Outcome};
use crate::load::table::Part;
use crate::load::within::Within;
use crate::local::{self, Local};
use crate::logger::Level;
use crate::manifest::Manifest;
use crate::options::CacheOption;
use crate::stats::Stat;
use std::ops::Deref;
use std::sync::Arc;

/// What a call that found no fresh manifest is to do.
#[allow(clippy::large_enum_variant)] // it is made once a miss, and only looked at
pub(super) enum Turn<C: Deref<Target = Cache>> {
    Done(Outcome),
    /// Wait for this load of another caller.
    Wait(Arc<InFlight>),
    /// Answer the load, then end it.
    Load(LoadGuard<C>),
}

/// The same, before the load has its guard.
enum Next {
    Done(Outcome),
    Wait(Arc<InFlight>),
    Begin(Start),
}

impl Cache {
    /// The manifest of a plugin, loaded if the cache has no fresh one.
    ///
    /// A fresh manifest is returned at once (R1). Otherwise one caller runs its `loader`, with no
    /// lock held, and all that ask meanwhile wait and share its outcome (R7). With a stale option
    /// the manifest may be an expired one; [`Cache::fetch`] says so.
    ///
    /// # Errors
    /// What the loader answered or did not answer; [`Status::LoadCycle`] if waiting would never
    /// end; [`Status::Timeout`] if another caller's load takes too long.
    pub fn get(&self, plugin_id: &str, loader: impl FnOnce(&mut Load)) -> Result<Manifest, Error> {
        self.fetch(plugin_id, loader).map(|fetched| fetched.manifest)
    }

    /// The same, and whether the manifest is an expired one because its reload failed.
    ///
    /// # Errors
    /// As for [`Cache::get`].
    pub fn fetch(&self, plugin_id: &str, loader: impl FnOnce(&mut Load)) -> Result<Fetched, Error> {
        if let Some(manifest) = self.hit(plugin_id.as_bytes()) {
            return Ok(manifest.into());
        }
        match Self::miss(self, plugin_id, Within::THREAD) {
            Turn::Done(outcome) => outcome,
            Turn::Wait(load) => self.wait(&load, Within::THREAD),
            Turn::Load(mut guard) => {
                guard.leave_to_loader();
                loader(&mut guard);
                guard.end()
            }
        }
    }

    /// The fresh manifest of a plugin, if the cache has it; neither loads nor waits.
    ///
    /// # Errors
    /// [`Status::NotFound`] if the cache does not have it.
    pub fn look(&self, plugin_id: &str) -> Result<Manifest, Error> {
        self.hit(plugin_id.as_bytes()).ok_or_else(|| self.look_missed(plugin_id))
    }

    /// The revision of the fresh manifest of a plugin, if the cache has it. This counts as a hit.
    pub fn revision(&self, plugin_id: impl AsRef<[u8]>) -> Option<u64> {
        let manifest = self.hit(plugin_id.as_ref())?;
        let revision = manifest.revision();
        local::give_back(manifest);
        Some(revision)
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
        match local::try_with(|local| self.fresh_with(local, id)) {
            Some(Ok(manifest)) => Some(manifest),
            Some(Err(missed)) => self.fresh_in_table(&missed, id),
            None => self.fresh_at_thread_exit(id),
        }
    }

    #[inline(always)]
    fn fresh_with(&self, local: &mut Local, id: &[u8]) -> Result<Manifest, Missed> {
        let now = self.clock.coarse_now(&mut local.clock);
        if local.is_behind() {
            return Err(self.store.missed(id, now));
        }
        let manifest = self.store.fresh_in(&mut local.magazine, id, now)?;
        self.counters.add_hit(&mut local.stripe);
        Ok(manifest)
    }

    /// The look-up in the table borrows nothing of the thread, as it can drop the last reference to
    /// a manifest that was just removed.
    #[inline(never)]
    fn fresh_in_table(&self, missed: &Missed, id: &[u8]) -> Option<Manifest> {
        let mut manifest = self.store.fresh(missed, id);
        let mut let_go = LetGo::new();
        local::try_with(|local| {
            local.catch_up(&mut let_go);
            manifest = manifest.take().map(|it| {
                self.counters.add_hit(&mut local.stripe);
                // If it is removed after this, the thread is told and lets go of it.
                if it.is_removed_with_value() {
                    return it;
                }
                local.magazine.share(missed.version, it, &mut let_go)
            });
        });
        manifest
    }

    /// For a destructor that runs after this thread's `Local` has been dropped: it uses another
    /// one, for this call only.
    #[cold]
    fn fresh_at_thread_exit(&self, id: &[u8]) -> Option<Manifest> {
        let missed = self.fresh_with(&mut Local::new(), id).err()?;
        let manifest = self.store.fresh(&missed, id)?;
        self.count_hit();
        Some(manifest)
    }

    /// Counts a look that found no fresh manifest.
    pub(crate) fn look_missed(&self, id: &str) -> Error {
        if let LookUp::Error(error) = self.store.look_up(id, self.coarse_now()) {
            return self.negative_hit(error);
        }
        self.counters.add(Stat::Misses, 1);
        let what = format!("plugin {}: not in the cache, and no loader was given", Quoted(id));
        Error::new(Status::NotFound, what)
    }

    /// What a call does that found no fresh manifest: it returns an expired one, begins a load, or
    /// waits for the one in progress.
    pub(super) fn miss<C: Deref<Target = Cache>>(cache: C, id: &str, within: Within) -> Turn<C> {
        if let Err(error) = refuse_long(id) {
            return Turn::Done(Err(error));
        }
        if let LookUp::Error(error) = cache.store.look_up(id, cache.coarse_now()) {
            return Turn::Done(Err(cache.negative_hit(error)));
        }
        let mut state = cache.lock();
        let overdue = state.in_flight.take_overdue(id, || cache.awake_now());
        if !overdue.is_empty() {
            // Before this call begins a load, as those who are told may get this plugin and would
            // wait for that load on this thread.
            drop(state);
            cache.tell_overdue(overdue);
            state = cache.lock();
        }
        match cache.miss_locked(state, id, within) {
            Next::Done(outcome) => Turn::Done(outcome),
            Next::Wait(load) => Turn::Wait(load),
            Next::Begin(start) => Turn::Load(LoadGuard::new(cache, start)),
        }
    }

    fn miss_locked(&self, mut state: Locked, id: &str, within: Within) -> Next {
        // Under the lock, as another call may have stored it since.
        let expired = match self.store.look_up(id, self.coarse_now()) {
            LookUp::Fresh(manifest) => {
                drop(state);
                self.count_hit();
                self.log_hit(id);
                return Next::Done(Ok(manifest.into()));
            }
            LookUp::Error(error) => return Next::Done(Err(self.negative_hit(error))),
            LookUp::Expired(entry) => match self.stale_instead_of_load(&state.ledger, &entry) {
                Some(fetched) => return Next::Done(Ok(fetched)),
                None => Some(entry),
            },
            LookUp::Absent => None,
        };
        match state.in_flight.join_or_begin(id, within) {
            Ok(Part::Begin(in_flight)) => {
                let stamp = state.ledger.beside(id).and_then(|beside| beside.stamp.clone());
                // Under the lock: as of now the expired entry has this age.
                let advanced = self.advanced();
                drop(state);
                self.counters.add(Stat::Misses, 1);
                self.counters.add(Stat::Loads, 1);
                Next::Begin(Start { in_flight, expired, stamp, advanced })
            }
            Ok(Part::Join(load)) => {
                drop(state);
                match expired.and_then(|entry| self.stale_instead_of_wait(entry)) {
                    Some(stale) => Next::Done(Ok(stale)),
                    None => Next::Wait(load),
                }
            }
            Err(cycle) => {
                self.counters.add(Stat::Misses, 1);
                Next::Done(Err(cycle))
            }
        }
    }

    fn count_hit(&self) {
        local::try_with(|local| self.counters.add_hit(&mut local.stripe))
            .unwrap_or_else(|| self.counters.add_hit(&mut Local::new().stripe));
    }

    /// Counts an answer from a remembered "not found" or failure.
    fn negative_hit(&self, error: Error) -> Error {
        self.counters.add(Stat::NegativeHits, 1);
        error
    }

    /// The expired manifest, while its loader is not called again after a failure.
    fn stale_instead_of_load(&self, ledger: &Ledger, entry: &Entry) -> Option<Fetched> {
        let Backoff { until, error } = ledger.beside(entry.manifest.id())?.backoff.as_ref()?;
        let now = self.clock.now();
        if now >= *until || !self.allows(CacheOption::StaleIfErrorMs, entry, now) {
            return None;
        }
        self.counters.add(Stat::StaleHits, 1);
        Some(Fetched { manifest: entry.manifest.clone(), stale: Some(error.as_stale()) })
    }

    /// The expired manifest, while another caller reloads it.
    fn stale_instead_of_wait(&self, entry: Entry) -> Option<Fetched> {
        if !self.allows(CacheOption::StaleWhileRevalidateMs, &entry, self.clock.now()) {
            return None;
        }
        self.counters.add(Stat::StaleHits, 1);
        Some(entry.manifest.into())
    }

    /// Waits for another caller's load.
    pub(super) fn wait(&self, load: &Arc<InFlight>, within: Within) -> Outcome {
        match load.wait(within, &self.clock, self.wait_limit(), || self.advanced()) {
            Waited::Ended(outcome) => {
                self.counters.add(Stat::Waits, 1);
                outcome
            }
            Waited::Cycle(cycle) => {
                self.counters.add(Stat::Misses, 1);
                Err(cycle)
            }
            Waited::TimedOut(timeout) => {
                self.counters.add(Stat::Waits, 1);
                self.lock().in_flight.time_out(load);
                self.note_time_out(&timeout);
                Err(timeout)
            }
        }
    }

    pub(super) fn wait_limit(&self) -> Nanos {
        match self.options.time(CacheOption::WaitMs) {
            0 => NEVER,
            limit => limit,
        }
    }

    pub(super) fn note_time_out(&self, timeout: &Error) {
        self.counters.add(Stat::Timeouts, 1);
        self.logger.log(Level::Warn, timeout);
    }
}
