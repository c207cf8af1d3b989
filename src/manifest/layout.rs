//! The parts of a manifest's allocation, and where they are.
//!
//! What a hit reads is right before the text, in one cache line if the id is not longer than 24
//! bytes:
//!
//! ```text
//!        64 bytes                       64 bytes
//! ┌ padding ┬ Cold ┬ id of the plugin ┬ Hot ┬ text ┬ NUL ┐
//!                                           ▲ Manifest
//! ```

use super::value::Value;
use crate::clock::Nanos;
use crate::error::Error;
use std::alloc::Layout;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

/// What a hit reads and writes.
#[repr(C)]
pub(super) struct Hot {
    pub(super) references: AtomicUsize,
    pub(super) expires_at: AtomicU64,
    pub(super) text_len: usize,
    /// What is attached: from `Box::into_raw`, or null. Once it is set it does not change.
    pub(super) value: AtomicPtr<Value>,
    pub(super) id_len: u32,
    pub(super) id_hash: u16,
    pub(super) is_used: AtomicBool,
    /// Whether it was in a store and is no more.
    pub(super) is_removed: AtomicBool,
}

/// The rest.
#[repr(C)]
pub(super) struct Cold {
    pub(super) revision: u64,
    pub(super) stored_at: AtomicU64,
    pub(super) ttl: AtomicU64,
    pub(super) has_own_ttl: AtomicBool,
    /// The failure that is remembered in place of a text.
    pub(super) failure: Option<Arc<Error>>,
}

/// When a manifest was stored and when it expires. They are set under the cache's lock when the
/// manifest is stored or renewed, and mean nothing for one that was never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) stored_at: Nanos,
    pub(crate) expires_at: Nanos,
    pub(crate) ttl: Nanos,
    /// Whether its loader gave it a time to live of its own.
    pub(crate) has_own_ttl: bool,
}

/// The alignment of a manifest: a cache line.
pub(super) const LINE: usize = 64;

/// Where the parts of an allocation are.
pub(super) struct Parts {
    pub(super) layout: Layout,
    /// From the start to the text.
    pub(super) text_at: usize,
    /// From these parts to the text.
    pub(super) cold_before: usize,
    pub(super) id_before: usize,
}

impl Parts {
    pub(super) fn of(id_len: usize, text_len: usize) -> Self {
        let (cold_before, id_before) = (Self::cold_before(id_len), Self::id_before(id_len));
        let text_at = cold_before.next_multiple_of(LINE);
        let layout = Layout::from_size_align(text_at + text_len + 1, LINE);
        let layout = layout.expect("texts that are in memory are not too long for a layout");
        Parts { layout, text_at, cold_before, id_before }
    }

    #[inline]
    pub(super) fn id_before(id_len: usize) -> usize {
        id_len + size_of::<Hot>()
    }

    pub(super) fn cold_before(id_len: usize) -> usize {
        Self::id_before(id_len).next_multiple_of(align_of::<Cold>()) + size_of::<Cold>()
    }
}
