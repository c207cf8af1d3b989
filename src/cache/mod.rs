//! The cache: what happens on a hit, a miss, a wait and a clear.

mod core;
mod get;
mod load_guard;
mod messages;
mod report;

pub use self::core::Cache;
pub(crate) use get::Turn;
pub use report::EntryReport;
