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

use crate::clock::Nanos;
use crate::hash::short_hash;
use crate::manifest::{Manifest, Spares};

const PLACES: usize = 1024;
/// How many places a set has.
const WAYS: usize = 4;
/// How many references a place takes from the manifest's count at once.
const REFILL: u32 = 32;
/// How often a manifest that was found in its place keeps it when the place is wanted.
const LIVES: u8 = 4;
/// How many bytes the manifests in all places may have together.
const ROOM: usize = 512 * 1024;

/// The magazine of one thread.
pub(crate) struct Magazine {
    /// None until the thread first gets a manifest.
    places: Option<Box<[Place; PLACES]>>,
    /// The bytes of the manifests in all places.
    held: usize,
    /// The set whose places are the next to lose a life when there is no room.
    hand: usize,
}

/// Half a cache line.
#[repr(align(32))]
struct Place {
    /// The version of the group that the manifest was found in. No other group ever has the same.
    version: u64,
    spares: Spares,
    /// The short hash of the manifest's id.
    tag: u16,
    lives: u8,
}

const EMPTY: Place = Place { version: 0, spares: Spares::NONE, tag: 0, lives: 0 };

impl Magazine {
    pub(crate) const fn new() -> Self {
        Magazine { places: None, held: 0, hand: 0 }
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
        let places = self.places.as_mut()?;
        let first = first_place(short_hash(hash));
        places[first]
            .take(version, id, now)
            .or_else(|| take_elsewhere(set_of(places, first), version, id, now))
    }

    /// A reference to a manifest that was just found in this `version` of its group. If the
    /// manifest gets a place, the place keeps more references for later calls.
    pub(crate) fn share(&mut self, version: u64, manifest: &Manifest) -> Manifest {
        let tag = manifest.id_hash();
        let places = self.places.get_or_insert_with(empty_places);
        let Some(at) = place_for(places, tag) else { return manifest.clone() };
        self.held -= places[at].empty();
        let bytes = manifest.len();
        if self.held + bytes > ROOM {
            make_room(places, &mut self.hand, &mut self.held);
            if self.held + bytes > ROOM {
                return manifest.clone();
            }
        }
        self.held += bytes;
        places[at] = Place { version, spares: Spares::new(manifest, REFILL), tag, lives: 0 };
        places[at].spares.take().unwrap_or_else(|| manifest.clone())
    }

    /// Keeps a reference that its user returns, if the manifest is in its place and the place has
    /// room; drops it otherwise.
    #[inline(always)]
    pub(crate) fn give_back(&mut self, manifest: Manifest) {
        let Some(places) = &mut self.places else { return };
        let first = first_place(manifest.id_hash());
        if let Err(manifest) = places[first].give_back(manifest) {
            give_back_elsewhere(set_of(places, first), manifest);
        }
    }
}

/// The place that a manifest with this tag gets if it is free. It is looked at first.
#[inline]
fn first_place(tag: u16) -> usize {
    tag as usize % PLACES
}

/// The places that a manifest with this first place can have.
#[inline]
fn set_of(places: &mut [Place; PLACES], first: usize) -> &mut [Place] {
    let start = first - first % WAYS;
    &mut places[start..start + WAYS]
}

#[inline(never)]
fn take_elsewhere(set: &mut [Place], version: u64, id: &[u8], now: Nanos) -> Option<Manifest> {
    set.iter_mut().find_map(|place| place.take(version, id, now))
}

#[inline(never)]
fn give_back_elsewhere(set: &mut [Place], manifest: Manifest) {
    if let Some(place) = set.iter_mut().find(|place| place.spares.is_of(&manifest)) {
        drop(place.give_back(manifest));
    }
}

#[cold]
fn empty_places() -> Box<[Place; PLACES]> {
    let places: Box<[Place]> = (0..PLACES).map(|_| EMPTY).collect();
    places.try_into().unwrap_or_else(|_| unreachable!("there are PLACES"))
}

/// The place for a manifest with this tag: that of the same plugin, a free one, or one that was not
/// used lately. If there is none, the one with the fewest lives loses a life.
fn place_for(places: &mut [Place; PLACES], tag: u16) -> Option<usize> {
    let first = first_place(tag);
    let start = first - first % WAYS;
    let of_plugin = (start..start + WAYS).find(|at| places[*at].tag == tag);
    let free = || {
        let is_free = |at: &usize| places[*at].spares.count() == 0;
        (first..first + WAYS).map(|at| start + at % WAYS).find(is_free)
    };
    of_plugin.or_else(free).or_else(|| {
        let at = (start..start + WAYS).min_by_key(|at| places[*at].lives)?;
        places[at].lose_life().then_some(at)
    })
}

