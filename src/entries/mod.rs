//! Keeps the entries: the store, which threads read without a lock; the ledger, which changes it;
//! the choice of entries to evict; and the magazines, in which each thread keeps references.

mod bucket;
pub(crate) mod entry;
pub(crate) mod eviction;
mod journal;
pub(crate) mod ledger;
pub(crate) mod magazine;
mod stock;
pub(crate) mod store;
mod table;
