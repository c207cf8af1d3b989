//! The locks, atomics, thread-locals and statics that threads share, in one place, so that `--cfg
//! shuttle` can replace them by those of a model checker, which runs the very same cache under many
//! orders of events.
//!
//! They are std's, which wait on futexes. parking_lot's keep those who wait in tables of the
//! process with locks of their own, which a child can inherit locked: with it, the tests of R12
//! under load hung in one of their first 60 forks in 11 of 12 runs; with these, in none of 20 000
//! forks.

#[cfg(shuttle)]
use shuttle::{sync, thread};
#[cfg(not(shuttle))]
use std::{sync, thread};

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Duration;

pub(crate) use sync::MutexGuard as Guard;
pub(crate) use sync::atomic;
pub(crate) use thread::yield_now;

/// A lock that a panic does not poison: what it guards is changed in steps that cannot panic
/// halfway.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T: ?Sized>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, unless the lock is held.
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A condition variable; a wait may end for no reason, so the caller looks again.
///
/// It counts those who wait, under the lock that they wait with, as std's makes a system call even
/// for nobody.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    condvar: sync::Condvar,
    waiting: std::sync::atomic::AtomicUsize,
}

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: Guard<'a, T>) -> Guard<'a, T> {
        self.counted(|| self.condvar.wait(guard).unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn wait_timeout<'a, T>(&self, guard: Guard<'a, T>, limit: Duration) -> Guard<'a, T> {
        self.counted(|| {
            self.condvar.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
        })
    }

    fn counted<G>(&self, wait: impl FnOnce() -> G) -> G {
        self.waiting.fetch_add(1, Relaxed);
        let guard = wait();
        self.waiting.fetch_sub(1, Relaxed);
        guard
    }

    /// `_guard` is of the lock that those who wait gave up.
    pub(crate) fn notify_all<T>(&self, _guard: &Guard<T>) {
        if self.waiting.load(Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

/// A shared value that is read without a lock and replaced whole; for the model checker, each is
/// one step.
#[derive(Debug)]
pub(crate) struct Swap<T> {
    value: arc_swap::ArcSwapOption<T>,
    #[cfg(shuttle)]
    step: atomic::AtomicBool,
}

impl<T> Default for Swap<T> {
    fn default() -> Self {
        Swap {
            value: arc_swap::ArcSwapOption::empty(),
            #[cfg(shuttle)]
            step: Default::default(),
        }
    }
}

impl<T> Swap<T> {
    #[inline]
    pub(crate) fn load(&self) -> arc_swap::Guard<Option<Arc<T>>> {
        self.step();
        self.value.load()
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        self.step();
        self.value.load_full()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        self.step();
        self.value.store(value);
    }

    #[inline]
    fn step(&self) {
        #[cfg(shuttle)]
        self.step.load(atomic::Ordering::SeqCst);
    }
}

/// Declares a static of this crate. Under the model checker each run has one of its own.
macro_rules! process_wide {
    (static $name:ident: $type:ty = $value:expr) => {
        #[cfg(not(shuttle))]
        pub(crate) static $name: $type = $value;
        #[cfg(shuttle)]
        shuttle::lazy_static! { pub(crate) static ref $name: $type = $value; }
    };
}
pub(crate) use process_wide;

/// Declares a thread-local whose first value is a constant.
#[cfg(not(shuttle))]
macro_rules! each_thread {
    ($(#[$meaning:meta])* static $name:ident: $type:ty = $value:expr) => {
        std::thread_local!($(#[$meaning])* static $name: $type = const { $value });
    };
}
#[cfg(shuttle)]
macro_rules! each_thread {
    ($(#[$meaning:meta])* static $name:ident: $type:ty = $value:expr) => {
        shuttle::thread_local!($(#[$meaning])* static $name: $type = $value);
    };
}
pub(crate) use each_thread;
