//! A magazine: a thread's stock of references to the manifests that it got last (Bonwick and Adams,
//! "Magazines and Vmem", USENIX 2001).
//!
//! A get first looks here. A place is valid only if it was filled from the current version of the
//! store's group; then the get does not read the table. A get takes a reference from the place, and
//! a free returns one to it. Neither changes the reference count of the manifest, so threads that
//! use the same manifest do not write to the same cache line.
//!
//! A plugin's manifest can be in any place of one set. A manifest that is got often keeps its place
//! while the thread gets others that belong in the same set, or that there is no room for. So if a
//! thread uses many manifests, its places hold the popular ones, and one that passes by costs no
//! more than its own reference.
//!
//! The cost: a manifest that was cleared can stay in memory until its place is used for another one
//! or the thread ends. The number of places and their bytes together limit this memory.

use super::stock::{PLACES, Place, REFILL, Stock, first_place, tag};
use crate::clock::Nanos;
use crate::hash::short_hash;
use crate::manifest::{Manifest, Spares};

pub(crate) use super::stock::LetGo;

/// The magazine of one thread.
pub(crate) struct Magazine {
    /// None until the thread first gets a manifest.
    stock: Option<Stock>,
}

impl Magazine {
    pub(crate) const fn new() -> Self {
        Magazine { stock: None }
    }

    /// The manifest of `id`, if its place was filled from this `version` of the group, still has a
    /// reference to spare, and the manifest is fresh.
    #[inline]
    pub(crate) fn take(
        &mut self,
        hash: u64,
        version: u64,
        id: &[u8],
        now: Nanos,
    ) -> Option<Manifest> {
        let stock = self.stock.as_mut()?;
        let first = first_place(short_hash(hash));
        stock.places[first]
            .take(version, id, now)
            .or_else(|| stock.take_elsewhere(short_hash(hash), version, id, now))
    }

    /// Keeps more references to a manifest that was just found in this `version` of its group, if
    /// it gets a place. Returns the manifest. The last references to what it replaces go to
    /// `let_go`.
    pub(crate) fn share(
        &mut self,
        version: u64,
        manifest: Manifest,
        let_go: &mut LetGo,
    ) -> Manifest {
        let stock = self.stock.get_or_insert_with(Stock::new);
        let (hash, bytes) = (manifest.id_hash(), manifest.len());
        if let Some(at) = stock.place_for(hash, bytes, let_go) {
            stock.held += bytes;
            stock.tags[at] = tag(hash);
            let spares = Spares::new(&manifest, REFILL);
            stock.places[at] = Place { version, spares, lives: 0 };
        }
        manifest
    }

    /// Keeps a reference that its user returns, if the manifest is in its first place and the place
    /// has room. Otherwise it is for [`Magazine::give_back_elsewhere`].
    #[inline(always)]
    pub(crate) fn give_back(&mut self, manifest: Manifest) -> Result<(), Manifest> {
        match &mut self.stock {
            Some(stock) => stock.places[first_place(manifest.id_hash())].give_back(manifest),
            None => Err(manifest),
        }
    }

    /// Keeps the reference if the manifest is in another place; returns it otherwise.
    pub(crate) fn give_back_elsewhere(&mut self, manifest: Manifest) -> Result<(), Manifest> {
        let Some(stock) = &mut self.stock else { return Err(manifest) };
        let hash = manifest.id_hash();
        let mut places = Stock::places_for(hash).filter(|at| stock.tags[*at] == tag(hash));
        match places.find(|at| stock.places[*at].spares.is_of(&manifest)) {
            Some(at) => stock.places[at].give_back(manifest),
            None => Err(manifest),
        }
    }

