//! Repairs the locks of a forked child, so that its caches work (R12), without fork handlers.
//!
//! A child inherits the memory of its parent, but of its threads only the one that forked. So a
//! thread that does not exist in the child may hold a lock there for ever, and the data behind the
//! lock may be half changed. Each process therefore has a number, its epoch, and each lock stores
//! the epoch in which it was last repaired. A thread that takes a lock compares the two. If they
//! differ, it repairs the lock first.
//!
//! The epoch is a word in a page that the kernel empties in a child (`MADV_WIPEONFORK`). This also
//! works for a raw `clone`, and a comparison costs one load. On a kernel without such pages the
//! epoch contains the process id instead.

use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};
use crate::sync::{Guard, Mutex};
use std::cell::UnsafeCell;

/// A lock that a forked child repairs before it first takes it.
pub(crate) struct ForkMutex<T> {
    lock: UnsafeCell<Mutex<T>>,
    /// The epoch in which the lock was last repaired; with [`REPAIRING`], the epoch of a repair
    /// that has begun.
    epoch: AtomicU64,
}

// SAFETY: as for a mutex. Threads only use `lock` by shared reference, except while one thread of a
// child repairs it; the other threads then wait until `epoch` says that the repair has ended.
unsafe impl<T: Send> Sync for ForkMutex<T> {}

/// Marks an epoch whose repair has begun. If a fork interrupts the repair, the new child begins one
/// of its own.
const REPAIRING: u64 = 1 << 63;

/// The data that a child inherits behind a lock.
pub(crate) enum Inherited<'a, T> {
    /// No thread held the lock during the fork.
    Whole(&'a mut T),
    /// A thread of the parent held the lock and may have been changing the data.
    Torn,
}

impl<T> ForkMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        ForkMutex { lock: UnsafeCell::new(Mutex::new(value)), epoch: AtomicU64::new(0) }
    }

    /// Locks. The first call in a forked child calls `repair`, which changes the inherited value or
    /// returns a new one. A torn value is overwritten; it is never read or dropped. `repair` must
    /// not take a lock.
    #[inline]
    pub(crate) fn lock(&self, repair: impl FnOnce(Inherited<T>) -> Option<T>) -> Guard<'_, T> {
        if self.epoch.load(SeqCst) != epoch() {
            self.repair_once(repair);
        }
        // SAFETY: the lock was repaired in this process, so no thread replaces it any more.
        unsafe { &*self.lock.get() }.lock()
    }

    #[cold]
    fn repair_once(&self, repair: impl FnOnce(Inherited<T>) -> Option<T>) {
        let now = epoch();
        let mut seen = self.epoch.load(SeqCst);
        loop {
            if seen == now {
                return;
            }
            if seen == now | REPAIRING {
                // Another thread of this process repairs the lock, which takes some milliseconds at
                // most.
                crate::sync::yield_now();
                seen = self.epoch.load(SeqCst);
                continue;
            }
            match self.epoch.compare_exchange(seen, now | REPAIRING, SeqCst, SeqCst) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        let was_interrupted = seen & REPAIRING != 0;
        // SAFETY: of the threads of this process, only this one repairs the lock; the others wait
        // in the loop above and have not taken it. Threads of the parent are not in this process.
        unsafe { self.repair(was_interrupted, repair) };
        self.epoch.store(now, SeqCst);
    }

    /// If a fork interrupted a repair (`was_interrupted`), the lock itself may be half written and
    /// is overwritten too.
    ///
    /// # Safety
    /// No other thread of this process uses the lock.
    unsafe fn repair(&self, was_interrupted: bool, repair: impl FnOnce(Inherited<T>) -> Option<T>) {
        // SAFETY: the caller's promise. No guard that was taken in the parent is used in this
        // process.
        let lock = unsafe { &*self.lock.get() };
        let value = match (!was_interrupted).then(|| lock.try_lock()).flatten() {
            Some(mut value) => {
                if let Some(new) = repair(Inherited::Whole(&mut value)) {
                    *value = new;
                }
                None
            }
            None => repair(Inherited::Torn),
        };
        if let Some(value) = value {
            // SAFETY: the caller's promise. The old value is overwritten and not dropped.
            unsafe { self.lock.get().write(Mutex::new(value)) };
        }
    }
}

/// The number of this process. It differs from the numbers of all ancestors that used the library.
#[cfg(not(shuttle))]
#[inline]
pub(crate) fn epoch() -> u64 {
    page::epoch()
}

/// The model checker does not fork.
#[cfg(shuttle)]
pub(crate) fn epoch() -> u64 {
    1
}

