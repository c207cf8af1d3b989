//! A hash table of manifests by the ids of their plugins: read without a lock, changed under the
//! cache's.
//!
//! The table grows with its content, by one bucket at a time (linear hashing: Litwin 1980): bucket
//! i gives half of what it has to a new bucket at the end. Buckets never move in memory, and are
//! freed only with the table. A reader that finds nothing looks again if a bucket was added.

use super::bucket::Bucket;
use super::entry::Entry;
use super::journal::{Doing, Journal, Totals};
use crate::hash::hash;
use crate::manifest::Manifest;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use once_cell::race::OnceBox;
use std::mem::replace;

/// How many buckets the first block has.
const FIRST: usize = if cfg!(shuttle) { 1 } else { 4 };
/// Each block after the second is twice as large as the one before.
const BLOCKS: usize = 24;
/// A bucket is added when the buckets have more manifests than this on average.
const LOAD: usize = 2;

pub(crate) struct Table {
    /// How many buckets are in use.
    buckets: AtomicUsize,
    journal: Journal,
    blocks: [OnceBox<Box<[Bucket]>>; BLOCKS],
}

impl Table {
    pub(crate) fn new() -> Self {
        let table = Table {
            buckets: AtomicUsize::new(FIRST),
            journal: Journal::default(),
            blocks: [const { OnceBox::new() }; BLOCKS],
        };
        table.block(0, FIRST);
        table
    }

    /// Uses the manifest of `id`, if it is found.
    #[inline]
    pub(crate) fn find<R>(
        &self,
        hash: u64,
        id: &[u8],
        use_manifest: impl FnOnce(&Manifest) -> R,
    ) -> Option<R> {
        let mut use_manifest = Some(use_manifest);
        let mut buckets = self.buckets.load(Acquire);
        loop {
            let bucket = self.bucket(home(hash, buckets));
            let found = bucket.find(hash, id, |manifest| use_manifest.take().map(|f| f(manifest)));
            let before = replace(&mut buckets, self.buckets.load(Acquire));
            // If the number is still the same, the bucket has not given away what it had.
            if found.is_some() || before == buckets {
                return found.flatten();
            }
        }
    }

    /// Puts a manifest in the place of its plugin; returns the one that was there.
    pub(crate) fn put(&self, hash: u64, manifest: Manifest) -> Option<Manifest> {
        let index = self.home(hash);
        let bucket = self.bucket(index);
        let old = bucket.find(hash, manifest.id().as_bytes(), Entry::size_of);
        let Totals { entries, bytes } = self.totals();
        let totals = Totals {
            entries: entries + usize::from(old.is_none()),
            bytes: bytes - old.unwrap_or(0) + Entry::size_of(&manifest),
        };
        let (address, is_put) = (manifest.address(), true);
        self.journal.begin(Doing::Change { bucket: index, address, is_put, totals });
        let old = bucket.put(hash, manifest);
        self.journal.end(totals);
        if totals.entries > LOAD * self.buckets.load(Relaxed) {
            self.grow();
        }
        old
    }

    /// Removes the manifest of `id`; returns it.
    pub(crate) fn take(&self, hash: u64, id: &[u8]) -> Option<Manifest> {
        let index = self.home(hash);
        let bucket = self.bucket(index);
        let (address, size) = bucket.find(hash, id, |old| (old.address(), Entry::size_of(old)))?;
        let Totals { entries, bytes } = self.totals();
        let (totals, is_put) = (Totals { entries: entries - 1, bytes: bytes - size }, false);
        self.journal.begin(Doing::Change { bucket: index, address, is_put, totals });
        let old = bucket.take(hash, id);
        self.journal.end(totals);
        old
    }

    /// Removes everything; calls `let_go` with each manifest.
    pub(crate) fn take_all(&self, mut let_go: impl FnMut(Manifest)) {
        self.journal.begin(Doing::Clear);
        self.all().for_each(|bucket| bucket.clear(&mut let_go));
        self.journal.end(Totals::default());
    }

    /// Calls `use_manifest` for all manifests.
    pub(crate) fn for_each(&self, mut use_manifest: impl FnMut(&Manifest)) {
        self.all().for_each(|bucket| bucket.for_each(&mut use_manifest));
    }

