//! A bucket of the table: one cache line with a tag of 8 bits for each of its slots, and the slots.
//!
//! So a look-up reads the bucket and then the manifest that it looks for. A slot is replaced in one
//! step, and what was in it is freed at once, or as soon as a reader that just looks at it has
//! finished. When all slots are taken, other manifests are in a list, which is replaced as a whole.

use crate::hash::hash;
use crate::manifest::Manifest;
use crate::sync::Swap;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Release};
use arc_swap::Guard;
use std::mem::replace;
use std::sync::Arc;

/// How many slots a bucket has.
const SLOTS: usize = 6;

#[derive(Default)]
#[repr(align(64))]
pub(super) struct Bucket {
    tags: Tags,
    slots: [Swap<Manifest>; SLOTS],
    /// What the slots have no room for.
    more: Swap<Arc<Vec<Manifest>>>,
}

impl Bucket {
    #[inline]
    pub(super) fn find<R>(
        &self,
        hash: u64,
        id: &[u8],
        use_manifest: impl FnOnce(&Manifest) -> R,
    ) -> Option<R> {
        let tags = self.tags.load();
        for slot in tags.slots_with(tag(hash)) {
            let manifest = self.slots[slot].load();
            if let Some(manifest) = manifest.as_ref().filter(|manifest| is_of(manifest, id)) {
                return Some(use_manifest(manifest));
            }
        }
        if tags.has_more() { self.find_more(id, use_manifest) } else { None }
    }

    #[cold]
    fn find_more<R>(&self, id: &[u8], use_manifest: impl FnOnce(&Manifest) -> R) -> Option<R> {
        self.more.load().as_ref()?.iter().find(|manifest| is_of(manifest, id)).map(use_manifest)
    }

    pub(super) fn put(&self, hash: u64, manifest: Manifest) -> Option<Manifest> {
        let id = manifest.id().as_bytes();
        let tags = self.tags.load();
        let place = match self.slot_of(hash, id) {
            Some(slot) => Some(slot),
            // One that is in the list stays there.
            None if self.find(hash, id, |_| ()).is_some() => None,
            None => tags.free_slot(),
        };
        let Some(slot) = place else { return self.put_more(manifest) };
        let old = self.slots[slot].swap(Some(manifest));
        self.tags.store(tags.with(slot, tag(hash)));
        old
    }

    fn put_more(&self, manifest: Manifest) -> Option<Manifest> {
        let mut more = self.more();
        let place = more.iter_mut().find(|other| is_of(other, manifest.id().as_bytes()));
        let old = match place {
            Some(place) => Some(replace(place, manifest)),
            None => {
                more.push(manifest);
                None
            }
        };
        self.set_more(more);
        old
    }

    pub(super) fn take(&self, hash: u64, id: &[u8]) -> Option<Manifest> {
        let Some(slot) = self.slot_of(hash, id) else { return self.take_more(id) };
        let old = self.slots[slot].swap(None);
        self.tags.store(self.tags.load().with(slot, 0));
        old
    }

    fn take_more(&self, id: &[u8]) -> Option<Manifest> {
        let mut more = self.more();
        let at = more.iter().position(|manifest| is_of(manifest, id))?;
        let old = more.swap_remove(at);
        self.set_more(more);
        Some(old)
    }

    fn more(&self) -> Vec<Manifest> {
        self.more.load().as_ref().map_or_else(Vec::new, |more| Vec::clone(more))
    }

    fn set_more(&self, more: Vec<Manifest>) {
        let has_more = !more.is_empty();
        if has_more || self.more.load().is_some() {
            self.more.store(has_more.then(|| Arc::new(more)));
        }
        self.tags.store(self.tags.load().with_more(has_more));
    }

    /// The slot that has the manifest of `id`.
    fn slot_of(&self, hash: u64, id: &[u8]) -> Option<usize> {
        let has_it = |slot: &usize| {
            let manifest = self.slots[*slot].load();
            manifest.as_ref().is_some_and(|manifest| is_of(manifest, id))
        };
        self.tags.load().slots_with(tag(hash)).find(has_it)
    }

    pub(super) fn for_each(&self, use_manifest: &mut impl FnMut(&Manifest)) {
        if self.tags.load().is_empty() {
            return;
        }
        self.load_slots().iter().flat_map(|slot| slot.as_ref()).for_each(&mut *use_manifest);
        self.more.load().iter().flat_map(|more| more.iter()).for_each(&mut *use_manifest);
    }

    /// Removes everything. The tags are last, so that a clear which a fork interrupted can be
    /// finished.
    pub(super) fn clear(&self, let_go: &mut impl FnMut(Manifest)) {
        let tags = self.tags.load();
        if !tags.is_empty() {
            // To swap costs more the more threads have used the library.
            let slots = tags.used_slots().filter_map(|slot| self.slots[slot].swap(None));
            slots.chain(self.more()).for_each(let_go);
            if tags.has_more() {
                self.more.store(None);
            }
            self.tags.store(Word::EMPTY);
        }
    }

