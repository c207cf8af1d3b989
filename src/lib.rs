//! Caches plugin manifests in memory with a time to live, behind a C interface.
mod cache;
#[allow(non_camel_case_types, clippy::missing_safety_doc)]
pub mod capi;
mod clock;
mod error;
mod file;
mod flight;
mod json;
mod load;
mod magazine;
mod manifest;
mod policy;
mod stats;
mod store;
mod sync;

pub use cache::Cache;
pub use clock::Clock;
pub use error::{Error, Status};
pub use load::Load;
pub use manifest::Manifest;
pub use policy::Policy;
pub use stats::Stats;
