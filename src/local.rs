//! The data that each thread has for itself, so that hits on several threads do not write to the
//! same memory.

use crate::clock::CoarseClock;
use crate::entries::magazine::Magazine;
use crate::load::within::ForgetLoads;
use crate::stats::StripeIndex;
use crate::sync::each_thread;
use std::cell::RefCell;

/// The data of one thread, for all caches.
pub(crate) struct Local {
    pub(crate) clock: CoarseClock,
    pub(crate) stripe: StripeIndex,
    pub(crate) magazine: Magazine,
    _loads: ForgetLoads,
}

impl Local {
    pub(crate) const fn new() -> Self {
        Local {
            clock: CoarseClock::new(),
            stripe: StripeIndex::new(),
            magazine: Magazine::new(),
            _loads: ForgetLoads,
        }
    }
}

/// Calls `use_local` with this thread's data. Returns `None` without a call if the thread is
/// exiting and the data has already been dropped.
#[inline]
pub(crate) fn try_with<R>(use_local: impl FnOnce(&mut Local) -> R) -> Option<R> {
    each_thread!(static LOCAL: RefCell<Local> = RefCell::new(Local::new()));
    LOCAL.try_with(|local| use_local(&mut local.borrow_mut())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn a_destructor_that_runs_after_the_locals_may_take_and_return_references() {
        struct Late(Manifest);
        impl Drop for Late {
            fn drop(&mut self) {
                let shared = Local::new().magazine.share(1, &self.0);
                assert!(try_with(|_| ()).is_none(), "this destructor must run after that of LOCAL");
                try_with(|local| local.magazine.give_back(shared));
            }
        }
        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let manifest = Manifest::new("a", "{}");
        let late = Late(manifest.clone());
        let thread = std::thread::spawn(move || {
            // Thread-locals are dropped in the reverse order of their first use.
            LATE.with(|slot| *slot.borrow_mut() = Some(late));
            try_with(|local| local.magazine.share(1, &Manifest::new("b", "{}")));
        });
        thread.join().unwrap();
        assert_eq!(manifest.references(), 1);
    }
}