    /// All slots are loaded before what they hold is looked at. A load is a barrier for the
    /// processor, which between loads would fetch one manifest from memory after the other.
    fn load_slots(&self) -> [Guard<Option<Manifest>>; SLOTS] {
        self.slots.each_ref().map(Swap::load)
    }

    /// Keeps only what `belongs` here, which is told the manifest and its hash. Sets the tags to
    /// what is in the slots.
    pub(super) fn keep(&self, mut belongs: impl FnMut(&Manifest, u64) -> bool) {
        let mut belongs = |manifest: &Manifest| {
            let hash = hash(manifest.id().as_bytes());
            belongs(manifest, hash).then_some(hash)
        };
        let mut tags = Word::EMPTY;
        for (at, manifest) in self.load_slots().iter().enumerate() {
            let Some(manifest) = manifest.as_ref() else { continue };
            match belongs(manifest) {
                Some(hash) => tags = tags.with(at, tag(hash)),
                None => self.slots[at].store(None),
            }
        }
        let had_more = self.more.load().is_some();
        if had_more {
            let mut more = self.more();
            more.retain(|manifest| belongs(manifest).is_some());
            tags = tags.with_more(!more.is_empty());
            self.set_more(more);
        }
        if self.tags.load() != tags {
            self.tags.store(tags);
        }
    }
}

#[cfg(test)]
impl Bucket {
    /// As a thread leaves it that has not yet set the tags of what it put.
    pub(super) fn forget_tags(&self) {
        self.tags.store(Word::EMPTY.with_more(self.tags.load().has_more()));
    }
}

#[inline]
fn is_of(manifest: &Manifest, id: &[u8]) -> bool {
    manifest.id().as_bytes() == id
}

/// The tag of a hash; never 0, which stands for a free slot.
#[inline]
fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The tags of a bucket's slots, one byte for each, and a byte that is not 0 if the bucket has
/// more.
#[derive(Default)]
struct Tags(AtomicU64);

#[derive(Clone, Copy, PartialEq)]
struct Word(u64);

impl Tags {
    #[inline]
    fn load(&self) -> Word {
        Word(self.0.load(Acquire))
    }

    fn store(&self, tags: Word) {
        self.0.store(tags.0, Release);
    }
}

impl Word {
    const EMPTY: Self = Word(0);
    const ONES: u64 = 0x0101_0101_0101_0101;
    const MORE: u32 = 8 * SLOTS as u32;

    /// The slots with this tag, and perhaps others after them, as this finds the zero bytes of a
    /// word by an inexact trick.
    #[inline]
    fn slots_with(self, tag: u8) -> impl Iterator<Item = usize> {
        let different = self.0 ^ (Self::ONES * u64::from(tag));
        let zeros = different.wrapping_sub(Self::ONES) & !different & (Self::ONES << 7);
        let mut found = zeros & ((1 << Self::MORE) - 1);
        std::iter::from_fn(move || {
            let slot = found.trailing_zeros() as usize / 8;
            found &= found.wrapping_sub(1);
            (slot < SLOTS).then_some(slot)
        })
    }

    fn is_free(self, slot: usize) -> bool {
        self.0 >> (8 * slot) & 0xFF == 0
    }

    fn free_slot(self) -> Option<usize> {
        (0..SLOTS).find(|slot| self.is_free(*slot))
    }

    fn used_slots(self) -> impl Iterator<Item = usize> {
        (0..SLOTS).filter(move |slot| !self.is_free(*slot))
    }

    fn with(self, slot: usize, tag: u8) -> Self {
        Word(self.0 & !(0xFF << (8 * slot)) | u64::from(tag) << (8 * slot))
    }

    #[inline]
    fn has_more(self) -> bool {
        self.0 >> Self::MORE != 0
    }

    fn with_more(self, has_more: bool) -> Self {
        Word(self.0 & ((1 << Self::MORE) - 1) | u64::from(has_more) << Self::MORE)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_each_slot_that_has_it() {
        let tags = Word::EMPTY.with(0, 7).with(2, 1).with(5, 7).with_more(true);
        let found: Vec<usize> = tags.slots_with(7).collect();
        assert!(found.contains(&0) && found.contains(&5), "{found:?}");
        assert_eq!(tags.slots_with(9).next(), None);
        assert_eq!((tags.free_slot(), tags.has_more()), (Some(1), true));
        assert!(!tags.with_more(false).has_more());
    }

    #[test]
    fn a_full_bucket_keeps_the_rest_in_its_list() {
        let bucket = Bucket::default();
        let id = |n: u64| format!("{n}");
        for n in 0..20 {
            assert!(bucket.put(n << 56, Manifest::new(&id(n), "{}")).is_none());
        }
        for n in 0..20 {
            let old = bucket.put(n << 56, Manifest::new(&id(n), "{\"new\":1}")).unwrap();
            assert_eq!(old.as_str(), "{}");
        }
        for n in 0..20 {
            assert!(bucket.find(n << 56, id(n).as_bytes(), |_| ()).is_some());
            assert!(bucket.take(n << 56, id(n).as_bytes()).is_some());
            assert!(bucket.find(n << 56, id(n).as_bytes(), |_| ()).is_none());
        }
        assert!(bucket.tags.load().is_empty());
    }
}
