//! A cache of plugin manifests in memory, each with a time to live (TTL), for hosts that read the
//! same manifests many times.
//!
//! Most users link this library from C, C++ or Python and read `include/manifest_cache.h`. R1, R2
//! and so on are the rules in `docs/rules.md`. The same cache is a safe Rust crate:
//!
//! ```
//! use manifest_cache::Cache;
//! use std::time::Duration;
//!
//! let cache = Cache::new(Duration::from_secs(300));
//! let manifest = cache.get("weather", |load| {
//!     let _ = load.directory("/usr/lib/host/plugins"); // reads weather/manifest.json in it
//!     let _ = load.json(r#"{"name": "Weather"}"#); //     the last answer counts
//! })?;
//! assert_eq!(manifest.as_str(), r#"{"name": "Weather"}"#);
//! # Ok::<(), manifest_cache::Error>(())
//! ```
//!
//! # What happens on a hit?
//! [`Cache::get`] finds the entry in an immutable list, checks that it has not expired, and counts
//! a reference to its manifest. It takes no lock and copies nothing, so its cost does not depend on
//! the size of the manifest.
//!
//! # What happens on a miss?
//! The first caller runs its loader, on its own thread and with no lock held. Other callers that
//! get the same plugin meanwhile wait for this load and share its outcome. Callers that get another
//! plugin do not wait.
//!
//! # What does a clear guarantee?
//! A get that begins after [`Cache::clear`] has returned never sees the outcome of a load that
//! began before the clear: neither its manifest nor its error. That load ends normally for its own
//! caller and for the callers that already wait for it, but the cache does not store its manifest.
//!
//! # What if loaders need each other?
//! A loader may get other plugins. If loads would wait for each other in a cycle, on one thread or
//! over several, the call that would close the cycle returns [`Status::LoadCycle`]. The message
//! names the plugins of the cycle.
//!
//! # What does a loader answer?
//! It answers through [`Load`]; the last answer counts. A manifest must be a JSON object in UTF-8,
//! which the cache checks once. [`CacheOption::Syntax`] can allow comments in it.
//!
//! # How is expiry tested without sleeping?
//! Give [`Cache::with_clock`] a [`Clock::manual`] and [`advance`](Clock::advance) it.

mod boxed;
mod cache;
#[allow(non_camel_case_types, clippy::missing_safety_doc)]
pub mod capi;
mod clock;
mod entries;
mod error;
mod fork;
mod hash;
mod load;
mod local;
mod logger;
mod manifest;
mod options;
mod stats;
mod sync;

pub use cache::{Begun, Cache, EntryReport, LoadGuard};
pub use clock::Clock;
pub use error::{Error, Status};
pub use load::answer::Load;
pub use load::json::Syntax;
pub use load::outcome::Fetched;
pub use load::within::Within;
pub use logger::Level;
pub use manifest::Manifest;
pub use options::CacheOption;
pub use stats::{Stat, Stats};
