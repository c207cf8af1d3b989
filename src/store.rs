//! Entries by plugin id: read without a lock, changed under the cache's.
//!
//! Two thousand shards, each an immutable list that a change replaces whole. So a reader sees a shard before or after a
//! change and never waits; what it found stays valid while it looks; and a shard that was replaced is freed at once.

use crate::clock::Nanos;
use crate::magazine::Magazine;
use crate::manifest::{Manifest, hash};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{Swap, process_wide};
use std::sync::Arc;

const SHARDS: usize = if cfg!(shuttle) { 2 } else { 2048 };

/// A manifest and how long it is fresh.
#[derive(Clone)]
pub(crate) struct Entry {
    hash: u64,
    pub(crate) manifest: Manifest,
    pub(crate) expires_at: Nanos,
}

impl Entry {
    /// Expired is what is older than its time to live, not what has just reached it (R2).
    #[inline]
    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now <= self.expires_at
    }
}

pub(crate) struct Store {
    shards: Box<[Shard]>,
}

#[derive(Default)]
struct Shard {
    /// Another one after each change, and never one that any other shard had: what was found in it is still there as long
    /// as this is the same.
    version: AtomicU64,
    list: Swap<List>,
}

/// What the store holds, kept beside it under the cache's lock: only who has this can change the store.
#[derive(Default)]
pub(crate) struct Holdings {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Store {
    pub(crate) fn new() -> Self {
        Store { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// The manifest of `id`, if there is a fresh one.
    #[inline(always)]
    pub(crate) fn fresh(&self, magazine: &mut Magazine, id: &[u8], now: Nanos) -> Option<Manifest> {
        let hash = hash(id);
        let shard = self.shard(hash);
        // Read before the list: should a change come between, the magazine holds something too new for its version, which
        // is asked for no more.
        let version = shard.version.load(Acquire);
        magazine.take(hash, version, id, now).or_else(|| shard.fresh(magazine, hash, version, id, now))
    }

    /// Stores a manifest under its plugin's id.
    pub(crate) fn insert(&self, held: &mut Holdings, manifest: Manifest, expires_at: Nanos) {
        let hash = hash(manifest.id().as_bytes());
        held.entries += 1;
        held.bytes += manifest.len();
        let entry = Entry { hash, manifest, expires_at };
        self.replace(held, hash, entry.manifest.id(), Some(&entry));
    }

    /// Removes the entry of `id`; says whether there was one.
    pub(crate) fn remove(&self, held: &mut Holdings, id: &str) -> bool {
        self.replace(held, hash(id.as_bytes()), id, None)
    }

    /// Removes everything; says how many entries that were.
    pub(crate) fn clear(&self, held: &mut Holdings) -> usize {
        self.shards.iter().filter(|shard| shard.list.load().is_some()).for_each(|shard| shard.replace(None));
        std::mem::take(held).entries
    }

    /// The shards as they are while the caller has `held`, to be looked through after the lock is gone.
    pub(crate) fn snapshot(&self, _held: &Holdings) -> Snapshot {
        Snapshot(self.shards.iter().filter_map(|shard| shard.list.load_full()).collect())
    }

    fn replace(&self, held: &mut Holdings, hash: u64, id: &str, new: Option<&Entry>) -> bool {
        let shard = self.shard(hash);
        let old = shard.list.load();
        let empty = List(Box::default());
        let old = old.as_deref().unwrap_or(&empty);
        let place = old.find(hash, id.as_bytes());
        let (before, after) = match place {
            Ok(at) => (&old.0[..at], &old.0[at + 1..]),
            Err(at) => old.0.split_at(at),
        };
        if let Ok(at) = place {
            held.entries -= 1;
            held.bytes -= old.0[at].manifest.len();
        } else if new.is_none() {
            return false;
        }
        let list: Box<[Entry]> = before.iter().chain(new).chain(after).cloned().collect();
        shard.replace((!list.is_empty()).then(|| Arc::new(List(list))));
        place.is_ok()
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[hash as usize % SHARDS]
    }
}

impl Shard {
    /// Not inlined, to leave the processor's registers to the way through the magazine.
    #[inline(never)]
    fn fresh(&self, magazine: &mut Magazine, hash: u64, version: u64, id: &[u8], now: Nanos) -> Option<Manifest> {
        let list = self.list.load();
        let list = list.as_deref()?;
        let entry = &list.0[list.find(hash, id).ok()?];
        entry.is_fresh(now).then(|| magazine.share(version, &entry.manifest, entry.expires_at))
    }

    fn replace(&self, list: Option<Arc<List>>) {
        process_wide! { static VERSIONS: AtomicU64 = AtomicU64::new(1) }
        self.list.store(list);
        // Release: who sees this version finds this list or a later one.
        self.version.store(VERSIONS.fetch_add(1, Relaxed), Release);
    }
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
    use crate::clock::NEVER;
    use std::collections::HashMap;

    fn manifest(id: &str, n: usize) -> Manifest {
        Manifest::new(id, &format!("{{\"n\":{n}}}"))
    }

    fn text(store: &Store, id: &str) -> Option<String> {
        store.fresh(&mut Magazine::new(), id.as_bytes(), 0).map(|manifest| manifest.to_string())
    }

    #[test]
    fn it_behaves_like_a_map() {
        let (store, mut held, mut map) = (Store::new(), Holdings::default(), HashMap::new());
        // Twenty entries a shard, so that neighbours are moved and searched.
        for n in 0..40_000 {
            let id = format!("plugin-{}", n * 7919 % 20_000);
            if n % 5 == 4 {
                assert_eq!(store.remove(&mut held, &id), map.remove(&id).is_some());
            } else {
                store.insert(&mut held, manifest(&id, n), NEVER);
                map.insert(id, format!("{{\"n\":{n}}}"));
            }
        }
        assert_eq!(held.entries, map.len());
        assert_eq!(held.bytes, map.values().map(String::len).sum::<usize>());
        assert_eq!(store.snapshot(&held).entries().count(), map.len());
        for n in 0..20_000 {
            let id = format!("plugin-{n}");
            assert_eq!(text(&store, &id).as_ref(), map.get(&id));
        }
        assert_eq!(store.clear(&mut held), map.len());
        assert_eq!((held.entries, held.bytes, text(&store, "plugin-1")), (0, 0, None));
    }

    #[test]
    fn equal_hashes_are_told_apart_by_id() {
        let entry = |hash, id| Entry { hash, manifest: manifest(id, 0), expires_at: NEVER };
        let list = List(Box::new([entry(3, "a"), entry(7, "b"), entry(7, "c"), entry(u64::MAX, "d")]));
        assert_eq!(list.find(7, b"b"), Ok(1));
        assert_eq!(list.find(7, b"c"), Ok(2));
        assert_eq!(list.find(7, b"x"), Err(3));
        assert_eq!(list.find(0, b"a"), Err(0));
        assert_eq!(list.find(u64::MAX, b"d"), Ok(3));
        assert_eq!(list.find(u64::MAX, b"e"), Err(4));
    }

    #[test]
    fn an_entry_is_fresh_up_to_and_with_the_end_of_its_time() {
        let entry = Entry { hash: 0, manifest: manifest("a", 0), expires_at: 10 };
        assert!(entry.is_fresh(10) && !entry.is_fresh(11));
    }

    #[test]
    fn what_is_removed_is_freed_at_once() {
        let (store, mut held, kept) = (Store::new(), Holdings::default(), manifest("a", 1));
        store.insert(&mut held, kept.clone(), NEVER);
        store.insert(&mut held, manifest("a", 2), NEVER);
        assert_eq!(kept.references(), 1);
    }

    #[test]
    fn readers_see_the_old_or_the_new_and_nothing_else() {
        let (store, mut held) = (Store::new(), Holdings::default());
        store.insert(&mut held, manifest("a", 0), NEVER);
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
            (1..10_000).for_each(|n| store.insert(&mut held, manifest("a", n), NEVER));
        });
    }
}