/// Takes a life from each place in the next set, and empties those that have none.
#[cold]
fn make_room(places: &mut [Place; PLACES], hand: &mut usize, held: &mut usize) {
    for place in set_of(places, *hand % PLACES) {
        if place.lose_life() {
            *held -= place.empty();
        }
    }
    *hand += WAYS;
}

impl Place {
    #[inline]
    fn take(&mut self, version: u64, id: &[u8], now: Nanos) -> Option<Manifest> {
        if self.version != version {
            return None;
        }
        self.lives = LIVES;
        self.spares.take_for(id, now)
    }

    #[inline]
    fn give_back(&mut self, manifest: Manifest) -> Result<(), Manifest> {
        if self.spares.count() < 2 * REFILL { self.spares.put(manifest) } else { Err(manifest) }
    }

    /// Returns whether there was no life left.
    fn lose_life(&mut self) -> bool {
        let left = self.lives.checked_sub(1);
        self.lives = left.unwrap_or(0);
        left.is_none()
    }

    /// Empties the place; returns how many bytes its manifest has.
    fn empty(&mut self) -> usize {
        let bytes = self.spares.len();
        *self = EMPTY;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::entries::entry::Entry;
    use crate::hash::hash;
    use crate::options::Ttl;

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
        magazine.share(7, &manifest);
        assert_eq!(taken(&mut magazine, 7, "a", 10), revision);
        assert_eq!(taken(&mut magazine, 7, "a", 11), None, "expired");
        assert_eq!(taken(&mut magazine, 8, "a", 5), None, "the group has changed");
        assert_eq!(taken(&mut magazine, 7, "b", 5), None, "another plugin");
    }

    #[test]
    fn taking_and_returning_a_reference_leaves_the_shared_count_unchanged() {
        let (mut magazine, manifest) = (Magazine::new(), manifest("a", "{}"));
        let first = magazine.share(7, &manifest);
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
    fn a_place_never_gives_away_its_last_reference_and_keeps_a_bounded_number() {
        let (mut magazine, manifest) = (Magazine::new(), manifest("a", "{}"));
        let mut out: Vec<_> = (0..100).map(|_| magazine.share(7, &manifest)).collect();
        while let Some(shared) = magazine.take(hash(b"a"), 7, b"a", 0) {
            out.push(shared);
        }
        assert_eq!(manifest.references(), 1 + out.len() + 1, "the place keeps one");
        out.into_iter().for_each(|shared| magazine.give_back(shared));
        assert_eq!(manifest.references(), 1 + 2 * REFILL as usize);
    }

    /// Manifests of so many plugins that belong in one set.
    fn of_one_set(count: usize) -> Vec<Manifest> {
        let set = |id: &String| first_place(short_hash(hash(id.as_bytes()))) / WAYS;
        let ids = (0..).map(|n: u32| n.to_string()).filter(|id| set(id) == 0);
        ids.take(count).map(|id| manifest(&id, "{}")).collect()
    }

    #[test]
    fn a_manifest_in_use_keeps_its_place_for_a_bounded_number_of_others() {
        let pass = |count: usize| {
            let (mut magazine, all) = (Magazine::new(), of_one_set(WAYS + count));
            let (popular, others) = all.split_at(WAYS);
            let take_all = |magazine: &mut Magazine| {
                popular.iter().all(|manifest| taken(magazine, 7, manifest.id(), 0).is_some())
            };
            popular.iter().for_each(|manifest| drop(magazine.share(7, manifest)));
            take_all(&mut magazine);
            others.iter().for_each(|manifest| drop(magazine.share(8, manifest)));
            take_all(&mut magazine)
        };
        assert!(pass(LIVES as usize));
        assert!(!pass(LIVES as usize + 1));
    }

    #[test]
    fn a_newer_manifest_of_the_same_plugin_takes_the_place_at_once() {
        let mut magazine = Magazine::new();
        let (old, new) = (manifest("a", "{}"), manifest("a", "{}"));
        magazine.share(7, &old);
        taken(&mut magazine, 7, "a", 0);
        magazine.share(8, &new);
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
                let shared = magazine.share(7, manifest);
                magazine.give_back(shared);
                let held: usize =
                    manifests.iter().filter(|m| m.references() > 1).map(|m| m.len()).sum();
                assert_eq!(held, magazine.held);
                assert!(held <= ROOM);
            }
        }
        assert!(magazine.held > ROOM / 2);
        let large = manifest("large", &"x".repeat(ROOM + 1));
        let shared = magazine.share(7, &large);
        magazine.give_back(shared);
        assert_eq!(large.references(), 1);
    }
}
