//! What a table holds, and what its writer is just doing to it: so that a forked child can finish
//! what a thread of its parent began, without looking at the whole table (R12).
//!
//! The writer says what it begins to do, does it, and says what the table holds then. A child sees
//! a prefix of these steps, as the kernel copies no page that was written after one that it has
//! already copied.

use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Relaxed, Release};

/// How many entries there are, and how many bytes they occupy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// What the writer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    /// It changes a bucket. Then the bucket has the manifest at this address, or has it no more,
    /// and the table holds so much.
    Change {
        bucket: usize,
        address: usize,
        is_put: bool,
        totals: Totals,
    },
    /// It removes everything.
    Clear,
    /// It adds a bucket.
    Grow,
}

#[derive(Default)]
pub(super) struct Journal {
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// One of the constants, or the bucket that is changed.
    doing: AtomicUsize,
    address: AtomicUsize,
    is_put: AtomicUsize,
    next_entries: AtomicUsize,
    next_bytes: AtomicUsize,
}

const NOTHING: usize = 0;
const CLEAR: usize = 1;
const GROW: usize = 2;
const FIRST_BUCKET: usize = 3;

impl Journal {
    pub(super) fn totals(&self) -> Totals {
        Totals { entries: self.entries.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    pub(super) fn doing(&self) -> Doing {
        match self.doing.load(Relaxed) {
            NOTHING => Doing::Nothing,
            CLEAR => Doing::Clear,
            GROW => Doing::Grow,
            bucket => Doing::Change {
                bucket: bucket - FIRST_BUCKET,
                address: self.address.load(Relaxed),
                is_put: self.is_put.load(Relaxed) != 0,
                totals: Totals {
                    entries: self.next_entries.load(Relaxed),
                    bytes: self.next_bytes.load(Relaxed),
                },
            },
        }
    }

    pub(super) fn begin(&self, doing: Doing) {
        let code = match doing {
            Doing::Nothing => NOTHING,
            Doing::Clear => CLEAR,
            Doing::Grow => GROW,
            Doing::Change { bucket, address, is_put, totals } => {
                self.address.store(address, Release);
                self.is_put.store(is_put.into(), Release);
                self.next_entries.store(totals.entries, Release);
                self.next_bytes.store(totals.bytes, Release);
                bucket + FIRST_BUCKET
            }
        };
        // Release, everywhere: the steps stay in their order. So what is to be done never changes
        // before what was done has ended. A change itself releases too.
        self.doing.store(code, Release);
    }

    pub(super) fn end(&self, totals: Totals) {
        self.entries.store(totals.entries, Release);
        self.bytes.store(totals.bytes, Release);
        self.doing.store(NOTHING, Release);
    }
}
