//! The data that each thread has for itself, so that hits on several threads do not write to the
//! same memory.

use crate::clock::CoarseClock;
use crate::entries::magazine::{LetGo, Magazine};
use crate::load::within::ForgetLoads;
use crate::manifest::{Manifest, removals};
use crate::stats::StripeIndex;
use crate::sync::each_thread;
use std::cell::RefCell;

/// The data of one thread, for all caches.
pub(crate) struct Local {
    pub(crate) clock: CoarseClock,
    pub(crate) stripe: StripeIndex,
    pub(crate) magazine: Magazine,
    /// The removals that the magazine knows of.
    pub(crate) removals: u64,
}

impl Local {
    pub(crate) const fn new() -> Self {
        Local {
            clock: CoarseClock::new(),
            stripe: StripeIndex::new(),
            magazine: Magazine::new(),
            removals: 0,
        }
    }

    /// Whether manifests with values were removed that the magazine may still have.
    #[inline]
    pub(crate) fn is_behind(&self) -> bool {
        self.removals != removals()
    }

    /// Lets go of them.
    pub(crate) fn catch_up(&mut self, let_go: &mut LetGo) {
        let removals = removals();
        if self.removals != removals {
            self.removals = removals;
            self.magazine.let_go_of_removed(let_go);
        }
    }
}

/// Lets this thread go of manifests with values that were removed.
pub(crate) fn catch_up() {
    let mut let_go = LetGo::new();
    try_with(|local| local.catch_up(&mut let_go));
}

/// Takes back a reference from its user.
#[inline]
pub(crate) fn give_back(manifest: Manifest) {
    let give_back = |local: &mut Local| {
        if local.is_behind() { Err(manifest) } else { local.magazine.give_back(manifest) }
    };
    if let Some(Err(manifest)) = try_with(give_back) {
        give_back_slowly(manifest);
    }
}

#[inline(never)]
fn give_back_slowly(manifest: Manifest) {
    let mut let_go = LetGo::new();
    let rejected = try_with(|local| {
        local.catch_up(&mut let_go);
        match manifest.is_removed_with_value() {
            true => Err(manifest),
            false => local.magazine.give_back_elsewhere(manifest),
        }
    });
    // Both may run code of the host, with nothing of this thread borrowed.
    drop((let_go, rejected));
}

/// Calls `use_local` with this thread's data. Returns `None` without a call if the thread is
/// exiting and the data has already been dropped.
#[inline]
pub(crate) fn try_with<R>(use_local: impl FnOnce(&mut Local) -> R) -> Option<R> {
    // A `Local` has no `ForgetLoads`, as a destructor may use another one while loads go on.
    each_thread!(
        static LOCAL: (RefCell<Local>, ForgetLoads) = (RefCell::new(Local::new()), ForgetLoads)
    );
    LOCAL.try_with(|(local, _)| use_local(&mut local.borrow_mut())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destructor_that_runs_after_the_locals_may_take_and_return_references() {
        struct Late(Manifest);
        impl Drop for Late {
            fn drop(&mut self) {
                let shared = Local::new().magazine.share(1, self.0.clone(), &mut LetGo::new());
                assert!(try_with(|_| ()).is_none(), "this destructor must run after that of LOCAL");
                give_back(shared);
            }
        }
        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let manifest = Manifest::new("a", "{}");
        let late = Late(manifest.clone());
        let thread = std::thread::spawn(move || {
            // Thread-locals are dropped in the reverse order of their first use.
            LATE.with(|slot| *slot.borrow_mut() = Some(late));
            try_with(|local| {
                drop(local.magazine.share(1, Manifest::new("b", "{}"), &mut LetGo::new()))
            });
        });
        thread.join().unwrap();
        assert_eq!(manifest.references(), 1);
    }
}
