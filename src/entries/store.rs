//! The entries of a cache by plugin id: read without a lock, changed under the cache's.

use super::entry::Entry;
pub(crate) use super::journal::Totals;
use super::magazine::Magazine;
use super::table::Table;
use crate::boxed::boxed;
use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::hash;
use crate::manifest::Manifest;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::process_wide;
use once_cell::race::OnceBox;
use std::array;
use std::mem::take;

/// What a look-up finds.
pub(crate) enum LookUp {
    Fresh(Manifest),
    /// An entry that has expired, also one without a manifest.
    Expired(Entry),
    /// A "not found" or a failure that is remembered.
    Error(Error),
    Absent,
}

/// What a look into the magazine that found nothing has found out.
pub(crate) struct Missed {
    hash: u64,
    pub(crate) version: u64,
    now: Nanos,
}

pub(crate) struct Store {
    table: Table,
    versions: Versions,
}

/// What it takes to change a store. There is one for each, so that changes come one after the
/// other.
pub(crate) struct StoreWriter {
    /// Manifests that were removed. They are dropped after the cache's lock, as that can run code
    /// of the host (R18). They are all here, because a host may attach a value at any time.
    removed: Vec<Manifest>,
}

impl StoreWriter {
    fn new() -> Self {
        StoreWriter { removed: Vec::new() }
    }

    /// Lets go of a manifest that was removed.
    fn let_go(&mut self, manifest: Manifest) {
        manifest.set_removed(true);
        self.removed.push(manifest);
    }

    /// What is to be dropped after the cache's lock.
    pub(crate) fn take_removed(&mut self) -> Vec<Manifest> {
        take(&mut self.removed)
    }
}

impl Store {
    pub(crate) fn new() -> (Self, StoreWriter) {
        (Store { table: Table::new(), versions: Versions::new() }, StoreWriter::new())
    }

    /// The manifest of `id`, if this thread has a fresh one in its magazine.
    #[inline(always)]
    pub(crate) fn fresh_in(
        &self,
        magazine: &mut Magazine,
        id: &[u8],
        now: Nanos,
    ) -> Result<Manifest, Missed> {
        let hash = hash(id);
        // Read before the table: should a change come between, the magazine holds something too
        // new for its version, which is asked for no more.
        let version = self.versions.of(hash).load(Acquire);
        magazine.take(hash, version, id, now).ok_or(Missed { hash, version, now })
    }

    /// As if the magazine had been looked into.
    #[cold]
    pub(crate) fn missed(&self, id: &[u8], now: Nanos) -> Missed {
        let hash = hash(id);
        Missed { hash, version: self.versions.of(hash).load(Acquire), now }
    }

    /// The manifest of `id`, if there is a fresh one in the table. The caller lets the magazine
    /// [share](Magazine::share) it.
    pub(crate) fn fresh(&self, missed: &Missed, id: &[u8]) -> Option<Manifest> {
        let use_fresh = |manifest: &Manifest| {
            if !manifest.is_fresh(missed.now) || manifest.is_empty() {
                return None;
            }
            manifest.mark_used();
            Some(manifest.clone())
        };
        self.table.find(missed.hash, id, use_fresh).flatten()
    }

    /// Looks for the entry of `id`; one that answers the caller counts as used.
    pub(crate) fn look_up(&self, id: &str, now: Nanos) -> LookUp {
        let found = self.peek(id, |entry| {
            if !entry.is_fresh(now) {
                return LookUp::Expired(entry.clone());
            }
            entry.manifest.mark_used();
            if entry.has_no_manifest() {
                LookUp::Error(entry.remembered())
            } else {
                LookUp::Fresh(entry.manifest.clone())
            }
        });
        found.unwrap_or(LookUp::Absent)
    }

    /// Uses the entry of `id`, fresh or not, if there is one.
    pub(crate) fn peek<R>(&self, id: &str, use_entry: impl FnOnce(&Entry) -> R) -> Option<R> {
        let use_manifest = |manifest: &Manifest| use_entry(&Entry::of(manifest));
        self.table.find(hash(id.as_bytes()), id.as_bytes(), use_manifest)
    }

    /// Puts an entry in the place of its plugin.
    pub(crate) fn put(&self, writer: &mut StoreWriter, entry: &Entry) {
        let hash = hash(entry.manifest.id().as_bytes());
        entry.set_times();
        entry.manifest.set_removed(false);
        let old = self.table.put(hash, entry.manifest.clone());
        self.versions.renew(hash);
        if let Some(old) = old.filter(|old| !old.is(&entry.manifest)) {
            writer.let_go(old);
        }
    }

