//! The cache: what happens on a hit, a miss, a wait and a clear.

mod begin;
mod core;
mod get;
mod load_guard;
mod messages;
mod report;

pub use self::core::Cache;
pub use begin::Begun;
pub use load_guard::LoadGuard;
pub use report::EntryReport;
