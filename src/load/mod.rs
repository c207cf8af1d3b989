//! What loads: a loader's answers, files and JSON, the loads in progress, and who waits for whom.

pub(crate) mod answer;
mod directory;
mod file;
mod file_system;
pub(crate) mod in_flight;
pub(crate) mod json;
pub(crate) mod outcome;
pub(crate) mod stamp;
pub(crate) mod wait_graph;