/// Whether this is the thread that a forked child began with.
pub(crate) fn is_forking_thread() -> bool {
    #[cfg(all(target_os = "linux", not(shuttle)))]
    // SAFETY: these calls only return numbers.
    return unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) };
    #[cfg(not(all(target_os = "linux", not(shuttle))))]
    false
}

#[cfg(not(shuttle))]
mod page {
    use std::cell::UnsafeCell;
    use std::sync::atomic::Ordering::{Relaxed, SeqCst};
    use std::sync::atomic::{AtomicU8, AtomicU64};

    /// At least one page of memory: 4 KiB on x86, at most 64 KiB elsewhere.
    #[cfg_attr(any(target_arch = "x86", target_arch = "x86_64"), repr(align(4096)))]
    #[cfg_attr(not(any(target_arch = "x86", target_arch = "x86_64")), repr(align(65536)))]
    struct Page(UnsafeCell<AtomicU64>);

    // SAFETY: the page holds one atomic. The kernel changes it in a child before the child runs.
    unsafe impl Sync for Page {}

    /// The epoch, or 0 until this process first reads it. A static that begins as 0 is in anonymous
    /// memory, not in a mapping of the library's file, and the kernel empties only such pages.
    static PAGE: Page = Page(UnsafeCell::new(AtomicU64::new(0)));

    /// The last epoch that was assigned. A child inherits it.
    static LAST: AtomicU64 = AtomicU64::new(0);

    const UNKNOWN: u8 = 0;
    const WIPED: u8 = 1;
    const BY_PROCESS_ID: u8 = 2;
    static KIND: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[inline]
    pub(super) fn epoch() -> u64 {
        // SAFETY: the word is only used as an atomic.
        let word = unsafe { &*PAGE.0.get() };
        match (KIND.load(Relaxed), word.load(Relaxed)) {
            (WIPED, epoch) if epoch != 0 => epoch,
            (kind, epoch) => find(kind, word, epoch),
        }
    }

    #[cold]
    fn find(kind: u8, word: &AtomicU64, epoch: u64) -> u64 {
        let kind = match kind {
            UNKNOWN => choose_kind(),
            kind => kind,
        };
        // Without such a page the process id distinguishes the epochs. A child that has the id of
        // an ancestor which has ended is then not recognized as a new process.
        let process = if kind == BY_PROCESS_ID { u64::from(std::process::id()) } else { 0 };
        let is_known = |epoch: u64| epoch != 0 && epoch >> 31 == process;
        if is_known(epoch) {
            return epoch;
        }
        let new = process << 31 | (LAST.fetch_add(1, SeqCst) + 1) & 0x7FFF_FFFF;
        match word.compare_exchange(epoch, new, SeqCst, SeqCst) {
            Ok(_) => new,
            Err(other) => other,
        }
    }

    /// Chooses the kind of epochs. If two threads choose at the same time, the first choice counts,
    /// because an epoch of one kind is invalid for the other.
    fn choose_kind() -> u8 {
        let kind = if is_wiped_on_fork() { WIPED } else { BY_PROCESS_ID };
        KIND.compare_exchange(UNKNOWN, kind, SeqCst, SeqCst).err().unwrap_or(kind)
    }

    #[cfg(target_os = "linux")]
    fn is_wiped_on_fork() -> bool {
        let advise = |advice| {
            // SAFETY: nothing else is in this page, and the advice changes nothing in this process.
            unsafe { libc::madvise(PAGE.0.get().cast(), size_of::<Page>(), advice) == 0 }
        };
        // Some emulators accept any advice and ignore it. They also accept one that does not exist.
        const UNKNOWN_ADVICE: libc::c_int = 0x7FFF_0000;
        !advise(UNKNOWN_ADVICE) && advise(libc::MADV_WIPEONFORK)
    }

    #[cfg(not(target_os = "linux"))]
    fn is_wiped_on_fork() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first `lock` finds in a process that inherited a lock with this epoch.
    fn found(inherited: u64) -> &'static str {
        let lock = ForkMutex::new(7);
        lock.epoch.store(inherited, SeqCst);
        let mut found = "nothing";
        drop(lock.lock(|inherited| {
            found = match inherited {
                Inherited::Whole(_) => "whole",
                Inherited::Torn => "torn",
            };
            Some(8)
        }));
        assert_eq!(*lock.lock(|_| panic!("it was repaired")), 8);
        found
    }

    #[test]
    fn a_value_whose_repair_a_fork_interrupted_is_torn_even_if_the_lock_is_free() {
        assert_eq!(found(epoch() + 1), "whole");
        assert_eq!(found((epoch() + 1) | REPAIRING), "torn");
    }
}
