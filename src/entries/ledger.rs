//! An account of what the store holds, kept under the cache's lock: how much, within which bounds,
//! and what the cache remembers beside an entry and drops with it.
//!
//! The store is changed through the ledger only.

use super::entry::Entry;
use super::eviction::Sieve;
use super::store::{Store, StoreWriter, Totals};
use crate::clock::{Nanos, earlier};
use crate::error::Error;
use crate::load::stamp::Stamp;
use crate::manifest::Manifest;
use crate::options::Bounds;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) struct Ledger {
    writer: StoreWriter,
    beside: HashMap<Box<str>, Beside>,
    /// Only while there are bounds.
    order: Option<Order>,
}

/// In which order entries go when there is no room: by expiry those that have expired, then by
/// SIEVE.
#[derive(Default)]
struct Order {
    by_expiry: BTreeSet<(Nanos, Arc<str>)>,
    sieve: Sieve,
}

impl Order {
    fn add(&mut self, entry: &Entry) {
        let id = self.sieve.push(entry.manifest.id());
        self.by_expiry.insert((entry.expires_at(), id));
    }

    fn remove(&mut self, entry: &Entry) {
        if let Some(id) = self.sieve.remove(entry.manifest.id()) {
            self.by_expiry.remove(&(entry.expires_at(), id));
        }
    }

    fn age(&mut self, by: Nanos) {
        let aged = |(expires_at, id)| (earlier(expires_at, by), id);
        self.by_expiry = std::mem::take(&mut self.by_expiry).into_iter().map(aged).collect();
    }

    fn next_to_go(&mut self, now: Nanos, take_mark: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        match self.by_expiry.first() {
            Some((expires_at, id)) if *expires_at < now => Some(id.clone()),
            _ => self.sieve.victim(take_mark),
        }
    }
}

/// What is remembered beside an entry.
#[derive(Clone, Default)]
pub(crate) struct Beside {
    /// The file it came from, as it was then.
    pub(crate) stamp: Option<Stamp>,
    /// Its reload failed.
    pub(crate) backoff: Option<Backoff>,
}

/// A reload that failed: the loader is not called again for a while.
#[derive(Clone)]
pub(crate) struct Backoff {
    pub(crate) until: Nanos,
    pub(crate) error: Error,
}

impl Ledger {
    /// Of an empty store.
    pub(crate) fn new(writer: StoreWriter) -> Self {
        Ledger { writer, beside: HashMap::new(), order: None }
    }

    /// In a forked child: the account of a store whose ledger is lost.
    pub(crate) fn rebuilt(store: &Store) -> Self {
        Ledger::new(store.recover_writer())
    }

    /// The manifests that were removed, to be dropped after the cache's lock.
    pub(crate) fn take_removed(&mut self) -> Vec<Manifest> {
        self.writer.take_removed()
    }

    /// Makes all entries, and what is remembered beside them, older.
    pub(crate) fn age(&mut self, store: &Store, by: Nanos) {
        store.age(&mut self.writer, by);
        for beside in self.beside.values_mut() {
            if let Some(backoff) = &mut beside.backoff {
                backoff.until = earlier(backoff.until, by);
            }
        }
        if let Some(order) = &mut self.order {
            order.age(by);
        }
    }

    /// All entries of the store, as they are now.
    pub(crate) fn all(&self, store: &Store) -> Vec<Entry> {
        let mut all = Vec::with_capacity(store.totals().entries);
        store.for_each(&self.writer, |manifest| all.push(Entry::of(manifest)));
        all
    }

    /// How many entries of the store are not fresh.
    pub(crate) fn count_expired(&self, store: &Store, now: Nanos) -> usize {
        let mut expired = 0;
        store.for_each(&self.writer, |manifest| expired += usize::from(!manifest.is_fresh(now)));
        expired
    }

