//! The manifests a thread got last, with spare references to them.
//!
//! A get that finds its manifest here, from the very version of the store's shard that is current,
//! needs no more of the store; and as it takes a spare and a free gives it back, threads that share
//! a manifest do not share the cache line of its reference count.
//!
//! A manifest that is got again and again keeps its slot while others pass by, so that where many
//! are in use the popular ones are here.
//!
//! The name is Bonwick's (Bonwick and Adams, "Magazines and Vmem", USENIX 2001): each thread has a
//! stock of its own, which it refills from the shared one at intervals.
//!
//! The price: a manifest that was cleared can live on in a slot until the slot is used again or the
//! thread ends. It is bounded by the number of slots and by what they may hold together.

use crate::clock::Nanos;
use crate::manifest::{Manifest, Spares, short_hash};

const SLOTS: usize = 16;
const REFILL: usize = 32;
/// How many gets of others in its slot a manifest outlives that was found there.
const LIVES: u16 = 16;
/// What the manifests in all slots may measure together, in bytes.
const ROOM: usize = 256 * 1024;

/// One thread's latest manifests.
pub(crate) struct Magazine {
    slots: [Slot; SLOTS],
    held: usize,
}

struct Slot {
    /// Of the shard that the manifest was found in; no other shard ever has the same.
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

    /// The manifest of `id`, if it was found in this `version` of its shard before and is fresh.
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

    /// A reference to a manifest just found in this `version` of its shard, with some more for the
    /// next times if it gets the slot.
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

    /// Takes back a reference, to hand it out again if its manifest is still here.
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
    fn what_was_shared_is_found_again_in_the_same_version_while_it_is_fresh() {
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
    fn a_reference_is_taken_and_given_back_without_the_shared_count() {
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
    fn a_thread_that_only_takes_or_only_gives_back_does_neither_end_nor_hoard() {
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
    fn what_was_got_again_outlives_others_for_a_while() {
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
