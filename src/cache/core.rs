//! The cache itself: its parts, what it stores, and what it drops.

use crate::clock::{Clock, Nanos};
use crate::entries::ledger::Ledger;
use crate::entries::store::{Entry, Store};
use crate::error::{Elided, Error, Quoted, Status};
use crate::fork::{ForkMutex, Inherited};
use crate::load::answer::{Answer, Load};
use crate::load::in_flight::InFlightLoads;
use crate::load::json::Members;
use crate::load::stamp::Stamp;
use crate::local;
use crate::logger::{Level, Logger};
use crate::manifest::{LONGEST_ID, Manifest};
use crate::options::{CacheOption, Options, Ttl};
use crate::stats::{Counters, Stat};
use crate::sync::Guard;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Manifests in memory, each with a time to live.
///
/// All methods may be called from any thread at any time, from within a loader too.
pub struct Cache {
    pub(super) store: Store,
    state: ForkMutex<State>,
    pub(super) counters: Counters,
    pub(super) options: Options,
    pub(super) logger: Logger,
    pub(super) clock: Clock,
    number: u64,
    /// By how much [`Cache::advance`] has moved the time.
    advanced: AtomicU64,
}

/// What the cache's one lock guards: the store and the table of in-flight loads change only while
/// it is held.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) in_flight: InFlightLoads,
}

impl Cache {
    /// A new, empty cache. `Duration::MAX` keeps manifests for ever, `Duration::ZERO` keeps none.
    pub fn new(ttl: Duration) -> Self {
        Self::with_clock(ttl, Clock::system())
    }

