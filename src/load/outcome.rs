//! The outcome of a load, and how those who wait asynchronously are told.

use crate::error::Error;
use crate::manifest::Manifest;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a load returns to the call that ran its loader and to all calls that waited for it.
pub(crate) type Outcome = Result<Fetched, Error>;

/// A call that tells an outcome to one who waits asynchronously.
pub(crate) type Tell = Box<dyn FnOnce(Outcome) + Send>;

/// A manifest from [`Cache::fetch`](crate::Cache::fetch), and whether it has expired.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// The manifest.
    pub manifest: Manifest,
    /// If the manifest is an expired one because its reload failed: the error of that reload.
    pub stale: Option<Error>,
}

impl From<Manifest> for Fetched {
    fn from(manifest: Manifest) -> Self {
        Fetched { manifest, stale: None }
    }
}

/// Makes all of `calls`. If one panics, the others are still made.
pub(crate) fn call_all(calls: impl Iterator<Item = impl FnOnce()>) {
    let mut panic = None;
    for call in calls {
        let called = catch_unwind(AssertUnwindSafe(call));
        panic = panic.or(called.err());
    }
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}
