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
    /// How many bytes of padding are before this part.
    pub(super) padding: u8,
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

/// The alignment of the text: a cache line.
pub(super) const LINE: usize = 64;

/// The alignment that is asked of the allocator. It is less than a cache line, as allocators are
/// slow to give more than this.
const ALIGN: usize = 16;

/// Where the parts of an allocation are.
pub(super) struct Parts {
    /// With room for all parts and as much padding as is needed to align the text.
    pub(super) layout: Layout,
    /// From these parts to the text.
    pub(super) cold_before: usize,
    pub(super) id_before: usize,
}

impl Parts {
    pub(super) fn of(id_len: usize, text_len: usize) -> Self {
        let (cold_before, id_before) = (Self::cold_before(id_len), Self::id_before(id_len));
        let most_padding = LINE - 1;
        let layout = Layout::from_size_align(most_padding + cold_before + text_len + 1, ALIGN);
        let layout = layout.expect("texts that are in memory are not too long for a layout");
        Parts { layout, cold_before, id_before }
    }

    /// How much padding an allocation that starts at this address has.
    pub(super) fn padding(&self, start: usize) -> usize {
        let text = start + self.cold_before;
        text.next_multiple_of(LINE) - text
    }

    #[inline]
    pub(super) fn id_before(id_len: usize) -> usize {
        id_len + size_of::<Hot>()
    }

    pub(super) fn cold_before(id_len: usize) -> usize {
        Self::id_before(id_len).next_multiple_of(align_of::<Cold>()) + size_of::<Cold>()
    }
}