    pub(crate) fn totals(&self) -> Totals {
        self.journal.totals()
    }

    /// In a forked child: finishes, or undoes, what a thread was doing that is gone. Threads of the
    /// child may be reading.
    pub(crate) fn recover(&self, let_go: impl FnMut(Manifest)) {
        let mut totals = self.totals();
        match self.journal.doing() {
            Doing::Nothing => {}
            Doing::Change { bucket, address, is_put, totals: next } => {
                let bucket = self.bucket(bucket);
                let mut has_it = false;
                bucket.keep(|manifest, _| {
                    has_it |= manifest.address() == address;
                    true
                });
                if has_it == is_put {
                    totals = next;
                }
            }
            Doing::Clear => {
                self.take_all(let_go);
                totals = Totals::default();
            }
            Doing::Grow => self.undo_growth(),
        }
        self.journal.end(totals);
    }

    /// Adds a bucket.
    fn grow(&self) {
        let added = self.buckets.load(Relaxed);
        let (block, at) = place(added);
        if block == BLOCKS {
            // The buckets that there are take all the rest.
            return;
        }
        let new = &self.block(block, block_len(block))[at];
        self.journal.begin(Doing::Grow);
        let old = self.bucket(giver(added));
        let moves = |hash| home(hash, added + 1) == added;
        old.for_each(&mut |manifest| {
            let hash = hash(manifest.id().as_bytes());
            if moves(hash) {
                new.put(hash, manifest.clone());
            }
        });
        // Release: who sees this number finds what is in the new bucket.
        self.buckets.store(added + 1, Release);
        old.keep(|_, hash| !moves(hash));
        self.journal.end(self.totals());
    }

    /// Empties the bucket that was just being added, or the half that its giver still has of it.
    fn undo_growth(&self) {
        let buckets = self.buckets.load(Relaxed);
        if let Some(next) = self.existing(buckets) {
            next.keep(|_, _| false);
        }
        let last = buckets - 1;
        if last >= FIRST {
            self.bucket(giver(last)).keep(|_, hash| home(hash, buckets) != last);
        }
    }

    fn home(&self, hash: u64) -> usize {
        home(hash, self.buckets.load(Acquire))
    }

    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        self.existing(index).expect("the blocks of all buckets in use exist")
    }

    #[inline]
    fn existing(&self, index: usize) -> Option<&Bucket> {
        let (block, at) = place(index);
        self.blocks.get(block)?.get()?.get(at)
    }

    fn all(&self) -> impl Iterator<Item = &Bucket> {
        (0..self.buckets.load(Relaxed)).map(|index| self.bucket(index))
    }

    fn block(&self, block: usize, len: usize) -> &[Bucket] {
        self.blocks[block].get_or_init(|| Box::new((0..len).map(|_| Bucket::default()).collect()))
    }
}

/// The bucket, of so many, that a hash belongs to.
#[inline]
fn home(hash: u64, buckets: usize) -> usize {
    let mask = usize::MAX >> (buckets - 1).leading_zeros().min(usize::BITS - 1);
    let index = hash as usize & mask;
    if index < buckets { index } else { index & (mask >> 1) }
}

/// The bucket that has had what belongs to a new one with this number.
fn giver(added: usize) -> usize {
    added - (added + 1).next_power_of_two() / 2
}

/// The block that a bucket is in, and its place there.
#[inline]
fn place(index: usize) -> (usize, usize) {
    let block = (usize::BITS - (index / FIRST).leading_zeros()) as usize;
    (block, if block == 0 { index } else { index - block_len(block) })
}

