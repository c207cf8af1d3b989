//! The stock of a magazine: its places, and which manifest gets one.

use crate::boxed::boxed;
use crate::clock::Nanos;
use crate::manifest::{Manifest, Spares};
use std::mem::replace;

pub(super) const PLACES: usize = 1024;
/// How many places a set has.
pub(super) const WAYS: usize = 4;
/// How many references a place takes from the manifest's count at once.
pub(super) const REFILL: u32 = 32;
/// How often a manifest that was found in its place keeps it when the place is wanted.
pub(super) const LIVES: u8 = 4;
/// How many bytes the manifests in all places may have together.
pub(super) const ROOM: usize = 1024 * 1024;

pub(super) struct Stock {
    pub(super) places: Box<[Place; PLACES]>,
    /// The tag of the manifest in each place, or 0. They are apart from the places so that a
    /// manifest that has none is not looked for in several cache lines.
    pub(super) tags: Box<[u16; PLACES]>,
    /// The bytes of the manifests in all places.
    pub(super) held: usize,
    /// The place that is the next to lose a life when there is no room.
    pub(super) hand: usize,
    /// The manifests that found no place lately, by their tags. One that is here gets the place of
    /// another if that was not used lately.
    pub(super) passed: Box<[u16; PLACES]>,
}

/// Half a cache line.
#[repr(align(32))]
pub(super) struct Place {
    /// The version of the group that the manifest was found in. No other group ever has the same.
    pub(super) version: u64,
    pub(super) spares: Spares,
    pub(super) lives: u8,
}

// The header says how much memory the places and the tags of a thread take.
const _: () = assert!(PLACES * (size_of::<Place>() + 2 * size_of::<u16>()) == 36 * 1024);

const EMPTY: Place = Place { version: 0, spares: Spares::NONE, lives: 0 };

/// References that are to be dropped when no data of the thread is borrowed any more, as that can
/// run code of the host (R18).
pub(crate) type LetGo = Vec<Spares>;

/// The place that a manifest with this short hash gets if it is free. It is looked at first.
#[inline]
pub(super) fn first_place(hash: u16) -> usize {
    hash as usize % PLACES
}

pub(super) fn tag(hash: u16) -> u16 {
    hash.max(1)
}

impl Stock {
    #[cold]
    pub(super) fn new() -> Self {
        let (places, tags, passed) = (boxed(|_| EMPTY), boxed(|_| 0), boxed(|_| 0));
        Stock { places, tags, held: 0, hand: 0, passed }
    }

    /// The places that a manifest with this short hash can have, beginning with the first one.
    pub(super) fn places_for(hash: u16) -> impl Iterator<Item = usize> + Clone {
        let first = first_place(hash);
        (first..first + WAYS).map(move |at| first - first % WAYS + at % WAYS)
    }

    /// Looks in all places that the manifest can have. If it is used more than the one in its first
    /// place, the two change places in the end.
    #[inline(never)]
    pub(super) fn take_elsewhere(
        &mut self,
        hash: u16,
        version: u64,
        id: &[u8],
        now: Nanos,
    ) -> Option<Manifest> {
        for at in Self::places_for(hash).filter(|at| self.tags[*at] == tag(hash)) {
            if let Some(manifest) = self.places[at].take(version, id, now) {
                let first = first_place(hash);
                if self.places[first].lose_life() {
                    self.places.swap(first, at);
                    self.tags.swap(first, at);
                }
                return Some(manifest);
            }
        }
        None
    }

    /// An empty place for a manifest with this short hash and so many bytes, if it gets one.
    pub(super) fn place_for(
        &mut self,
        hash: u16,
        bytes: usize,
        let_go: &mut LetGo,
    ) -> Option<usize> {
        let mut places = Self::places_for(hash);
        let of_plugin = places.clone().find(|at| self.tags[*at] == tag(hash));
        let place = of_plugin.or_else(|| places.find(|at| self.tags[*at] == 0));
        if let Some(at) = place {
            self.empty(at, let_go);
            if self.held + bytes <= ROOM {
                return place;
            }
        }
        // To empty the place of another one costs, so one that passes by only once does not.
        let passed = &mut self.passed[first_place(hash)];
        if *passed != tag(hash) {
            *passed = tag(hash);
            return None;
        }
        let at = place.or_else(|| self.empty_one(hash, let_go))?;
        self.make_room(bytes, let_go).then_some(at)
    }

    /// Empties the place, of those that this manifest can have, that was used least lately. If all
    /// were used, it only loses a life.
    pub(super) fn empty_one(&mut self, hash: u16, let_go: &mut LetGo) -> Option<usize> {
        let at = Self::places_for(hash).min_by_key(|at| self.places[*at].lives)?;
        if !self.places[at].lose_life() {
            return None;
        }
        self.empty(at, let_go);
        Some(at)
    }

    /// If there is no room for so many bytes, takes a life from each of a few places, and empties
    /// those that have none. Returns whether there is room.
    pub(super) fn make_room(&mut self, bytes: usize, let_go: &mut LetGo) -> bool {
        if self.held + bytes > ROOM {
            for at in self.hand..self.hand + WAYS {
                if self.places[at].lose_life() {
                    self.empty(at, let_go);
                }
            }
            self.hand = (self.hand + WAYS) % PLACES;
        }
        self.held + bytes <= ROOM
    }

    pub(super) fn empty(&mut self, at: usize, let_go: &mut LetGo) {
        self.held -= self.places[at].spares.len();
        self.tags[at] = 0;
        let Place { spares, .. } = replace(&mut self.places[at], EMPTY);
        let_go.extend(spares.drop_unless_last());
    }
}

impl Place {
    #[inline]
    pub(super) fn take(&mut self, version: u64, id: &[u8], now: Nanos) -> Option<Manifest> {
        if self.version != version {
            return None;
        }
        let manifest = self.spares.take_for(id, now)?;
        self.lives = LIVES;
        Some(manifest)
    }

    #[inline]
    pub(super) fn give_back(&mut self, manifest: Manifest) -> Result<(), Manifest> {
        if self.spares.count() < 2 * REFILL { self.spares.put(manifest) } else { Err(manifest) }
    }

    /// Returns whether there was no life left.
    pub(super) fn lose_life(&mut self) -> bool {
        let left = self.lives.checked_sub(1);
        self.lives = left.unwrap_or(0);
        left.is_none()
    }
}
