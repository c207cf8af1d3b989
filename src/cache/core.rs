//! The cache: its parts, and the calls that set options and put, clear and purge entries.

use crate::clock::{Clock, Nanos};
use crate::entries::entry::Entry;
use crate::entries::ledger::Ledger;
use crate::entries::store::Store;
use crate::error::{Elided, Error, Quoted, Status};
use crate::fork::{ForkMutex, Inherited};
use crate::load::answer::{Answer, Load};
use crate::load::json::Members;
use crate::load::stamp::Stamp;
use crate::load::table::InFlightLoads;
use crate::local;
use crate::logger::{Level, Logger};
use crate::manifest::{LONGEST_ID, Manifest, count_removal};
use crate::options::{CacheOption, Options, Ttl};
use crate::stats::{Counters, Stat};
use crate::sync::Guard;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A cache of manifests in memory, each with a time to live.
///
/// All methods may be called from any thread at any time, also from within a loader.
pub struct Cache {
    pub(super) store: Store,
    state: ForkMutex<State>,
    pub(super) counters: Counters,
    pub(super) options: Options,
    pub(super) logger: Logger,
    pub(super) clock: Clock,
    number: u64,
    /// How far [`Cache::advance`] has moved the time, in nanoseconds.
    advanced: AtomicU64,
}

/// The state that the cache's lock guards. The ledger, which alone changes the store, and the table
/// of in-flight loads are used only while the lock is held.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) in_flight: InFlightLoads,
}

/// The locked state. What was removed meanwhile is dropped after the lock, because that can run
/// code of the host (R18).
pub(super) struct Locked<'c>(Option<Guard<'c, State>>);

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect("it is locked until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("it is locked until it is dropped")
    }
}

impl Locked<'_> {
    /// Unlocks. What was removed is dropped with the result.
    pub(super) fn unlock(mut self) -> Removed {
        self.release()
    }

    fn release(&mut self) -> Removed {
        Removed(self.0.take().map_or_else(Vec::new, |mut state| state.ledger.take_removed()))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        drop(self.release());
    }
}

/// What was removed, to be dropped when no lock is held. That can run code of the host, which may
/// panic.
pub(super) struct Removed(Vec<Manifest>);

impl Drop for Removed {
    fn drop(&mut self) {
        if self.0.iter().any(Manifest::has_value) {
            count_removal();
            self.0.clear();
            local::catch_up();
        }
    }
}

impl Cache {
    /// Creates an empty cache. With `Duration::MAX` manifests never expire; with `Duration::ZERO`
    /// the cache stores none.
    pub fn new(ttl: Duration) -> Self {
        Self::with_clock(ttl, Clock::system())
    }

    /// Creates an empty cache that reads the time from `clock`.
    pub fn with_clock(ttl: Duration, clock: Clock) -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(0);
        let number = CACHES.fetch_add(1, Relaxed);
        let (store, writer) = Store::new();
        let ttl_ms = u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let state = State { ledger: Ledger::new(writer), in_flight: InFlightLoads::new(number) };
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
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked(Some(self.state.lock(|inherited| {
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
        })))
    }

    /// The time to compare the expiry of entries with; see [`Clock::coarse_now`].
    pub(super) fn coarse_now(&self) -> Nanos {
        local::try_with(|local| self.clock.coarse_now(&mut local.clock))
            .unwrap_or_else(|| self.clock.now())
    }

    /// The time that waits count: the time awake, and how far the time was advanced. The number
    /// wraps around.
    pub(super) fn awake_now(&self) -> Nanos {
        self.clock.awake_now().wrapping_add(self.advanced())
    }

    /// Makes the cache behave as if so much time had passed, for tests of expiry: entries expire,
    /// and calls that wait for another caller's load time out. Other caches are not affected.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX >> 2).min(u64::MAX >> 2);
        let mut state = self.lock();
        state.ledger.age(&self.store, by);
        self.advanced.fetch_add(by, Relaxed);
        state.in_flight.wake_all();
    }

    /// How far [`Cache::advance`] has moved the time so far. The number wraps around, so only
    /// differences are meaningful.
    pub(super) fn advanced(&self) -> Nanos {
        self.advanced.load(Relaxed)
    }

    /// Sets an option from now on. When this returns, the cache holds no more than a new bound
    /// allows.
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
    /// thread whose call the message is about, with no lock held. It may call the cache; messages
    /// about those calls are dropped.
    pub fn set_logger(&self, level: Level, sink: impl Fn(Level, &str) + Send + Sync + 'static) {
        self.logger.set(level, Some(Box::new(sink)));
    }

    /// Ends logging.
    pub fn unset_logger(&self) {
        self.logger.set(Level::Off, None);
    }

    /// Stores a manifest that the caller already has. Loads of this plugin in progress are fenced
    /// as by a clear, because the put is newer.
    ///
    /// # Errors
    /// [`Status::InvalidManifest`](crate::Status::InvalidManifest) as for [`Load::json`]; then
    /// nothing changes.
    pub fn put(&self, plugin_id: &str, text: impl AsRef<[u8]>) -> Result<(), Error> {
        refuse_long(plugin_id)?;
        let largest = self.options.get(CacheOption::MaxManifestBytes);
        let mut load = Load::of_put(plugin_id, largest, self.options.syntax());
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
    /// A get that begins after this has returned never sees the outcome of a load that began before
    /// (R8).
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

    /// Drops all entries in the same way; returns how many there were.
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
    /// returns how many. Loads in progress are not fenced. Asynchronous waits whose time is over
    /// end.
    pub fn purge(&self) -> usize {
        let grace = [CacheOption::StaleIfErrorMs, CacheOption::StaleWhileRevalidateMs]
            .map(|option| self.options.time(option));
        let grace = grace.into_iter().max().unwrap_or(0);
        let now = self.clock.now();
        let is_worth = |entry: &Entry| {
            let grace = if entry.has_no_manifest() { 0 } else { grace };
            now <= entry.expires_at().saturating_add(grace)
        };
        let mut state = self.lock();
        let dropped = state.ledger.sweep(&self.store, is_worth);
        let overdue = state.in_flight.take_all_overdue(|| self.awake_now());
        let removed = state.unlock();
        self.tell_overdue(overdue);
        drop(removed);
        dropped
    }

    /// Whether a stale option still allows an expired entry to be returned.
    pub(super) fn allows(&self, option: CacheOption, entry: &Entry, now: Nanos) -> bool {
        let grace = self.options.time(option);
        grace > 0 && !entry.has_no_manifest() && now <= entry.expires_at().saturating_add(grace)
    }

    /// Stores a manifest. One that is never stored, because it is `{}` or its time to live is 0,
    /// only removes the plugin's entry.
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

    /// Stores an entry and evicts others if there is no room; counts the evictions.
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

/// Refuses an id that is too long for [`Manifest`].
pub(super) fn refuse_long(id: &str) -> Result<(), Error> {
    if id.len() <= LONGEST_ID {
        return Ok(());
    }
    let what = format!("plugin {}: the id is longer than {LONGEST_ID} bytes", Quoted(id));
    Err(Error::new(Status::InvalidArgument, what))
}

impl Drop for Cache {
    fn drop(&mut self) {
        // In a forked child the state may be half changed. Locking it repairs it first. The entries
        // are removed, so that no thread goes on keeping their values.
        self.lock().ledger.remove_all(&self.store);
    }
}
