//! Entries by plugin id: read without a lock, changed under the cache's.
//!
//! Two thousand shards, each an immutable list that a change replaces whole. So a reader sees a
//! shard before or after a change and never waits; what it found stays valid while it looks; and a
//! shard that was replaced is freed at once.

use super::magazine::Magazine;
use crate::clock::{NEVER, Nanos, earlier};
use crate::error::{Error, Quoted, Status};
use crate::manifest::{Manifest, hash};
use crate::options::Ttl;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{Swap, process_wide};
use std::sync::Arc;

const SHARDS: usize = if cfg!(shuttle) { 2 } else { 2048 };

/// A manifest, or that there is none, and how long that is fresh.
#[derive(Clone)]
pub(crate) struct Entry {
    hash: u64,
    pub(crate) manifest: Manifest,
    pub(crate) stored_at: Nanos,
    pub(crate) expires_at: Nanos,
    pub(crate) ttl: Nanos,
    /// Whether its loader gave it a time to live of its own.
    has_own_ttl: bool,
    /// The failure that is remembered in place of a manifest.
    failure: Option<Arc<Error>>,
}

/// How many bytes an entry occupies besides its manifest, its id and its message: its places in the
/// store, in the order of eviction and in what is remembered beside it. The header states it.
const OVERHEAD: usize = 384;

impl Entry {
    pub(crate) fn new(manifest: Manifest, now: Nanos, ttl: Ttl) -> Self {
        let hash = hash(manifest.id().as_bytes());
        let expires_at = now.saturating_add(ttl.span);
        let span = if expires_at == NEVER { NEVER } else { ttl.span };
        let (stored_at, has_own_ttl) = (now, ttl.is_own);
        Entry { hash, manifest, stored_at, expires_at, ttl: span, has_own_ttl, failure: None }
    }

    /// Remembers that there is no such plugin, or that its load failed.
    pub(crate) fn without_manifest(id: &str, error: &Error, now: Nanos, ttl: Nanos) -> Self {
        let ttl = Ttl { span: ttl, is_own: true };
        let is_failure = error.status() != Status::NotFound;
        let failure = is_failure.then(|| Arc::new(error.clone()));
        Entry { failure, ..Entry::new(Manifest::none(id), now, ttl) }
    }

    /// How many bytes the entry occupies.
    pub(crate) fn size(&self) -> usize {
        let message = self.failure.as_ref().map_or(0, |failure| failure.message().len());
        self.manifest.len() + self.manifest.id().len() + message + OVERHEAD
    }

    /// Expired is what is older than its time to live, not what has just reached it (R2).
    #[inline]
    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now <= self.expires_at
    }

    /// Whether this remembers a "not found" or a failure in place of a manifest.
    #[inline]
    pub(crate) fn has_no_manifest(&self) -> bool {
        self.manifest.is_empty()
    }

    /// The error that this entry remembers, if it has no manifest.
    fn remembered(&self) -> Error {
        let id = Quoted(self.manifest.id());
        match &self.failure {
            Some(failure) => Error::clone(failure),
            None => {
                let why = "it was not found a short while ago, so the loader was not called";
                Error::new(Status::NotFound, format!("plugin {id}: {why}"))
            }
        }
    }

    /// The entry as it would be if it had been stored so much earlier.
    pub(crate) fn aged(&self, by: Nanos) -> Self {
        let stored_at = self.stored_at.saturating_sub(by);
        Entry { stored_at, expires_at: earlier(self.expires_at, by), ..self.clone() }
    }

    /// Whether this is that very entry, neither replaced nor renewed since.
    pub(crate) fn is(&self, other: &Entry) -> bool {
        self.manifest.is(&other.manifest) && self.stored_at == other.stored_at
    }

    /// The time to live that its loader gave it, if it gave one.
    pub(crate) fn own_ttl(&self) -> Option<Ttl> {
        self.has_own_ttl.then_some(Ttl { span: self.ttl, is_own: true })
    }
}

/// What a look-up finds.
pub(crate) enum LookUp {
    Fresh(Manifest),
    /// An entry that has expired, also one without a manifest.
    Expired(Entry),
    /// A "not found" or a failure that is remembered.
    Error(Error),
    Absent,
}

pub(crate) struct Store {
    /// A boxed array, as its index needs no check on the hit path.
    shards: Box<[Shard; SHARDS]>,
}

struct Shard {
    /// Another one after each change, and never one that any other shard had: what was found in it
    /// is still there as long as this is the same.
    version: AtomicU64,
    list: Swap<List>,
}

/// What it takes to change a store. There is one for each, so that changes come one after the
/// other.
pub(crate) struct StoreWriter(());

