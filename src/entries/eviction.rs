//! Chooses the entry to evict, by the SIEVE algorithm (Zhang et al., "SIEVE is Simpler than LRU",
//! NSDI 2024).
//!
//! Entries are in the order in which they were added. A hand moves from the oldest to the newest.
//! It skips an entry that was used since the hand last passed it, and evicts the first one that was
//! not. So a hit only sets a mark, and entries that are used once do not displace those in frequent
//! use.

use std::collections::HashMap;
use std::sync::Arc;

const NONE: usize = usize::MAX;

/// The order of entries, as a doubly linked list in a vector.
pub(crate) struct Sieve {
    nodes: Vec<Node>,
    free: Vec<usize>,
    places: HashMap<Arc<str>, usize>,
    newest: usize,
    oldest: usize,
    hand: usize,
}

struct Node {
    id: Arc<str>,
    newer: usize,
    older: usize,
}

impl Default for Sieve {
    fn default() -> Self {
        let (nodes, free, places) = (Vec::new(), Vec::new(), HashMap::new());
        Sieve { nodes, free, places, newest: NONE, oldest: NONE, hand: NONE }
    }
}

impl Sieve {
    /// Adds an entry as the newest; returns its id for the caller to share.
    pub(crate) fn push(&mut self, id: &str) -> Arc<str> {
        let id: Arc<str> = id.into();
        let node = Node { id: id.clone(), newer: NONE, older: self.newest };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest].newer = at,
        }
        self.newest = at;
        self.places.insert(id.clone(), at);
        id
    }

    /// Removes an entry; returns its id if it was there.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<str>> {
        let (id, at) = self.places.remove_entry(id)?;
        let (newer, older) = (self.nodes[at].newer, self.nodes[at].older);
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older].newer = newer,
        }
        if self.hand == at {
            self.hand = newer;
        }
        self.free.push(at);
        Some(id)
    }

    /// The entry to evict next. `take_mark` says whether an entry is marked as used, and removes
    /// the mark.
    pub(crate) fn victim(&mut self, take_mark: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        // One round removes all marks. If other threads set new ones meanwhile, the search ends
        // after two rounds with any entry.
        for _ in 0..=2 * self.places.len() {
            if self.hand == NONE {
                self.hand = self.oldest;
            }
            let node = self.nodes.get(self.hand)?;
            if !take_mark(&node.id) {
                break;
            }
            self.hand = node.newer;
        }
        let at = if self.hand == NONE { self.oldest } else { self.hand };
        self.nodes.get(at).filter(|_| !self.places.is_empty()).map(|node| node.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashSet;

    /// A set with room for a few ids that evicts by SIEVE.
    struct Few {
        sieve: Sieve,
        marks: RefCell<HashSet<String>>,
        room: usize,
    }

    impl Few {
        fn new(room: usize) -> Self {
            Few { sieve: Sieve::default(), marks: RefCell::default(), room }
        }

        fn ask(&mut self, id: &str) {
            if self.sieve.places.contains_key(id) {
                self.marks.borrow_mut().insert(id.to_owned());
                return;
            }
            if self.sieve.places.len() == self.room {
                let victim = self.sieve.victim(|id| self.marks.borrow_mut().remove(id)).unwrap();
                self.sieve.remove(&victim);
            }
            self.sieve.push(id);
        }

        fn held(&self) -> String {
            let mut ids: Vec<&str> = self.sieve.places.keys().map(|id| &**id).collect();
            ids.sort();
            ids.concat()
        }
    }

    #[test]
    fn it_evicts_as_the_paper_shows() {
        // Figure 2 of the paper: a cache of seven entries, of which A, B and G are marked, gets
        // requests for H, A, D, I, B and J.
        let mut few = Few::new(7);
        for id in ["A", "B", "C", "D", "E", "F", "G"] {
            few.ask(id);
        }
        for id in ["A", "G", "B"] {
            few.ask(id);
        }
        for (id, held) in [
            ("H", "ABDEFGH"),
            ("A", "ABDEFGH"),
            ("D", "ABDEFGH"),
            ("I", "ABDFGHI"),
            ("B", "ABDFGHI"),
            ("J", "ABDGHIJ"),
        ] {
            few.ask(id);
            assert_eq!(few.held(), held, "after {id}");
        }
    }

    #[test]
    fn entries_that_are_used_once_do_not_displace_those_in_frequent_use() {
        let mut few = Few::new(4);
        for n in 0..1000 {
            few.ask("a");
            few.ask("b");
            few.ask(&format!("once-{n}"));
        }
        assert!(few.held().starts_with("ab"), "{}", few.held());
    }

    #[test]
    fn a_removed_entry_is_never_the_victim_wherever_the_hand_is() {
        let mut sieve = Sieve::default();
        assert!(sieve.victim(|_| false).is_none());
        for round in 0..100 {
            for id in ["a", "b", "c"] {
                sieve.push(id);
            }
            let victim = sieve.victim(|id| id == "a" && round % 2 == 0).unwrap();
            for id in ["c", "a", "b"].into_iter().cycle().skip(round).take(3) {
                sieve.remove(id);
            }
            assert!(["a", "b"].contains(&&*victim));
            assert!(sieve.victim(|_| false).is_none() && sieve.nodes.len() == 3);
        }
    }

    #[test]
    fn there_is_a_victim_even_if_every_entry_is_always_in_use() {
        let mut sieve = Sieve::default();
        sieve.push("a");
        sieve.push("b");
        assert!(sieve.victim(|_| true).is_some());
    }
}
