//! Keeps plugin manifests in memory, each for its time to live (TTL), for hosts that read them
//! again and again.
//!
//! Most users link this library from C, C++ or Python and read `include/manifest_cache.h`; the
//! rules cited here as R1 to R15 are those of `docs/rules.md`. The same cache is a safe Rust crate:
//!
//! ```
//! use manifest_cache::Cache;
//! use std::time::Duration;
//!
//! let cache = Cache::new(Duration::from_secs(300));
//! let manifest = cache.get("weather", |load| {
//!     let _ = load.directory("/usr/lib/host/plugins"); // reads weather/manifest.json in it
//!     let _ = load.json(r#"{"name": "Weather"}"#); //     the last answer stands
//! })?;
//! assert_eq!(manifest.as_str(), r#"{"name": "Weather"}"#);
//! # Ok::<(), manifest_cache::Error>(())
//! ```
//!
//! # What happens on a hit?
//! [`Cache::get`] finds the entry in an immutable list that changes replace whole, compares the
//! time, and counts a reference. It takes no lock and copies nothing, so it costs the same whatever
//! the manifest's size.
//!
//! # What happens on a miss?
//! One caller becomes the leader: it runs its loader, on its own thread and with no lock held. Who
//! asks for the same plugin meanwhile waits and shares the outcome; who asks for another one does
//! not notice.
//!
//! # What does a clear guarantee?
//! After [`Cache::clear`] returned, nobody who asks sees anything of a load that began before:
//! neither the manifest nor an error. The load itself ends normally for its own caller and for
//! those who already wait, but is not stored.
//!
//! # What if loaders need each other?
//! A loader may get other plugins. When that leads back to a plugin whose load is waiting for this
//! very call, on this thread or over others, the call that would close the circle gets
//! [`Status::LoadCycle`] with the chain.
//!
//! # What does a loader say, and when is it wrong?
//! It answers through [`Load`]; the last answer stands. A manifest is a JSON object in UTF-8,
//! checked once; with [`CacheOption::Syntax`] it may have comments. Failures are not cached.
//!
//! # How is expiry tested without sleeping?
//! Give [`Cache::with_clock`] a [`Clock::manual`] and [`advance`](Clock::advance) it.

mod cache;
#[allow(non_camel_case_types, clippy::missing_safety_doc)]
pub mod capi;
mod clock;
mod entries;
mod error;
mod fork;
mod load;
mod local;
mod logger;
mod manifest;
mod options;
mod stats;
mod sync;

pub use cache::{Cache, EntryReport};
pub use clock::Clock;
pub use error::{Error, Status};
pub use load::answer::Load;
pub use load::json::Syntax;
pub use load::outcome::Fetched;
pub use logger::Level;
pub use manifest::Manifest;
pub use options::CacheOption;
pub use stats::{Stat, Stats};
