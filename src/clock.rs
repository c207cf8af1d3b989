//! Time since some fixed moment, in nanoseconds, never running backwards; the system's or a test's.

use crate::sync::{Condvar, Guard};
use parking_lot::Mutex;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// A moment, or a span, in nanoseconds.
pub(crate) type Nanos = u64;

/// A moment that never comes.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Whole milliseconds as nanoseconds; a span too long to count is for ever.
pub(crate) fn from_millis(ms: u64) -> Nanos {
    ms.saturating_mul(1_000_000)
}

/// Where a cache reads the time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<Manual>>>);

impl Clock {
    /// The system's monotonic clock.
    pub fn system() -> Self {
        Clock(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it, for tests of expiry that do not
    /// sleep. Its clones show the same time.
    pub fn manual() -> Self {
        Clock(Some(Arc::default()))
    }

    /// Moves a manual clock forward and wakes the calls whose time to wait has come.
    ///
    /// # Panics
    /// On the system's clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        let manual = self.0.as_ref().expect("only a manual clock can be advanced");
        let sleepers = {
            let mut manual = manual.lock();
            manual.now += by.as_nanos() as Nanos;
            std::mem::take(&mut manual.sleepers)
        };
        sleepers.into_iter().for_each(|wake| wake());
    }

    /// The time to stamp entries with.
    pub(crate) fn now(&self) -> Nanos {
        match &self.0 {
            None => system::now(),
            Some(manual) => manual.lock().now,
        }
    }

    /// The time to compare stamps with: cheaper, and late by at most the step of the system's
    /// coarse clock.
    #[inline]
    pub(crate) fn coarse_now(&self) -> Nanos {
        match &self.0 {
            None => system::coarse_now(),
            Some(manual) => manual.lock().now,
        }
    }

    /// Waits on `condvar` until it is notified, spuriously woken, or `deadline` comes; the caller
    /// looks again. On a manual clock `wake` must notify `condvar` under the lock that `guard`
    /// holds.
    pub(crate) fn wait_until<'a, T>(
        &self,
        condvar: &Condvar,
        guard: Guard<'a, T>,
        deadline: Nanos,
        wake: impl FnOnce() + Send + 'static,
    ) -> Guard<'a, T> {
        match &self.0 {
            _ if deadline == NEVER => condvar.wait(guard),
            None => condvar
                .wait_timeout(guard, Duration::from_nanos(deadline.saturating_sub(self.now()))),
            Some(manual) => {
                let mut manual = manual.lock();
                if manual.now >= deadline {
                    return guard;
                }
                manual.sleepers.push(Box::new(wake));
                drop(manual);
                condvar.wait(guard)
            }
        }
    }
}

#[derive(Default)]
struct Manual {
    now: Nanos,
    /// What wakes those whose deadline may have come with the next step.
    sleepers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.now))
    }
}

mod system {
    use super::Nanos;

    /// The coarse clock costs a quarter of the exact one and never runs ahead of it.
    #[cfg(target_os = "linux")]
    const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC;

    pub(super) fn now() -> Nanos {
        read(libc::CLOCK_MONOTONIC)
    }

    #[inline]
    pub(super) fn coarse_now() -> Nanos {
        read(COARSE)
    }

    #[inline]
    fn read(clock: libc::clockid_t) -> Nanos {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is ours to write; the system knows these clocks, so the call cannot fail.
        unsafe { libc::clock_gettime(clock, &mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_never_ahead_of_the_exact_one() {
        let clock = Clock::system();
        for _ in 0..10_000 {
            let coarse = clock.coarse_now();
            assert!(coarse <= clock.now());
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual();
        let before = clock.clone().now();
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.now() - before, 5_000_000);
        assert_eq!(clock.coarse_now(), clock.now());
    }

    #[test]
    fn milliseconds_too_many_to_count_are_for_ever() {
        assert_eq!(from_millis(3), 3_000_000);
        assert_eq!(from_millis(u64::MAX - 1), NEVER);
    }
}
