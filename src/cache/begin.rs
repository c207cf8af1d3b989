//! A get in two steps: begin and end. It calls no loader of the host, and need not wait.

use super::core::Cache;
use super::get::Turn;
use super::load_guard::LoadGuard;
use crate::error::Error;
use crate::load::answer::failed;
use crate::load::in_flight::{InFlight, Joined, Overdue};
use crate::load::outcome::{Fetched, Tell, call_all};
use crate::load::within::Within;
use crate::logger::Level;
use crate::stats::Stat;
use std::sync::Arc;

/// How [`Cache::begin`] or [`Cache::begin_async`] went.
#[allow(clippy::large_enum_variant)] // it is matched at once
pub enum Begun {
    /// Here is the manifest.
    Ready(Fetched),
    /// The caller is to bring the manifest: answer this load and end it.
    Load(LoadGuard),
    /// Another caller is loading the plugin, and the outcome will be told. Only
    /// [`Cache::begin_async`] says this.
    Pending,
}

impl Cache {
    /// The same as [`Cache::fetch`] without a loader: if the cache needs the manifest, it returns a
    /// load that the caller answers and ends, on any thread. If another caller is loading the
    /// plugin, this waits for that load.
    ///
    /// `within` says which load waits for this call, so that a cycle is found:
    /// [`Within::NOTHING`], [`Within::THREAD`], or [`Load::within`](crate::Load::within).
    ///
    /// ```
    /// # use manifest_cache::{Begun, Cache, Within};
    /// # use std::{sync::Arc, time::Duration};
    /// # let cache = Arc::new(Cache::new(Duration::from_secs(300)));
    /// let fetched = match cache.begin("weather", Within::NOTHING)? {
    ///     Begun::Load(mut load) => {
    ///         let _ = load.json(r#"{"name": "Weather"}"#);
    ///         load.end()?
    ///     }
    ///     Begun::Ready(fetched) => fetched,
    ///     Begun::Pending => unreachable!("begin waits"),
    /// };
    /// # assert!(fetched.stale.is_none());
    /// # Ok::<(), manifest_cache::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Cache::get`].
    pub fn begin(self: &Arc<Self>, plugin_id: &str, within: Within) -> Result<Begun, Error> {
        match self.hit(plugin_id.as_bytes()) {
            Some(manifest) => Ok(Begun::Ready(manifest.into())),
            None => self.begin_missed(plugin_id, within),
        }
    }

    /// The same, but it never waits. Where [`Cache::begin`] would, it returns [`Begun::Pending`],
    /// and `done` is called exactly once, later, by the thread that ends that load, with no lock
    /// held. It can be called before this call returns, but not on this thread. If this call
    /// returns anything else, `done` is dropped.
    ///
    /// A wait whose time is over ends in the next [`Cache::purge`], or the next get of this plugin
    /// that finds no fresh manifest.
    ///
    /// # Errors
    /// As for [`Cache::get`].
    pub fn begin_async(
        self: &Arc<Self>,
        plugin_id: &str,
        within: Within,
        done: impl FnOnce(Result<Fetched, Error>) + Send + 'static,
    ) -> Result<Begun, Error> {
        match self.hit(plugin_id.as_bytes()) {
            Some(manifest) => Ok(Begun::Ready(manifest.into())),
            None => self.begin_async_missed(plugin_id, within, Box::new(done)),
        }
    }

    /// [`Cache::begin`] when there was no hit.
    pub(crate) fn begin_missed(self: &Arc<Self>, id: &str, within: Within) -> Result<Begun, Error> {
        match Self::miss(self.clone(), id, within) {
            Turn::Done(outcome) => outcome.map(Begun::Ready),
            Turn::Wait(load) => self.wait(&load, within).map(Begun::Ready),
            Turn::Load(load) => Ok(Begun::Load(load)),
        }
    }

    /// [`Cache::begin_async`] when there was no hit.
    pub(crate) fn begin_async_missed(
        self: &Arc<Self>,
        id: &str,
        within: Within,
        done: Tell,
    ) -> Result<Begun, Error> {
        match Self::miss(self.clone(), id, within) {
            Turn::Done(outcome) => outcome.map(Begun::Ready),
            Turn::Wait(load) => self.wait_async(&load, within, done),
            Turn::Load(load) => Ok(Begun::Load(load)),
        }
    }

    fn wait_async(&self, load: &Arc<InFlight>, within: Within, tell: Tell) -> Result<Begun, Error> {
        let joined = load.wait_async(within, self.awake_now(), self.wait_limit(), tell);
        let stat = if let Joined::Cycle(_) = joined { Stat::Misses } else { Stat::Waits };
        self.counters.add(stat, 1);
        match joined {
            Joined::Waits => Ok(Begun::Pending),
            Joined::Ended(outcome) => outcome.map(Begun::Ready),
            Joined::Cycle(cycle) => Err(cycle),
        }
    }

    /// Tells asynchronous waits that their time is over.
    pub(super) fn tell_overdue(&self, overdue: Vec<Overdue>) {
        self.counters.add(Stat::Timeouts, overdue.len() as u64);
        call_all(overdue.into_iter().map(|Overdue { error, tell }| {
            move || {
                tell(Err(error.clone()));
                self.logger.log(Level::Warn, error);
            }
        }));
    }

    /// Drops all entries and ends all waits for loads in progress: those who wait get
    /// [`Status::LoadFailed`](crate::Status::LoadFailed). Loads in progress still end normally for
    /// their own callers, but store nothing. The logger is called no more.
    ///
    /// This is for a host that is done with the cache while loads are in progress.
    pub fn close(&self) {
        self.unset_logger();
        loop {
            let loads = {
                let mut state = self.lock();
                state.ledger.remove_all(&self.store);
                state.in_flight.take_all()
            };
            // Those who are told may begin other loads, but each of them waits no more.
            if loads.is_empty() {
                return;
            }
            call_all(loads.iter().map(|load| {
                let failure = failed(load.id(), "the cache was freed before this load ended");
                move || load.end(Err(failure))
            }));
        }
    }
}
