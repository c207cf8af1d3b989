//! Loads manifests: the loader's answers, files, the check of JSON, the loads in progress, and
//! which load waits for which.

pub(crate) mod answer;
mod directory;
mod file;
mod file_system;
pub(crate) mod in_flight;
pub(crate) mod json;
pub(crate) mod outcome;
pub(crate) mod stamp;
pub(crate) mod table;
pub(crate) mod wait_graph;
pub(crate) mod within;
