//! A magazine: a thread's stock of references to the manifests that it got last (Bonwick and Adams,
//! "Magazines and Vmem", USENIX 2001).
//!
//! A get first looks here. A slot is valid only if it was filled from the current version of the
//! store's shard; then the get does not read the shard. A get takes a reference from the slot, and
//! a free returns one to it. Neither changes the reference count of the manifest, so threads that
//! use the same manifest do not write to the same cache line.
//!
//! A manifest that is got often keeps its slot while the thread gets others that belong in the same
//! slot. So if a thread uses many manifests, its slots hold the popular ones.
//!
//! The cost: a manifest that was cleared can stay in memory until its slot is used for another one
//! or the thread ends. The number of slots and their size together limit this memory.

use crate::clock::Nanos;
use crate::manifest::{Manifest, Spares, short_hash};

const SLOTS: usize = 16;
/// How many references a slot takes from the manifest's count at once.
const REFILL: usize = 32;
/// How often a manifest that was found in its slot keeps it when the thread gets another manifest
/// that belongs there.
const LIVES: u16 = 16;
/// How many bytes the manifests in all slots may have together.
const ROOM: usize = 256 * 1024;

/// The magazine of one thread.
pub(crate) struct Magazine {
    slots: [Slot; SLOTS],
    held: usize,
}

struct Slot {
    /// The version of the shard that the manifest was found in. No other shard ever has the same.
    version: u64,
    expires_at: Nanos,
    id_hash: u16,
    lives: u16,
    bytes: usize,
    spares: Spares,
}

const EMPTY: Slot =
    Slot { version: 0, expires_at: 0, id_hash: 0, lives: 0, bytes: 0, spares: Spares::NONE };

impl Magazine {
    pub(crate) const fn new() -> Self {
        Magazine { slots: [EMPTY; SLOTS], held: 0 }
    }

    /// The manifest of `id`, if its slot was filled from this `version` of the shard, still has a
    /// reference to spare, and the manifest is fresh.
    #[inline]
    pub(crate) fn take(
        &mut self,
        hash: u64,
        version: u64,
        id: &[u8],
        now: Nanos,
    ) -> Option<Manifest> {
        let slot = self.slot(short_hash(hash));
        if slot.version == version && now <= slot.expires_at && slot.spares.use_for(id) {
            slot.lives = LIVES;
            slot.spares.take()
        } else {
            None
        }
    }

    /// A reference to a manifest that was just found in this `version` of its shard. If the
    /// manifest gets the slot, the slot keeps more references for later calls.
    pub(crate) fn share(
        &mut self,
        version: u64,
        manifest: &Manifest,
        expires_at: Nanos,
    ) -> Manifest {
        let (bytes, id_hash) = (manifest.len(), manifest.id_hash());
        let slot = self.slot(id_hash);
        if slot.id_hash != id_hash && slot.lives > 0 {
            slot.lives -= 1;
            return manifest.clone();
        }
        let old = slot.bytes;
        if self.held - old + bytes > ROOM {
            if bytes > ROOM {
                return manifest.clone();
            }
            *self = Magazine::new();
        }
        self.held = self.held + bytes - self.slot(id_hash).bytes;
        let slot = self.slot(id_hash);
        *slot = Slot {
            version,
            expires_at,
            id_hash,
            lives: 0,
            bytes,
            spares: Spares::new(manifest, REFILL),
        };
        slot.spares.take().unwrap_or_else(|| manifest.clone())
    }

    /// Keeps a reference that its user returns, if the manifest is in its slot and the slot has
    /// room; drops it otherwise.
    #[inline(always)]
    pub(crate) fn give_back(&mut self, manifest: Manifest) {
        let spares = &mut self.slot(manifest.id_hash()).spares;
        if spares.count() < 2 * REFILL {
            drop(spares.put(manifest));
        }
    }

