//! The time in nanoseconds, from the system's clocks or from a manual clock.
//!
//! Entries expire by the time since boot, which includes the time that the machine was suspended
//! (R2). Waits count only the time that it was awake; otherwise all would time out when it wakes.

use crate::sync::{Condvar, Guard};
use parking_lot::Mutex;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// A point in time or a duration, in nanoseconds.
pub(crate) type Nanos = u64;

/// The time at boot. It is far above 0 so that `Cache::advance` can move the times of entries back.
const ORIGIN: Nanos = 1 << 62;

/// A point in time that is never reached.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Milliseconds in nanoseconds; [`NEVER`] if there are too many.
pub(crate) fn from_millis(ms: u64) -> Nanos {
    ms.saturating_mul(1_000_000)
}

/// A point in time as it is after the time was advanced; `NEVER` stays the same.
pub(crate) fn earlier(moment: Nanos, by: Nanos) -> Nanos {
    if moment == NEVER { NEVER } else { moment.saturating_sub(by) }
}

/// The clock of a cache.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<Manual>>>);

/// What a thread remembers of the system's clocks, so that a hit reads the time at little cost.
pub(crate) struct CoarseClock {
    /// What to add to the coarse clock, which stands still while the machine is suspended.
    offset: Nanos,
    /// When to read the offset again, by the coarse clock.
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
        // In this order, because time may pass between the two reads: the offset is then too small,
        // so that the coarse time is behind the exact one, never ahead.
        let since_boot = system::since_boot();
        self.offset = ORIGIN + since_boot - system::awake();
        self.valid_until = coarse + VALID_FOR;
    }
}

/// How long an offset is used. After the machine wakes, an expired entry can be returned for this
/// long.
const VALID_FOR: Nanos = 1_000_000_000;

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it, for tests of expiry without
    /// sleeping. Its clones show the same time.
    pub fn manual() -> Self {
        Clock(Some(Arc::default()))
    }

    /// Moves a manual clock forward and wakes the waiting calls, which check their time limits.
    ///
    /// # Panics
    /// If this is the system's clock.
    pub fn advance(&self, by: Duration) {
        let manual = self.0.as_ref().expect("only a manual clock can be advanced");
        let sleepers = {
            let mut manual = manual.lock();
            manual.passed += by.as_nanos() as Nanos;
            std::mem::take(&mut manual.sleepers)
        };
        sleepers.into_iter().for_each(|wake| wake());
    }

    /// How many calls wait on this manual clock.
    #[cfg(test)]
    pub(crate) fn sleepers(&self) -> usize {
        self.0.as_ref().map_or(0, |manual| manual.lock().sleepers.len())
    }

    /// The exact time, for the times that an entry keeps.
    pub(crate) fn now(&self) -> Nanos {
        match &self.0 {
            None => ORIGIN + system::since_boot(),
            Some(manual) => ORIGIN + manual.lock().passed,
        }
    }

    /// The time to compare the times of entries with. It is cheaper than `now` and behind it by at
    /// most a step of the system's coarse clock. After the machine was suspended it does not
    /// include that time until it has been awake for at most one second.
    #[inline]
    pub(crate) fn coarse_now(&self, coarse: &mut CoarseClock) -> Nanos {
        match &self.0 {
            None => coarse.now(),
            Some(manual) => ORIGIN + manual.lock().passed,
        }
    }

    /// The time that the machine was awake, for waits and for the duration of loads.
    pub(crate) fn awake_now(&self) -> Nanos {
        match &self.0 {
            None => system::awake(),
            Some(manual) => manual.lock().passed,
        }
    }

    /// Waits on `condvar` for at most `limit` of awake time. `now` is the awake time that the
    /// caller has just read. The wait may end early, so the caller checks its condition again. On a
    /// manual clock `wake` must notify `condvar` under the lock that `guard` holds.
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
    /// Called when the clock is advanced, to wake the calls that wait.
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

    /// Other systems use their monotonic clock.
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
        // SAFETY: `time` is a local variable. The system has these clocks, so the call succeeds.
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
    fn a_manual_clock_moves_only_when_it_is_advanced() {
        let clock = Clock::manual();
        let before = clock.clone().now();
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.now() - before, 5_000_000);
        assert_eq!(clock.coarse_now(&mut CoarseClock::new()), clock.now());
    }

    #[test]
    fn too_many_milliseconds_are_for_ever() {
        assert_eq!(from_millis(3), 3_000_000);
        assert_eq!(from_millis(u64::MAX - 1), NEVER);
    }
}