    /// Removes the entry of `id`; returns it.
    pub(crate) fn take(&self, writer: &mut StoreWriter, id: &str) -> Option<Entry> {
        let hash = hash(id.as_bytes());
        let old = self.table.take(hash, id.as_bytes())?;
        self.versions.renew(hash);
        let entry = Entry::of(&old);
        writer.let_go(old);
        Some(entry)
    }

    /// Removes everything.
    pub(crate) fn take_all(&self, writer: &mut StoreWriter) {
        self.table.take_all(|manifest| writer.let_go(manifest));
        self.versions.renew_all();
    }

    /// Makes all entries older.
    pub(crate) fn age(&self, _writer: &mut StoreWriter, by: Nanos) {
        self.table.for_each(|manifest| Entry::of(manifest).aged(by).set_times());
    }

    /// How many entries there are, and how many bytes they occupy.
    pub(crate) fn totals(&self) -> Totals {
        self.table.totals()
    }

    /// In a forked child: the writer of a thread that is gone, which may have been changing the
    /// store.
    pub(crate) fn recover_writer(&self) -> StoreWriter {
        let mut writer = StoreWriter::new();
        self.table.recover(|manifest| writer.let_go(manifest));
        // A version may be older than what is in the table.
        self.versions.renew_all();
        writer
    }

    /// Calls `use_manifest` for all manifests.
    pub(crate) fn for_each(&self, _writer: &StoreWriter, use_manifest: impl FnMut(&Manifest)) {
        self.table.for_each(use_manifest);
    }
}

/// A version for each group of plugins: another one after each change of their entries, and never
/// one that any group of the process has had. What a thread found in the table is still there as
/// long as the version is the same.
struct Versions {
    few: [AtomicU64; FEW],
    /// Once there were so many changes that a change should concern fewer other plugins.
    many: OnceBox<[AtomicU64; MANY]>,
    changes: AtomicU64,
}

const FEW: usize = if cfg!(shuttle) { 2 } else { 32 };
const MANY: usize = if cfg!(shuttle) { 2 } else { 2048 };
const CHANGES: u64 = if cfg!(shuttle) { 2 } else { 256 };

impl Versions {
    fn new() -> Self {
        let few = array::from_fn(new_versions(FEW));
        Versions { few, many: OnceBox::new(), changes: AtomicU64::new(0) }
    }

    #[inline]
    fn of(&self, hash: u64) -> &AtomicU64 {
        match self.many.get() {
            Some(many) => &many[hash as usize % MANY],
            None => &self.few[hash as usize % FEW],
        }
    }

    /// After a change of the entry of an id with this hash, under the cache's lock.
    fn renew(&self, hash: u64) {
        let changes = self.changes.load(Relaxed) + 1;
        self.changes.store(changes, Relaxed);
        if changes == CHANGES {
            // All are new, so they are newer than what any thread found before.
            let _ = self.many.set(boxed(new_versions(MANY)));
        }
        renew(self.of(hash));
    }

    fn renew_all(&self) {
        self.few.iter().for_each(renew);
        self.many.get().into_iter().flat_map(|many| many.iter()).for_each(renew);
    }
}

fn renew(version: &AtomicU64) {
    // Release: who sees this version finds this change or a later one.
    version.store(next_versions(1), Release);
}

/// So many versions.
fn new_versions(count: usize) -> impl FnMut(usize) -> AtomicU64 {
    let first = next_versions(count as u64);
    move |at| AtomicU64::new(first + at as u64)
}