    #[inline]
    fn slot(&mut self, hash: u16) -> &mut Slot {
        &mut self.slots[hash as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::hash;

    fn taken(magazine: &mut Magazine, version: u64, id: &str, now: Nanos) -> Option<u64> {
        magazine
            .take(hash(id.as_bytes()), version, id.as_bytes(), now)
            .map(|manifest| manifest.revision())
    }

    #[test]
    fn a_manifest_is_found_again_in_the_same_version_while_it_is_fresh() {
        let (mut magazine, manifest) = (Magazine::new(), Manifest::new("a", "{}"));
        let revision = Some(manifest.revision());
        assert_eq!(taken(&mut magazine, 7, "a", 5), None);
        magazine.share(7, &manifest, 10);
        assert_eq!(taken(&mut magazine, 7, "a", 10), revision);
        assert_eq!(taken(&mut magazine, 7, "a", 11), None, "expired");
        assert_eq!(taken(&mut magazine, 8, "a", 5), None, "the shard has changed");
        assert_eq!(taken(&mut magazine, 7, "b", 5), None, "another plugin");
    }

    #[test]
    fn taking_and_returning_a_reference_leaves_the_shared_count_unchanged() {
        let (mut magazine, manifest) = (Magazine::new(), Manifest::new("a", "{}"));
        let first = magazine.share(7, &manifest, 10);
        let references = manifest.references();
        for _ in 0..1000 {
            let shared = magazine.take(hash(b"a"), 7, b"a", 0).unwrap();
            magazine.give_back(shared);
        }
        assert_eq!(manifest.references(), references);
        drop((first, magazine));
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn a_slot_never_gives_away_its_last_reference_and_keeps_a_bounded_number() {
        let (mut magazine, manifest) = (Magazine::new(), Manifest::new("a", "{}"));
        let mut out: Vec<_> = (0..100).map(|_| magazine.share(7, &manifest, 10)).collect();
        while let Some(shared) = magazine.take(hash(b"a"), 7, b"a", 0) {
            out.push(shared);
        }
        assert_eq!(manifest.references(), 1 + out.len() + 1, "the slot keeps one");
        out.into_iter().for_each(|shared| magazine.give_back(shared));
        assert_eq!(manifest.references(), 1 + 2 * REFILL);
    }

    #[test]
    fn a_manifest_in_use_keeps_its_slot_for_a_bounded_number_of_others() {
        let mut magazine = Magazine::new();
        let popular = Manifest::new("popular", "{}");
        let same_slot = |id: &String| {
            short_hash(hash(id.as_bytes())) as usize % SLOTS == popular.id_hash() as usize % SLOTS
        };
        let others: Vec<_> =
            (0..).map(|n: u32| n.to_string()).filter(same_slot).take(LIVES as usize + 1).collect();
        let mut pass = |count: usize| {
            magazine.share(7, &popular, 10);
            taken(&mut magazine, 7, "popular", 0);
            others[..count]
                .iter()
                .for_each(|id| drop(magazine.share(8, &Manifest::new(id, "{}"), 10)));
            taken(&mut magazine, 7, "popular", 0).is_some()
        };
        assert!(pass(LIVES as usize));
        assert!(!pass(LIVES as usize + 1));
    }

    #[test]
    fn a_newer_manifest_of_the_same_plugin_takes_the_slot_at_once() {
        let mut magazine = Magazine::new();
        let (old, new) = (Manifest::new("a", "{}"), Manifest::new("a", "{}"));
        magazine.share(7, &old, 10);
        taken(&mut magazine, 7, "a", 0);
        magazine.share(8, &new, 10);
        assert_eq!(taken(&mut magazine, 8, "a", 0), Some(new.revision()));
    }

    #[test]
    fn all_slots_together_hold_no_more_than_their_room() {
        let mut magazine = Magazine::new();
        let third = format!("{{\"a\":\"{}\"}}", "x".repeat(ROOM / 3));
        let manifests: Vec<_> = (0..100).map(|n| Manifest::new(&n.to_string(), &third)).collect();
        for manifest in &manifests {
            let shared = magazine.share(7, manifest, 10);
            magazine.give_back(shared);
            let held: usize =
                manifests.iter().filter(|m| m.references() > 1).map(|m| m.len()).sum();
            assert_eq!(held, magazine.held);
            assert!(held <= ROOM);
        }
        let large = Manifest::new("large", &"x".repeat(ROOM + 1));
        let shared = magazine.share(7, &large, 10);
        magazine.give_back(shared);
        assert_eq!(large.references(), 1);
    }
}
