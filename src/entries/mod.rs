//! What keeps entries: the store that readers see, the ledger that changes it, the order of eviction,
//! and the references that each thread keeps.

pub(crate) mod eviction;
pub(crate) mod ledger;
pub(crate) mod magazine;
pub(crate) mod store;
