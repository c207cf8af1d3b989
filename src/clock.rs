//! The time in nanoseconds, from the system's clocks or from a test's.
//!
//! Entries expire by the time since the machine was booted, which goes on while it is suspended (R2).
//! Waits end by the time that it was awake, else all would time out when it wakes.

use crate::sync::{Condvar, Guard};
use parking_lot::Mutex;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// A moment, or a span, in nanoseconds.
pub(crate) type Nanos = u64;

/// Where times begin, so that `Cache::advance` can move those of entries back by a century.
const ORIGIN: Nanos = 1 << 62;

/// A moment that never comes.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Whole milliseconds as nanoseconds; a span too long to count is for ever.
pub(crate) fn from_millis(ms: u64) -> Nanos {
    ms.saturating_mul(1_000_000)
}

/// A moment as it is after the time was advanced: never stays never.
pub(crate) fn earlier(moment: Nanos, by: Nanos) -> Nanos {
    if moment == NEVER { NEVER } else { moment.saturating_sub(by) }
}

/// Where a cache reads the time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<Manual>>>);

/// What a thread knows of the system's clocks, to read the time of a hit at little cost.
pub(crate) struct CoarseClock {
    /// From the coarse clock, which stands still while the machine is suspended, to the time.
    offset: Nanos,
    /// When to look at the offset again, by the coarse clock.
    valid_until: Nanos,
}

impl CoarseClock {
    pub(crate) const fn new() -> Self {
        CoarseClock { offset: 0, valid_until: 0 }
    }

    #[inline]
    fn now(&mut self) -> Nanos {
        let coarse = system::coarse_awake();
        if coarse >= self.valid_until {
            self.renew(coarse);
        }
        coarse + self.offset
    }

    #[cold]
    fn renew(&mut self, coarse: Nanos) {
        // In this order: what passes between the two makes the time late, never early.
        let since_boot = system::since_boot();
        self.offset = ORIGIN + since_boot - system::awake();
        self.valid_until = coarse + VALID_FOR;
    }
}

/// After waking, nothing that has expired is returned for longer than this.
const VALID_FOR: Nanos = 1_000_000_000;

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it, for tests of expiry that do not
    /// sleep. Its clones show the same time.
    pub fn manual() -> Self {
        Clock(Some(Arc::default()))
    }

    /// Moves a manual clock forward and wakes the calls whose time to wait is over.
    ///
    /// # Panics
    /// On the system's clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        let manual = self.0.as_ref().expect("only a manual clock can be advanced");
        let sleepers = {
            let mut manual = manual.lock();
            manual.passed += by.as_nanos() as Nanos;
            std::mem::take(&mut manual.sleepers)
        };
        sleepers.into_iter().for_each(|wake| wake());
    }

    /// How many calls sleep on this manual clock.
    #[cfg(test)]
    pub(crate) fn sleepers(&self) -> usize {
        self.0.as_ref().map_or(0, |manual| manual.lock().sleepers.len())
    }

    /// The time to stamp entries with.
    pub(crate) fn now(&self) -> Nanos {
        match &self.0 {
            None => ORIGIN + system::since_boot(),
            Some(manual) => ORIGIN + manual.lock().passed,
        }
    }

    /// The time to compare stamps with: cheaper, and late by at most the step of the system's coarse
    /// clock, or by a second of awake time after the machine was suspended.
    #[inline]
    pub(crate) fn coarse_now(&self, coarse: &mut CoarseClock) -> Nanos {
        match &self.0 {
            None => coarse.now(),
            Some(manual) => ORIGIN + manual.lock().passed,
        }
    }

    /// The time that the machine was awake, for waits and for how long loads take.
    pub(crate) fn awake_now(&self) -> Nanos {
        match &self.0 {
            None => system::awake(),
            Some(manual) => manual.lock().passed,
        }
    }

    /// Waits on `condvar` for at most `limit` of awake time from `now` on, which the caller just
    /// read. It may end early, so the caller looks again. On a manual clock `wake` must notify
    /// `condvar` under the lock that `guard` holds.
    pub(crate) fn wait<'a, T>(
        &self,
        condvar: &Condvar,
        guard: Guard<'a, T>,
        now: Nanos,
        limit: Nanos,
        wake: impl FnOnce() + Send + 'static,
    ) -> Guard<'a, T> {
        match &self.0 {
            _ if limit == NEVER => condvar.wait(guard),
            None => condvar.wait_timeout(guard, Duration::from_nanos(limit)),
            Some(manual) => {
                let mut manual = manual.lock();
                if manual.passed != now {
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
    passed: Nanos,
    /// What wakes those whose time to wait may be over with the next step.
    sleepers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.passed))
    }
}

mod system {
    use super::Nanos;

    /// The coarse clock costs a quarter of the exact one and never runs ahead of it.
    #[cfg(target_os = "linux")]
    const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC;

    /// Elsewhere the monotonic clock is taken for it.
    #[cfg(target_os = "linux")]
    const SINCE_BOOT: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    const SINCE_BOOT: libc::clockid_t = libc::CLOCK_MONOTONIC;

    pub(super) fn since_boot() -> Nanos {
        read(SINCE_BOOT)
    }

    pub(super) fn awake() -> Nanos {
        read(libc::CLOCK_MONOTONIC)
    }

    #[inline]
    pub(super) fn coarse_awake() -> Nanos {
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
        let (clock, mut coarse) = (Clock::system(), CoarseClock::new());
        for _ in 0..10_000 {
            let now = clock.coarse_now(&mut coarse);
            assert!(now <= clock.now());
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual();
        let before = clock.clone().now();
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.now() - before, 5_000_000);
        assert_eq!(clock.coarse_now(&mut CoarseClock::new()), clock.now());
    }

    #[test]
    fn milliseconds_too_many_to_count_are_for_ever() {
        assert_eq!(from_millis(3), 3_000_000);
        assert_eq!(from_millis(u64::MAX - 1), NEVER);
    }
}