    /// Lets go of manifests that were removed from their stores and have values.
    pub(crate) fn let_go_of_removed(&mut self, let_go: &mut LetGo) {
        let Some(stock) = &mut self.stock else { return };
        for at in 0..PLACES {
            if stock.places[at].spares.is_removed_with_value() {
                stock.empty(at, let_go);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::entries::entry::Entry;
    use crate::entries::stock::{LIVES, ROOM, WAYS};
    use crate::hash::hash;
    use crate::options::Ttl;
    use std::collections::HashSet;

    fn held(magazine: &Magazine) -> usize {
        magazine.stock.as_ref().unwrap().held
    }

    fn share(magazine: &mut Magazine, version: u64, manifest: &Manifest) -> Manifest {
        magazine.share(version, manifest.clone(), &mut LetGo::new())
    }

    fn give_back(magazine: &mut Magazine, manifest: Manifest) {
        drop(magazine.give_back(manifest).or_else(|it| magazine.give_back_elsewhere(it)));
    }

    fn taken(magazine: &mut Magazine, version: u64, id: &str, now: Nanos) -> Option<u64> {
        magazine
            .take(hash(id.as_bytes()), version, id.as_bytes(), now)
            .map(|manifest| manifest.revision())
    }

    /// A manifest that never expires.
    fn manifest(id: &str, text: &str) -> Manifest {
        let ttl = Ttl { span: NEVER, is_own: false };
        let entry = Entry::new(Manifest::new(id, text), 0, ttl);
        entry.set_times();
        entry.manifest.clone()
    }

    #[test]
    fn a_manifest_is_found_again_in_the_same_version_while_it_is_fresh() {
        let (mut magazine, manifest) = (Magazine::new(), Manifest::new("a", "{}"));
        Entry::new(manifest.clone(), 0, Ttl { span: 10, is_own: false }).set_times();
        let revision = Some(manifest.revision());
        assert_eq!(taken(&mut magazine, 7, "a", 5), None);
        share(&mut magazine, 7, &manifest);
        assert_eq!(taken(&mut magazine, 7, "a", 10), revision);
        assert_eq!(taken(&mut magazine, 7, "a", 11), None, "expired");
        assert_eq!(taken(&mut magazine, 8, "a", 5), None, "the group has changed");
        assert_eq!(taken(&mut magazine, 7, "b", 5), None, "another plugin");
    }

    #[test]
    fn taking_and_returning_a_reference_leaves_the_shared_count_unchanged() {
        let (mut magazine, manifest) = (Magazine::new(), manifest("a", "{}"));
        let first = share(&mut magazine, 7, &manifest);
        let references = manifest.references();
        for _ in 0..1000 {
            let shared = magazine.take(hash(b"a"), 7, b"a", 0).unwrap();
            give_back(&mut magazine, shared);
        }
        assert_eq!(manifest.references(), references);
        drop((first, magazine));
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn a_place_never_gives_away_its_last_reference_and_keeps_a_bounded_number() {
        let (mut magazine, manifest) = (Magazine::new(), manifest("a", "{}"));
        let mut out: Vec<_> = (0..100).map(|_| share(&mut magazine, 7, &manifest)).collect();
        while let Some(shared) = magazine.take(hash(b"a"), 7, b"a", 0) {
            out.push(shared);
        }
        assert_eq!(manifest.references(), 1 + out.len() + 1, "the place keeps one");
        out.into_iter().for_each(|shared| give_back(&mut magazine, shared));
        assert_eq!(manifest.references(), 1 + 2 * REFILL as usize);
    }

    /// Manifests of so many plugins that belong in one set and have different tags. There are 255.
    fn of_one_set(count: usize) -> Vec<Manifest> {
        let mut tags = HashSet::new();
        let mut is_other = |id: &String| {
            let hash = short_hash(hash(id.as_bytes()));
            first_place(hash) / WAYS == 0 && tags.insert(tag(hash))
        };
        let ids = (0..).map(|n: u32| n.to_string()).filter(|id| is_other(id));
        ids.take(count).map(|id| manifest(&id, "{}")).collect()
    }

    /// A magazine with manifests in all places of a set, each of them used, and another one.
    fn full_set() -> (Magazine, Vec<Manifest>, Manifest) {
        let (mut magazine, mut all) = (Magazine::new(), of_one_set(WAYS + 1));
        let other = all.pop().unwrap();
        all.iter().for_each(|manifest| drop(share(&mut magazine, 7, manifest)));
        assert_eq!(used(&mut magazine, &all), WAYS);
        (magazine, all, other)
    }

    /// How many of these the magazine has; that is a use of them.
    fn used(magazine: &mut Magazine, manifests: &[Manifest]) -> usize {
        manifests.iter().filter(|it| taken(magazine, 7, it.id(), 0).is_some()).count()
    }

    #[test]
    fn a_manifest_that_comes_again_takes_the_place_of_one_that_was_not_used_meanwhile() {
        let (mut magazine, all, other) = full_set();
        drop(share(&mut magazine, 8, &other));
        assert_eq!(used(&mut magazine, &all), WAYS, "it may pass by only once");
        for _ in 0..=WAYS * (LIVES as usize + 1) {
            drop(share(&mut magazine, 8, &other));
        }
        assert!(taken(&mut magazine, 8, other.id(), 0).is_some());
        assert_eq!(used(&mut magazine, &all), WAYS - 1);
    }

    #[test]
    fn manifests_that_pass_by_only_once_take_no_place() {
        let (mut magazine, all, _) = full_set();
        let others = of_one_set(100).split_off(WAYS);
        others.iter().for_each(|manifest| drop(share(&mut magazine, 8, manifest)));
        assert_eq!(used(&mut magazine, &all), WAYS);
    }

    #[test]
    fn the_most_used_manifest_gets_the_place_that_is_looked_at_first() {
        let (mut magazine, all, _) = full_set();
        let first = |it: &Manifest| first_place(it.id_hash());
        for manifest in &all {
            for _ in 0..=LIVES as usize {
                assert!(taken(&mut magazine, 7, manifest.id(), 0).is_some());
            }
            assert_eq!(
                magazine.stock.as_ref().unwrap().tags[first(manifest)],
                tag(manifest.id_hash())
            );
        }
    }

    #[test]
    fn a_newer_manifest_of_the_same_plugin_takes_the_place_at_once() {
        let mut magazine = Magazine::new();
        let (old, new) = (manifest("a", "{}"), manifest("a", "{}"));
        share(&mut magazine, 7, &old);
        taken(&mut magazine, 7, "a", 0);
        share(&mut magazine, 8, &new);
        assert_eq!(taken(&mut magazine, 8, "a", 0), Some(new.revision()));
        assert_eq!(old.references(), 1);
    }

    #[test]
    fn all_places_together_hold_no_more_than_their_room() {
        let mut magazine = Magazine::new();
        let third = format!("{{\"a\":\"{}\"}}", "x".repeat(ROOM / 3));
        let manifests: Vec<_> = (0..100).map(|n| manifest(&n.to_string(), &third)).collect();
        for _ in 0..PLACES / WAYS {
            for manifest in &manifests {
                let shared = share(&mut magazine, 7, manifest);
                give_back(&mut magazine, shared);
                let bytes: usize =
                    manifests.iter().filter(|m| m.references() > 1).map(|m| m.len()).sum();
                assert_eq!(bytes, held(&magazine));
                assert!(bytes <= ROOM);
            }
        }
        assert!(held(&magazine) > ROOM / 2);
        let large = manifest("large", &"x".repeat(ROOM + 1));
        let shared = share(&mut magazine, 7, &large);
        give_back(&mut magazine, shared);
        assert_eq!(large.references(), 1);
    }
}
