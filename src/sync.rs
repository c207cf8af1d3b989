//! The locks and thread identity everything else uses, in one place so that they can be exchanged.

use std::time::Duration;

pub(crate) use parking_lot::MutexGuard as Guard;

/// A lock that panics in other threads do not poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock()
    }
}

/// A condition variable whose waits hand the guard through.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, mut guard: Guard<'a, T>) -> Guard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub(crate) fn wait_timeout<'a, T>(&self, mut guard: Guard<'a, T>, limit: Duration) -> Guard<'a, T> {
        self.0.wait_for(&mut guard, limit);
        guard
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Tells living threads apart; a later thread may be given the number of one that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadId(usize);

/// Works in destructors that run at thread exit, too: the mark it takes the address of needs none itself.
pub(crate) fn thread_id() -> ThreadId {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| ThreadId(std::ptr::from_ref(mark) as usize))
}