impl Store {
    pub(crate) fn new() -> (Self, StoreWriter) {
        let first = new_versions(SHARDS as u64);
        let shard = |version| Shard { version: AtomicU64::new(version), list: Swap::default() };
        let shards: Box<[Shard]> = (first..first + SHARDS as u64).map(shard).collect();
        let Ok(shards) = shards.try_into() else { unreachable!("there are {SHARDS}") };
        (Store { shards }, StoreWriter(()))
    }

    /// The manifest of `id`, if there is a fresh one.
    #[inline(always)]
    pub(crate) fn fresh(&self, magazine: &mut Magazine, id: &[u8], now: Nanos) -> Option<Manifest> {
        let hash = hash(id);
        let shard = self.shard(hash);
        // Read before the list: should a change come between, the magazine holds something too new
        // for its version, which is asked for no more.
        let version = shard.version.load(Acquire);
        magazine
            .take(hash, version, id, now)
            .or_else(|| shard.fresh(magazine, hash, version, id, now))
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
        let hash = hash(id.as_bytes());
        let list = self.shard(hash).list.load();
        let list = list.as_deref()?;
        list.find(hash, id.as_bytes()).ok().map(|at| use_entry(&list.0[at]))
    }

    /// Puts an entry in the place of its plugin; returns the one that was there.
    pub(crate) fn put(&self, _writer: &mut StoreWriter, entry: &Entry) -> Option<Entry> {
        self.replace(entry.hash, entry.manifest.id(), Some(entry))
    }

    /// Removes the entry of `id`; returns it.
    pub(crate) fn take(&self, _writer: &mut StoreWriter, id: &str) -> Option<Entry> {
        self.replace(hash(id.as_bytes()), id, None)
    }

    /// Removes everything.
    pub(crate) fn take_all(&self, _writer: &mut StoreWriter) {
        self.shards
            .iter()
            .filter(|shard| shard.list.load().is_some())
            .for_each(|shard| shard.replace(None));
    }

    /// Makes all entries older.
    pub(crate) fn age(&self, _writer: &mut StoreWriter, by: Nanos) {
        for shard in self.shards.iter() {
            if let Some(list) = &*shard.list.load() {
                let aged = list.0.iter().map(|entry| entry.aged(by)).collect();
                shard.replace(Some(Arc::new(List(aged))));
            }
        }
    }

    /// In a forked child: the writer of a thread that is gone, which may have been changing a
    /// shard. Its list is the old or the new one; each shard gets another version, as the version
    /// may be older than the list.
    pub(crate) fn recover_writer(&self) -> StoreWriter {
        self.shards.iter().for_each(Shard::renew_version);
        StoreWriter(())
    }

    /// The shards as they are while nobody writes, to be looked through after the lock is
    /// gone.
    pub(crate) fn snapshot(&self, _writer: &StoreWriter) -> Snapshot {
        Snapshot(self.shards.iter().filter_map(|shard| shard.list.load_full()).collect())
    }

    fn replace(&self, hash: u64, id: &str, new: Option<&Entry>) -> Option<Entry> {
        let shard = self.shard(hash);
        let old = shard.list.load();
        let empty = List(Box::default());
        let old = old.as_deref().unwrap_or(&empty);
        let place = old.find(hash, id.as_bytes());
        let (before, after) = match place {
            Ok(at) => (&old.0[..at], &old.0[at + 1..]),
            Err(at) => old.0.split_at(at),
        };
        let replaced = place.ok().map(|at| old.0[at].clone());
        if replaced.is_some() || new.is_some() {
            let list: Box<[Entry]> = before.iter().chain(new).chain(after).cloned().collect();
            shard.replace((!list.is_empty()).then(|| Arc::new(List(list))));
        }
        replaced
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[hash as usize % SHARDS]
    }
}

impl Shard {
    /// Not inlined, to leave the processor's registers to the way through the magazine.
    #[inline(never)]
    fn fresh(
        &self,
        magazine: &mut Magazine,
        hash: u64,
        version: u64,
        id: &[u8],
        now: Nanos,
    ) -> Option<Manifest> {
        let list = self.list.load();
        let list = list.as_deref()?;
        let entry = &list.0[list.find(hash, id).ok()?];
        if !entry.is_fresh(now) || entry.has_no_manifest() {
            return None;
        }
        entry.manifest.mark_used();
        Some(magazine.share(version, &entry.manifest, entry.expires_at))
    }

    fn replace(&self, list: Option<Arc<List>>) {
        self.list.store(list);
        self.renew_version();
    }

    fn renew_version(&self) {
        // Release: who sees this version finds this list or a later one.
        self.version.store(new_versions(1), Release);
    }
}

/// The first of so many versions that no shard of the process has had.
fn new_versions(count: u64) -> u64 {
    process_wide! { static NEXT: AtomicU64 = AtomicU64::new(1) }
    NEXT.fetch_add(count, Relaxed)
}