/// The first of so many versions that no group of the process has had.
fn next_versions(count: u64) -> u64 {
    process_wide! { static NEXT: AtomicU64 = AtomicU64::new(1) }
    NEXT.fetch_add(count, Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::options::Ttl;
    use std::collections::HashMap;

    fn manifest(id: &str, n: usize) -> Manifest {
        Manifest::new(id, &format!("{{\"n\":{n}}}"))
    }

    /// As a get looks for a manifest.
    fn get(store: &Store, magazine: &mut Magazine, id: &str) -> Option<Manifest> {
        store.fresh_in(magazine, id.as_bytes(), 0).map(Some).unwrap_or_else(|missed| {
            let manifest = store.fresh(&missed, id.as_bytes())?;
            Some(magazine.share(missed.version, manifest, &mut Vec::new()))
        })
    }

    fn text(store: &Store, id: &str) -> Option<String> {
        get(store, &mut Magazine::new(), id).map(|manifest| manifest.to_string())
    }

    fn insert(store: &Store, writer: &mut StoreWriter, manifest: Manifest) {
        store.put(writer, &Entry::new(manifest, 0, Ttl { span: NEVER, is_own: false }));
    }

    fn count(store: &Store, writer: &StoreWriter) -> usize {
        let mut count = 0;
        store.for_each(writer, |_| count += 1);
        count
    }

    #[test]
    fn it_behaves_like_a_map() {
        let ((store, mut writer), mut map) = (Store::new(), HashMap::new());
        for n in 0..40_000 {
            let id = format!("plugin-{}", n * 7919 % 20_000);
            if n % 5 == 4 {
                let removed = store.take(&mut writer, &id).map(|entry| entry.manifest.to_string());
                assert_eq!(removed, map.remove(&id));
            } else {
                insert(&store, &mut writer, manifest(&id, n));
                map.insert(id, format!("{{\"n\":{n}}}"));
            }
        }
        assert_eq!(count(&store, &writer), map.len());
        for n in 0..20_000 {
            let id = format!("plugin-{n}");
            assert_eq!(text(&store, &id).as_ref(), map.get(&id));
        }
        store.take_all(&mut writer);
        assert_eq!((count(&store, &writer), text(&store, "plugin-1")), (0, None));
    }

    #[test]
    fn what_is_removed_is_freed_as_soon_as_the_writer_lets_go_of_it() {
        let ((store, mut writer), kept) = (Store::new(), manifest("a", 1));
        insert(&store, &mut writer, kept.clone());
        insert(&store, &mut writer, manifest("a", 2));
        drop(writer.take_removed());
        assert_eq!(kept.references(), 1);
    }

    #[test]
    fn what_was_removed_is_dropped_by_the_writer_and_not_by_the_change() {
        let (store, mut writer) = Store::new();
        for n in 0..3 {
            let manifest = manifest("a", n);
            manifest.attach(n).unwrap();
            insert(&store, &mut writer, manifest);
        }
        store.take(&mut writer, "a");
        let late = manifest("a", 3);
        insert(&store, &mut writer, late.clone());
        store.take_all(&mut writer);
        late.attach(3_usize).unwrap();
        let removed: Vec<usize> =
            writer.take_removed().iter().map(|it| *it.value().unwrap()).collect();
        assert_eq!(removed, [0, 1, 2, 3]);
    }

    #[test]
    fn what_was_found_in_one_store_is_not_found_in_another() {
        let (mut magazine, (one, mut writer), (two, _)) =
            (Magazine::new(), Store::new(), Store::new());
        let version = one.versions.of(hash(b"a")).load(Acquire);
        insert(&one, &mut writer, manifest("a", 1));
        // As if the table had been read after the change, and the version before.
        magazine.share(version, manifest("a", 1), &mut Vec::new());
        assert!(get(&two, &mut magazine, "a").is_none());
        assert!(get(&Store::new().0, &mut magazine, "a").is_none());
    }

    #[test]
    fn a_magazine_never_has_what_was_removed_while_the_versions_grow_in_number() {
        let ((store, mut writer), mut magazine) = (Store::new(), Magazine::new());
        for n in 0..2 * CHANGES as usize {
            insert(&store, &mut writer, manifest("a", n));
            for _ in 0..2 {
                let found = get(&store, &mut magazine, "a").unwrap();
                assert_eq!(found.as_str(), format!("{{\"n\":{n}}}"));
            }
        }
        store.take(&mut writer, "a");
        assert!(get(&store, &mut magazine, "a").is_none());
    }

    #[test]
    fn readers_find_what_is_there_while_the_table_grows() {
        let (store, mut writer) = Store::new();
        insert(&store, &mut writer, manifest("a", 0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 9_999 {
                        let manifest = get(&store, &mut Magazine::new(), "a").unwrap();
                        let n = manifest[5..manifest.len() - 1].parse().unwrap();
                        assert!(n >= last);
                        last = n;
                    }
                });
            }
            for n in 1..10_000 {
                insert(&store, &mut writer, manifest(&n.to_string(), n));
                insert(&store, &mut writer, manifest("a", n));
            }
        });
    }
}