fn block_len(block: usize) -> usize {
    FIRST << block.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_a_place_of_its_own() {
        let mut next = (0, 0);
        for index in 0..10_000 {
            let (block, at) = place(index);
            assert!((block, at) == next, "{index}: {block}, {at}");
            next = if at + 1 == block_len(block) { (block + 1, 0) } else { (block, at + 1) };
        }
    }

    #[test]
    fn a_new_bucket_takes_from_one_other_and_all_others_keep_what_they_have() {
        for buckets in 1..200_usize {
            let giver = giver(buckets);
            for n in 0..1000 {
                let hash = hash(format!("{n}").as_bytes());
                let (before, after) = (home(hash, buckets), home(hash, buckets + 1));
                assert!(before == after || (before == giver && after == buckets));
            }
        }
    }

    #[test]
    fn a_table_that_can_have_no_more_buckets_takes_more_manifests() {
        let table = Table::new();
        let most = FIRST << (BLOCKS - 1);
        table.buckets.store(most, Relaxed);
        table.grow();
        assert_eq!(table.buckets.load(Relaxed), most);
        table.buckets.store(FIRST, Relaxed);
    }

    fn put(table: &Table, n: u32) -> Option<Manifest> {
        let id = n.to_string();
        table.put(hash(id.as_bytes()), Manifest::new(&id, "{}"))
    }

    fn filled() -> Table {
        let table = Table::new();
        (0..1000).for_each(|n| drop(put(&table, n)));
        table
    }

    /// Checks that each manifest of `filled` is there once, and that no more are.
    fn check(table: &Table) {
        let mut size = 0;
        let mut seen = Vec::new();
        table.for_each(|manifest| {
            assert_eq!(manifest.references(), 1);
            size += Entry::size_of(manifest);
            seen.push(manifest.id().parse::<u32>().unwrap());
        });
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        assert_eq!(table.totals(), Totals { entries: 1000, bytes: size });
        let is_found = |n: &u32| {
            let id = n.to_string();
            table.find(hash(id.as_bytes()), id.as_bytes(), |_| ()).is_some()
        };
        assert!((0..1000).all(|n| is_found(&n)) && !is_found(&1000));
    }

    #[test]
    fn a_change_that_a_fork_interrupted_is_done_or_not() {
        for is_done in [false, true] {
            let table = filled();
            let new = Manifest::new("7", "{\"new\":true}");
            let hash = hash(b"7");
            let (bucket, before) = (table.home(hash), table.totals());
            let totals = Totals { entries: 1000, bytes: before.bytes + 10 };
            let (address, is_put) = (new.address(), true);
            table.journal.begin(Doing::Change { bucket, address, is_put, totals });
            if is_done {
                table.bucket(bucket).put(hash, new);
                table.bucket(bucket).forget_tags();
            }
            table.recover(drop);
            assert_eq!(table.totals(), if is_done { totals } else { before });
            assert_eq!(table.journal.doing(), Doing::Nothing);
            check(&table);
        }
    }

    #[test]
    fn a_removal_that_a_fork_interrupted_is_done_or_not() {
        for is_done in [false, true] {
            let table = filled();
            put(&table, 1000);
            let hash = hash(b"1000");
            let (address, size) =
                table.find(hash, b"1000", |it| (it.address(), Entry::size_of(it))).unwrap();
            let (bucket, before) = (table.home(hash), table.totals());
            let totals = Totals { entries: 1000, bytes: before.bytes - size };
            table.journal.begin(Doing::Change { bucket, address, is_put: false, totals });
            if is_done {
                table.bucket(bucket).take(hash, b"1000");
                table.bucket(bucket).forget_tags();
            }
            table.recover(drop);
            assert_eq!(table.totals(), if is_done { totals } else { before });
            table.take(hash, b"1000");
            check(&table);
        }
    }

    #[test]
    fn a_clear_that_a_fork_interrupted_is_done() {
        let table = filled();
        table.journal.begin(Doing::Clear);
        table.all().take(10).for_each(|bucket| bucket.clear(&mut drop));
        table.recover(drop);
        assert_eq!(table.totals(), Totals::default());
        table.for_each(|_| panic!("it is empty"));
    }

    #[test]
    fn a_growth_that_a_fork_interrupted_is_done_or_undone() {
        for is_counted in [false, true] {
            let table = filled();
            let before = table.buckets.load(Relaxed);
            table.grow();
            // As before the giver let go of what it gave, and before that was counted.
            let given = table.bucket(giver(before));
            table.bucket(before).for_each(&mut |manifest| {
                given.put(hash(manifest.id().as_bytes()), manifest.clone());
            });
            table.journal.begin(Doing::Grow);
            table.buckets.store(before + usize::from(is_counted), Relaxed);
            table.recover(drop);
            check(&table);
        }
    }
}
