//! The C interface. An exported function checks its arguments, makes one safe call, and turns the
//! result into C.
//!
//! Rust's own panics end in `boundary::guarded`. An exception that a loader throws is not caught
//! but passes through, so every function that calls one is `C-unwind` and wraps `guarded` around
//! this crate's code only, never around the loader.

mod boundary;
mod cache;
mod ended;
mod error;
mod get;
mod load;
mod logger;
mod option;
mod outcome;
mod statistic;
mod string;

pub use cache::*;
pub use error::*;
pub use get::*;
pub use load::*;
pub use logger::*;
pub use option::*;
pub use outcome::*;
pub use statistic::*;
pub use string::*;