/// Entries sorted by hash. As hashes are spread evenly, an entry stands about where its hash says.
struct List(Box<[Entry]>);

impl List {
    /// Where the entry of `id` is, or where it belongs.
    #[inline]
    fn find(&self, hash: u64, id: &[u8]) -> Result<usize, usize> {
        let entries = &*self.0;
        let mut at = ((u128::from(hash) * entries.len() as u128) >> 64) as usize;
        while at > 0 && entries[at - 1].hash >= hash {
            at -= 1;
        }
        while let Some(entry) = entries.get(at) {
            if entry.hash > hash {
                break;
            }
            if entry.hash == hash && entry.manifest.id().as_bytes() == id {
                return Ok(at);
            }
            at += 1;
        }
        Err(at)
    }
}

/// The entries of one moment.
pub(crate) struct Snapshot(Vec<Arc<List>>);

impl Snapshot {
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().flat_map(|list| &list.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn manifest(id: &str, n: usize) -> Manifest {
        Manifest::new(id, &format!("{{\"n\":{n}}}"))
    }

    fn ttl(span: Nanos) -> Ttl {
        Ttl { span, is_own: false }
    }

    fn text(store: &Store, id: &str) -> Option<String> {
        store.fresh(&mut Magazine::new(), id.as_bytes(), 0).map(|manifest| manifest.to_string())
    }

    fn insert(store: &Store, writer: &mut StoreWriter, manifest: Manifest) {
        store.put(writer, &Entry::new(manifest, 0, ttl(NEVER)));
    }

    #[test]
    fn it_behaves_like_a_map() {
        let ((store, mut writer), mut map) = (Store::new(), HashMap::new());
        // Twenty entries a shard, so that neighbours are moved and searched.
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
        assert_eq!(store.snapshot(&writer).entries().count(), map.len());
        for n in 0..20_000 {
            let id = format!("plugin-{n}");
            assert_eq!(text(&store, &id).as_ref(), map.get(&id));
        }
        store.take_all(&mut writer);
        assert_eq!(
            (store.snapshot(&writer).entries().count(), text(&store, "plugin-1")),
            (0, None)
        );
    }

    #[test]
    fn equal_hashes_are_told_apart_by_id() {
        let entry = |hash, id| Entry { hash, ..Entry::new(manifest(id, 0), 0, ttl(NEVER)) };
        let list =
            List(Box::new([entry(3, "a"), entry(7, "b"), entry(7, "c"), entry(u64::MAX, "d")]));
        assert_eq!(list.find(7, b"b"), Ok(1));
        assert_eq!(list.find(7, b"c"), Ok(2));
        assert_eq!(list.find(7, b"x"), Err(3));
        assert_eq!(list.find(0, b"a"), Err(0));
        assert_eq!(list.find(u64::MAX, b"d"), Ok(3));
        assert_eq!(list.find(u64::MAX, b"e"), Err(4));
    }

    #[test]
    fn an_entry_is_fresh_up_to_and_with_the_end_of_its_time() {
        let entry = Entry::new(manifest("a", 0), 3, ttl(7));
        assert!(entry.is_fresh(10) && !entry.is_fresh(11));
    }

    #[test]
    fn what_is_removed_is_freed_at_once() {
        let ((store, mut writer), kept) = (Store::new(), manifest("a", 1));
        insert(&store, &mut writer, kept.clone());
        insert(&store, &mut writer, manifest("a", 2));
        assert_eq!(kept.references(), 1);
    }

    #[test]
    fn what_was_found_in_one_store_is_not_found_in_another() {
        let (mut magazine, (one, mut writer), (two, _)) =
            (Magazine::new(), Store::new(), Store::new());
        let version = one.shard(hash(b"a")).version.load(Acquire);
        insert(&one, &mut writer, manifest("a", 1));
        // As if the list had been read after the change, and the version before.
        magazine.share(version, &manifest("a", 1), NEVER);
        assert!(two.fresh(&mut magazine, b"a", 0).is_none());
        assert!(Store::new().0.fresh(&mut magazine, b"a", 0).is_none());
    }

    #[test]
    fn readers_see_the_old_or_the_new_and_nothing_else() {
        let (store, mut writer) = Store::new();
        insert(&store, &mut writer, manifest("a", 0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let (mut magazine, mut last) = (Magazine::new(), 0);
                    while last < 9_999 {
                        let manifest = store.fresh(&mut magazine, b"a", 0).unwrap();
                        let n = manifest[5..manifest.len() - 1].parse().unwrap();
                        assert!(n >= last);
                        last = n;
                    }
                });
            }
            (1..10_000).for_each(|n| insert(&store, &mut writer, manifest("a", n)));
        });
    }
}