    /// The same, with a clock of the caller's.
    pub fn with_clock(ttl: Duration, clock: Clock) -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(0);
        let number = CACHES.fetch_add(1, Relaxed);
        let (store, pen) = Store::new();
        let ttl_ms = u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let state = State { ledger: Ledger::new(pen), in_flight: InFlightLoads::new(number) };
        Cache {
            store,
            state: ForkMutex::new(state),
            counters: Counters::default(),
            options: Options::new(ttl_ms),
            logger: Logger::default(),
            clock,
            number,
            advanced: AtomicU64::new(0),
        }
    }

    /// Locks the state, and repairs it first in a forked child (R12).
    pub(super) fn lock(&self) -> Guard<'_, State> {
        self.state.lock(|inherited| {
            local::try_with(|local| local.stripe.free_others_after_fork());
            match inherited {
                Inherited::Whole(state) => {
                    state.in_flight.forget_all();
                    None
                }
                Inherited::Torn => Some(State {
                    ledger: Ledger::rebuilt(&self.store),
                    in_flight: InFlightLoads::new(self.number),
                }),
            }
        })
    }

    /// The time to compare the expiry of entries with; see [`Clock::coarse_now`].
    pub(super) fn coarse_now(&self) -> Nanos {
        local::try_with(|local| self.clock.coarse_now(&mut local.clock))
            .unwrap_or_else(|| self.clock.now())
    }

    /// Makes the cache behave as if so much time had passed, for tests of expiry: entries expire,
    /// and waits time out. Other caches do not notice.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX >> 2).min(u64::MAX >> 2);
        let mut state = self.lock();
        state.ledger.age(&self.store, by);
        self.advanced.fetch_add(by, Relaxed);
        state.in_flight.wake_all();
    }

    /// By how much the time was advanced so far. It wraps around, so only differences count.
    pub(super) fn advanced(&self) -> Nanos {
        self.advanced.load(Relaxed)
    }

    /// Sets an option from now on; a bound holds when this returns.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) if the value is invalid; then
    /// nothing changes.
    pub fn set(&self, option: CacheOption, value: u64) -> Result<(), Error> {
        self.options.set(option, value)?;
        if matches!(option, CacheOption::MaxEntries | CacheOption::MaxBytes) {
            let mut state = self.lock();
            let now = self.clock.now();
            let evicted = state.ledger.bound(&self.store, self.options.bounds(), now);
            self.counters.add(Stat::Evictions, evicted as u64);
        }
        Ok(())
    }

    /// Sets the function that receives this cache's log messages up to a level. It runs on the
    /// thread that does what the message tells, with no lock held. It may call the cache; messages
    /// about those calls are dropped.
    pub fn set_logger(&self, level: Level, sink: impl Fn(Level, &str) + Send + Sync + 'static) {
        self.logger.set(level, Some(Box::new(sink)));
    }

    /// Ends logging.
    pub fn unset_logger(&self) {
        self.logger.set(Level::Off, None);
    }

    /// Stores a manifest that the caller has. It is newer than any load in progress, which is fenced
    /// as by a clear.
    ///
    /// # Errors
    /// [`Status::InvalidManifest`](crate::Status::InvalidManifest) as for [`Load::json`]; then
    /// nothing changes.
    pub fn put(&self, plugin_id: &str, text: impl AsRef<[u8]>) -> Result<(), Error> {
        refuse_long(plugin_id)?;
        let largest = self.options.get(CacheOption::MaxManifestBytes);
        let mut load = Load::new(plugin_id.into(), largest, self.options.syntax(), None);
        load.text(text.as_ref(), &"the text to put")?;
        if let Answer::New { manifest, members, .. } = load.take_answer()? {
            let mut state = self.lock();
            state.in_flight.fence(plugin_id);
            let (ttl, now) = (self.options.ttl(None), self.clock.now());
            self.keep(&mut state.ledger, manifest, members, ttl, None, now);
        }
        Ok(())
    }

    /// Drops the entry of a plugin; returns whether there was one.
    ///
    /// A get that begins after this returned sees nothing of a load that began before (R8).
    pub fn clear(&self, plugin_id: &str) -> bool {
        let is_cleared = {
            let mut state = self.lock();
            state.in_flight.fence(plugin_id);
            state.ledger.remove(&self.store, plugin_id)
        };
        if is_cleared {
            let id = Elided(plugin_id);
            self.logger.log(Level::Info, format_args!("Cleared cache for plugin '{id}'"));
        }
        is_cleared
    }

    /// Drops all entries, in the same way; returns how many there were.
    pub fn clear_all(&self) -> usize {
        let count = {
            let mut state = self.lock();
            state.in_flight.fence_all();
            state.ledger.remove_all(&self.store)
        };
        self.logger
            .log(Level::Info, format_args!("Cleared entire manifest cache ({count} entries)"));
        count
    }

    /// Drops the entries that have expired and that no stale option allows to be returned any more;
    /// returns how many. Loads in progress are not fenced.
    pub fn purge(&self) -> usize {
        let grace = [CacheOption::StaleIfErrorMs, CacheOption::StaleWhileRevalidateMs]
            .map(|option| self.options.time(option));
        let grace = grace.into_iter().max().unwrap_or(0);
        let now = self.clock.now();
        let is_worth = |entry: &Entry| {
            let grace = if entry.has_no_manifest() { 0 } else { grace };
            now <= entry.expires_at.saturating_add(grace)
        };
        self.lock().ledger.sweep(&self.store, is_worth)
    }

    /// Whether a stale option still allows an expired entry to be returned.
    pub(super) fn allows(&self, option: CacheOption, entry: &Entry, now: Nanos) -> bool {
        let grace = self.options.time(option);
        grace > 0 && !entry.has_no_manifest() && now <= entry.expires_at.saturating_add(grace)
    }

    /// Stores a manifest, unless it is one that is never stored: then its plugin has no entry.
    pub(super) fn keep(
        &self,
        ledger: &mut Ledger,
        manifest: Manifest,
        members: Members,
        ttl: Ttl,
        stamp: Option<Stamp>,
        now: Nanos,
    ) {
        if members == Members::None || ttl.span == 0 {
            ledger.remove(&self.store, manifest.id());
        } else {
            self.store_within_bounds(ledger, Entry::new(manifest, now, ttl), stamp, now);
        }
    }

    pub(super) fn store_within_bounds(
        &self,
        ledger: &mut Ledger,
        entry: Entry,
        stamp: Option<Stamp>,
        now: Nanos,
    ) {
        let evicted = ledger.store(&self.store, entry, stamp, self.options.bounds(), now);
        self.counters.add(Stat::Evictions, evicted as u64);
    }
}

/// Refuses an id that a manifest could not hold.
pub(super) fn refuse_long(id: &str) -> Result<(), Error> {
    if id.len() <= LONGEST_ID {
        return Ok(());
    }
    let what = format!("plugin {}: an id has at most {LONGEST_ID} bytes", Quoted(id));
    Err(Error::new(Status::InvalidArgument, what))
}

impl Drop for Cache {
    fn drop(&mut self) {
        // In a forked child the state is repaired before it is dropped.
        drop(self.lock());
    }
}
