//! The outcome of a load.

use crate::error::Error;
use crate::manifest::Manifest;

/// What a load returns to the call that ran its loader and to all calls that waited for it.
pub(crate) type Outcome = Result<Fetched, Error>;

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