    /// Stores an entry in place of that of the same plugin, unless it alone is more than may be
    /// held; says how many others had to go.
    pub(crate) fn store(
        &mut self,
        store: &Store,
        entry: Entry,
        stamp: Option<Stamp>,
        bounds: Bounds,
        now: Nanos,
    ) -> usize {
        let (id, bytes) = (entry.manifest.id(), entry.size());
        if bytes > bounds.bytes {
            self.remove(store, id);
            return 0;
        }
        let totals = store.totals();
        if totals.entries >= bounds.entries || totals.bytes + bytes > bounds.bytes {
            // Only in a forked child is there no order yet: it makes one when it has to evict.
            self.keep_order(store, bounds);
        }
        let old = match store.peek(id, Entry::clone) {
            Some(old) => {
                self.write_off(&old);
                Totals { entries: 1, bytes: old.size() }
            }
            None => Totals::default(),
        };
        // Room is made first, so that nobody ever sees more than there may be. The old entry is in
        // the store until the new one takes its place, so its room need not be made.
        let room = Bounds {
            entries: (bounds.entries - 1).saturating_add(old.entries),
            bytes: (bounds.bytes - bytes).saturating_add(old.bytes),
        };
        let evicted = self.make_room(store, room, now);
        store.put(&mut self.writer, &entry);
        if let Some(order) = &mut self.order {
            order.add(&entry);
        }
        if stamp.is_some() {
            self.beside.insert(id.into(), Beside { stamp, backoff: None });
        }
        evicted
    }

    /// Removes the entry of a plugin; returns whether there was one.
    pub(crate) fn remove(&mut self, store: &Store, id: &str) -> bool {
        let Some(old) = store.take(&mut self.writer, id) else { return false };
        self.write_off(&old);
        true
    }

    /// Removes everything; returns how many entries there were.
    pub(crate) fn remove_all(&mut self, store: &Store) -> usize {
        let entries = store.totals().entries;
        store.take_all(&mut self.writer);
        self.order = self.order.is_some().then(Order::default);
        self.beside.clear();
        entries
    }

    /// Removes the entries that are not `worth` keeping; returns how many.
    pub(crate) fn sweep(&mut self, store: &Store, worth: impl Fn(&Entry) -> bool) -> usize {
        let all = self.all(store).into_iter();
        all.filter(|entry| !worth(entry) && self.remove(store, entry.manifest.id())).count()
    }

    /// Holds no more than this from now on; returns how many entries it evicted.
    pub(crate) fn bound(&mut self, store: &Store, bounds: Bounds, now: Nanos) -> usize {
        self.keep_order(store, bounds);
        self.make_room(store, bounds, now)
    }

    pub(crate) fn beside(&self, id: &str) -> Option<&Beside> {
        self.beside.get(id)
    }

    /// Remembers that the reload of an entry failed.
    pub(crate) fn back_off(&mut self, id: &str, backoff: Backoff) {
        self.beside.entry(id.into()).or_default().backoff = Some(backoff);
    }

    /// Evicts until what is held fits.
    fn make_room(&mut self, store: &Store, room: Bounds, now: Nanos) -> usize {
        let take_mark =
            |id: &str| store.peek(id, |entry| entry.manifest.take_mark()).unwrap_or(false);
        let mut evicted = 0;
        let is_over = |Totals { entries, bytes }| entries > room.entries || bytes > room.bytes;
        while is_over(store.totals()) {
            let Some(next) = self.order.as_mut().and_then(|order| order.next_to_go(now, take_mark))
            else {
                break;
            };
            self.remove(store, &next);
            evicted += 1;
        }
        evicted
    }

    /// Keeps the order of entries while there are bounds, and only then.
    fn keep_order(&mut self, store: &Store, bounds: Bounds) {
        if bounds.are_any() && self.order.is_none() {
            let mut order = Order::default();
            self.all(store).iter().for_each(|entry| order.add(entry));
            self.order = Some(order);
        } else if !bounds.are_any() {
            self.order = None;
        }
    }

