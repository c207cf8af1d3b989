//! What each thread keeps to itself, so that hits on several threads write no memory in common.

use crate::clock::CoarseClock;
use crate::entries::magazine::Magazine;
use crate::stats::StripeIndex;
use crate::sync::each_thread;
use std::cell::RefCell;

pub(crate) struct Local {
    pub(crate) clock: CoarseClock,
    pub(crate) stripe: StripeIndex,
    pub(crate) magazine: Magazine,
}

impl Local {
    pub(crate) const fn new() -> Self {
        Local { clock: CoarseClock::new(), stripe: StripeIndex::new(), magazine: Magazine::new() }
    }
}

/// Uses what this thread keeps. In a destructor that runs at thread exit that may be gone; then
/// nothing happens.
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
    fn a_destructor_at_thread_exit_may_still_share_and_give_back() {
        struct Late(Manifest);
        impl Drop for Late {
            fn drop(&mut self) {
                let shared = Local::new().magazine.share(1, &self.0, 0);
                assert!(
                    try_with(|_| ()).is_none(),
                    "this destructor is to run after that of LOCAL"
                );
                try_with(|local| local.magazine.give_back(shared));
            }
        }
        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let manifest = Manifest::new("a", "{}");
        let late = Late(manifest.clone());
        let thread = std::thread::spawn(move || {
            // Used first, so dropped last.
            LATE.with(|slot| *slot.borrow_mut() = Some(late));
            try_with(|local| local.magazine.share(1, &Manifest::new("b", "{}"), 0));
        });
        thread.join().unwrap();
        assert_eq!(manifest.references(), 1);
    }
}
