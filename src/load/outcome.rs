//! What a load comes to.

use crate::error::Error;
use crate::manifest::Manifest;

/// The outcome of a load, for the call that ran its loader and for all that waited.
pub(crate) type Outcome = Result<Fetched, Error>;

/// What [`Cache::fetch`](crate::Cache::fetch) returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// The manifest.
    pub manifest: Manifest,
    /// Why the reload failed, if the manifest has expired.
    pub stale: Option<Error>,
}

impl From<Manifest> for Fetched {
    fn from(manifest: Manifest) -> Self {
        Fetched { manifest, stale: None }
    }
}