    /// Removes an entry from the account, with all that is remembered beside it.
    fn write_off(&mut self, old: &Entry) {
        if !self.beside.is_empty() {
            self.beside.remove(old.manifest.id());
        }
        if let Some(order) = &mut self.order {
            order.remove(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::options::Ttl;

    fn entry(id: &str, bytes: usize, expires_at: Nanos) -> Entry {
        let ttl = Ttl { span: expires_at, is_own: false };
        Entry::new(Manifest::new(id, &"x".repeat(bytes)), 0, ttl)
    }

    /// With an order of eviction from the first entry on.
    fn empty_within(bounds: Bounds) -> (Store, Ledger) {
        let (store, mut ledger) = empty();
        ledger.bound(&store, bounds, 0);
        (store, ledger)
    }

    fn empty() -> (Store, Ledger) {
        let (store, writer) = Store::new();
        (store, Ledger::new(writer))
    }

    fn held(store: &Store, ledger: &Ledger) -> Vec<String> {
        let mut ids: Vec<String> =
            ledger.all(store).iter().map(|entry| entry.manifest.id().to_owned()).collect();
        ids.sort();
        assert_eq!(ids.len(), store.totals().entries);
        let bytes: usize = ledger.all(store).iter().map(Entry::size).sum();
        assert_eq!(bytes, store.totals().bytes);
        ids
    }

    /// The size of an entry of no bytes, whose id is one character.
    fn empty_size() -> usize {
        entry("a", 0, 0).size()
    }

    fn at_most(entries: usize, bytes: usize) -> Bounds {
        Bounds { entries, bytes }
    }

    #[test]
    fn bounds_hold_and_what_has_expired_goes_first() {
        let bounds = at_most(3, usize::MAX);
        let (store, mut ledger) = empty_within(bounds);
        for (id, expires_at) in [("new", 100), ("old", 10), ("other", 100)] {
            assert_eq!(ledger.store(&store, entry(id, 5, expires_at), None, bounds, 0), 0);
        }
        assert_eq!(ledger.store(&store, entry("next", 5, 100), None, bounds, 11), 1);
        assert_eq!(held(&store, &ledger), ["new", "next", "other"]);
        assert_eq!(ledger.store(&store, entry("last", 5, 100), None, bounds, 11), 1);
        assert_eq!(held(&store, &ledger), ["last", "next", "other"]);
    }

    #[test]
    fn bytes_are_bounded_too_and_a_replacement_takes_the_place_of_the_old() {
        let bounds = at_most(usize::MAX, 2 * empty_size() + 10);
        let (store, mut ledger) = empty_within(bounds);
        assert_eq!(ledger.store(&store, entry("a", 4, 100), None, bounds, 0), 0);
        assert_eq!(ledger.store(&store, entry("b", 4, 100), None, bounds, 0), 0);
        assert_eq!(ledger.store(&store, entry("a", 6, 100), None, bounds, 0), 0);
        assert_eq!(ledger.store(&store, entry("a", 7, 100), None, bounds, 0), 1);
        assert_eq!(held(&store, &ledger), ["a"]);
        assert_eq!(ledger.store(&store, entry("a", empty_size() + 11, 100), None, bounds, 0), 0);
        assert!(held(&store, &ledger).is_empty(), "what is larger than the bound is not stored");
    }

    #[test]
    fn a_bound_that_is_set_later_holds_at_once() {
        let (store, mut ledger) = empty();
        for n in 0..100 {
            ledger.store(&store, entry(&format!("{n:02}"), 0, 100), None, Bounds::NONE, 0);
        }
        assert_eq!(ledger.bound(&store, at_most(10, usize::MAX), 0), 90);
        assert_eq!(ledger.bound(&store, at_most(10, 4 * (empty_size() + 1)), 0), 6);
        assert_eq!(held(&store, &ledger).len(), 4);
        ledger.store(&store, entry("more", 1, 100), None, Bounds::NONE, 0);
        assert_eq!(held(&store, &ledger).len(), 5);
    }

    #[test]
    fn what_is_used_stays_longer() {
        let bounds = at_most(3, usize::MAX);
        let (store, mut ledger) = empty_within(bounds);
        ledger.store(&store, entry("used", 1, 100), None, bounds, 0);
        for n in 0..50 {
            store.peek("used", |entry| entry.manifest.mark_used());
            ledger.store(&store, entry(&n.to_string(), 1, 100), None, bounds, 0);
        }
        assert!(held(&store, &ledger).contains(&"used".to_owned()));
    }

    #[test]
    fn what_is_beside_an_entry_goes_with_it() {
        let (store, mut ledger) = empty();
        let failure = || Error::new(crate::Status::LoadFailed, "no");
        for n in 0..4 {
            ledger.store(&store, entry("a", 1, 100), None, Bounds::NONE, 0);
            ledger.back_off("a", Backoff { until: 7, error: failure() });
            assert!(ledger.beside("a").unwrap().backoff.is_some());
            match n {
                0 => drop(ledger.remove(&store, "a")),
                1 => drop(ledger.remove_all(&store)),
                2 => drop(ledger.sweep(&store, |_| false)),
                _ => drop(ledger.store(&store, entry("a", 2, 100), None, Bounds::NONE, 0)),
            }
            assert!(ledger.beside("a").is_none());
        }
    }

    #[test]
    fn a_sweep_counts_what_goes() {
        let (store, mut ledger) = empty();
        for (id, expires_at) in [("a", 1), ("b", 2), ("c", 3)] {
            ledger.store(&store, entry(id, 1, expires_at), None, Bounds::NONE, 0);
        }
        assert_eq!(ledger.sweep(&store, |entry| entry.is_fresh(2)), 1);
        assert_eq!(held(&store, &ledger), ["b", "c"]);
    }
}
