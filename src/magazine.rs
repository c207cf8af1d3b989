//! Spare references by thread, so that threads sharing a manifest do not share its reference count's cache line.
//!
//! A thread keeps spares of the manifests it handed out last, takes from them on a hit and gives back to them on a free.
//! The price: a manifest that was cleared can live on in a slot until the slot is used again or the thread ends. So only
//! small ones are kept, and a thread holds on to no more than `SLOTS * LARGEST` bytes.

use crate::manifest::{Manifest, Spares};
use std::cell::RefCell;

const SLOTS: usize = 16;
const REFILL: usize = 32;
const LARGEST: usize = 16 * 1024;

thread_local!(static MAGAZINE: RefCell<[Spares; SLOTS]> = const { RefCell::new([Spares::NONE; SLOTS]) });

/// A reference to `manifest`, from this thread's spares if it may have any.
#[inline]
pub(crate) fn share(manifest: &Manifest) -> Manifest {
    let from_spares = |spares: &mut Spares| {
        if spares.of(manifest).is_none_or(|count| count == 0) {
            *spares = Spares::new(manifest, REFILL);
        }
        spares.take()
    };
    let spare = if manifest.len() <= LARGEST { with_slot(manifest.address(), from_spares).flatten() } else { None };
    spare.unwrap_or_else(|| manifest.clone())
}

/// Gives a reference back, to this thread's spares if it has some of the same manifest.
#[inline]
pub(crate) fn give_back(manifest: Manifest) {
    // Should the thread's slots be gone already, the closure is dropped, and the reference with it.
    with_slot(manifest.address(), move |spares| match spares.of(&manifest) {
        Some(count) if count < 2 * REFILL => spares.put(manifest),
        _ => drop(manifest),
    });
}

#[inline]
fn with_slot<R>(address: usize, use_slot: impl FnOnce(&mut Spares) -> R) -> Option<R> {
    let slot = (address >> 5 ^ address >> 11) % SLOTS;
    MAGAZINE.try_with(|slots| use_slot(&mut slots.borrow_mut()[slot])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_and_given_back_stays_the_same_manifest() {
        let manifests: Vec<_> = (0..100).map(|n| Manifest::new("a", &format!("{{\"n\":{n}}}"))).collect();
        for _ in 0..100 {
            let shared: Vec<_> = manifests.iter().map(share).collect();
            for (one, other) in shared.iter().zip(&manifests) {
                assert_eq!(one.revision(), other.revision());
            }
            shared.into_iter().for_each(give_back);
        }
    }

    #[test]
    fn a_thread_that_only_gives_back_does_not_hoard() {
        let manifest = Manifest::new("a", "{}");
        let shared: Vec<_> = (0..1000).map(|_| manifest.clone()).collect();
        std::thread::scope(|scope| {
            let hoarder = scope.spawn(|| {
                give_back(share(&manifest));
                shared.into_iter().for_each(give_back);
                assert!(manifest.references() <= 2 + 2 * REFILL, "{}", manifest.references());
            });
            // The end of the scope does not wait for thread-locals to be dropped; a join does.
            hoarder.join().unwrap();
        });
        assert_eq!(manifest.references(), 1, "a thread gives its spares back when it ends");
    }

    #[test]
    fn large_manifests_leave_no_spares_behind() {
        let manifest = Manifest::new("a", &format!("{{\"a\":\"{}\"}}", "x".repeat(LARGEST)));
        give_back(share(&manifest));
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn a_destructor_at_thread_exit_may_still_share_and_give_back() {
        struct Late(Manifest);
        impl Drop for Late {
            fn drop(&mut self) {
                give_back(share(&self.0));
            }
        }
        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let manifest = Manifest::new("a", "{}");
        let late = Late(manifest.clone());
        std::thread::spawn(move || {
            // Registered before the magazine, so dropped after it.
            LATE.with(|slot| *slot.borrow_mut() = Some(late));
            give_back(share(&Manifest::new("b", "{}")));
        })
        .join()
        .unwrap();
        assert_eq!(manifest.references(), 1);
    }
}
