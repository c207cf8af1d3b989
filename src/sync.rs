//! The locks, atomics, thread-locals and statics of this crate. `--cfg shuttle` replaces them by
//! those of a model checker, which runs the same cache in many orders of events.
//!
//! The locks are those of std, which wait on futexes. parking_lot keeps waiting threads in tables
//! of the process. These tables have locks of their own, which a child can inherit locked. With
//! parking_lot the tests of R12 under load hung in one of their first 60 forks in 11 of 12 runs;
//! with the locks of std they hung in none of 20 000 forks.

#[cfg(shuttle)]
use shuttle::{sync, thread};
#[cfg(not(shuttle))]
use std::{sync, thread};

use arc_swap::RefCnt;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

pub(crate) use sync::MutexGuard as Guard;
pub(crate) use sync::atomic;
pub(crate) use thread::yield_now;

/// A lock that a panic does not poison. No code of this crate can panic while the data behind a
/// lock is half changed.
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

    /// Locks, or returns `None` if the lock is held.
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A condition variable. A wait may end without a reason, so the caller checks its condition again.
///
/// It counts the waiting threads, under the lock that they wait with, because std makes a system
/// call even if no thread waits.
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

    /// Wakes all waiting threads. The caller holds the lock that they wait with.
    pub(crate) fn notify_all<T>(&self, _guard: &Guard<T>) {
        if self.waiting.load(Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

/// A shared reference that threads read without a lock and replace as a whole. For the model
/// checker, each read and each replacement is one step.
pub(crate) struct Swap<T: RefCnt> {
    /// Its drop asks all threads that have used the library, also if there is no reference.
    value: ManuallyDrop<arc_swap::ArcSwapAny<Option<T>>>,
    #[cfg(shuttle)]
    step: atomic::AtomicBool,
}

impl<T: RefCnt> Default for Swap<T> {
    fn default() -> Self {
        Swap {
            value: ManuallyDrop::new(arc_swap::ArcSwapAny::new(None)),
            #[cfg(shuttle)]
            step: Default::default(),
        }
    }
}

impl<T: RefCnt> Swap<T> {
    #[inline]
    pub(crate) fn load(&self) -> arc_swap::Guard<Option<T>> {
        self.step();
        self.value.load()
    }

    pub(crate) fn store(&self, value: Option<T>) {
        drop(self.swap(value));
    }

    pub(crate) fn swap(&self, value: Option<T>) -> Option<T> {
        self.step();
        self.value.swap(value)
    }

    #[inline]
    fn step(&self) {
        #[cfg(shuttle)]
        self.step.load(atomic::Ordering::SeqCst);
    }
}

impl<T: RefCnt> Drop for Swap<T> {
    fn drop(&mut self) {
        if self.value.load().is_some() {
            drop(self.value.swap(None));
        }
    }
}

/// Declares a static. Under the model checker each run has its own.
macro_rules! process_wide {
    (static $name:ident: $type:ty = $value:expr) => {
        #[cfg(not(shuttle))]
        pub(crate) static $name: $type = $value;
        #[cfg(shuttle)]
        shuttle::lazy_static! { pub(crate) static ref $name: $type = $value; }
    };
}
pub(crate) use process_wide;

/// Declares a thread-local whose initial value is a constant.
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
