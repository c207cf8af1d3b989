//! A manifest: immutable text with a NUL at its end, a reference count, and the times of the cache
//! entry that it is.
//!
//! One allocation holds all parts. A `Manifest`, and the `const char *` of a C caller, point to the
//! text; `layout` says where the others are.

mod layout;
mod spares;
mod value;

pub(crate) use layout::Times;
pub(crate) use spares::Spares;
pub(crate) use value::{HostValue, Value, count_removal, removals};

use layout::{Cold, Hot, Parts};

use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::{hash, short_hash};
use std::alloc::{alloc, dealloc, handle_alloc_error};
use std::ffi::{CStr, c_char};
use std::fmt::{self, Debug, Display};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// A plugin's manifest: JSON text that never changes and stays valid as long as there is a
/// reference to it.
///
/// A clone is another reference. It does not copy the text.
pub struct Manifest {
    text: NonNull<u8>,
}

/// How many bytes a plugin's id can have at most.
pub(crate) const LONGEST_ID: usize = u32::MAX as usize;

// SAFETY: the count, the mark and the times are atomic. Everything else is written before the first `Manifest`
// exists, and never again.
unsafe impl Send for Manifest {}
// SAFETY: as above.
unsafe impl Sync for Manifest {}

impl Manifest {
    /// A manifest of the plugin `id` with a new revision. The caller has checked that `text` is a
    /// JSON object.
    pub(crate) fn new(id: &str, text: &str) -> Self {
        static REVISIONS: AtomicU64 = AtomicU64::new(1);
        Self::allocate(id, text, REVISIONS.fetch_add(1, Ordering::Relaxed), None)
    }

    /// Stands for a plugin without a manifest: no text at all, which no manifest has.
    pub(crate) fn none(id: &str, failure: Option<Arc<Error>>) -> Self {
        Self::allocate(id, "", 0, failure)
    }

    /// A text without a NUL that is not a manifest, such as statistics.
    pub(crate) fn report(text: &str) -> Self {
        Self::allocate("", text, 0, None)
    }

    fn allocate(id: &str, text: &str, revision: u64, failure: Option<Arc<Error>>) -> Self {
        debug_assert!(!text.as_bytes().contains(&0));
        let parts = Parts::of(id.len(), text.len());
        let hot = Hot {
            references: AtomicUsize::new(1),
            expires_at: AtomicU64::new(0),
            text_len: text.len(),
            id_len: id.len().try_into().expect("the cache refuses ids longer than LONGEST_ID"),
            id_hash: short_hash(hash(id.as_bytes())),
            value: AtomicPtr::new(null_mut()),
            is_used: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
        };
        let (stored_at, ttl) = (AtomicU64::new(0), AtomicU64::new(0));
        let has_own_ttl = AtomicBool::new(false);
        // SAFETY: the layout is not empty, has room for all parts, and aligns both structures. No
        // other code has a pointer to the memory yet.
        unsafe {
            let Some(start) = NonNull::new(alloc(parts.layout)) else {
                handle_alloc_error(parts.layout)
            };
            let padding = parts.padding(start.addr().get());
            let at = start.add(padding + parts.cold_before);
            let padding = padding as u8; // it is less than a cache line
            let cold = Cold { revision, stored_at, ttl, has_own_ttl, padding, failure };
            at.sub(parts.cold_before).cast::<Cold>().write(cold);
            at.sub(parts.id_before)
                .copy_from_nonoverlapping(NonNull::from(id.as_bytes()).cast(), id.len());
            at.cast::<Hot>().sub(1).write(hot);
            at.copy_from_nonoverlapping(NonNull::from(text.as_bytes()).cast(), text.len());
            at.add(text.len()).write(0);
            Manifest { text: at }
        }
    }

    #[inline]
    fn hot(&self) -> &Hot {
        // SAFETY: this part is right before the text, and the memory is valid as long as this
        // reference is counted.
        unsafe { self.text.cast::<Hot>().sub(1).as_ref() }
    }

    fn cold(&self) -> &Cold {
        let before = Parts::cold_before(self.hot().id_len as usize);
        // SAFETY: `allocate` wrote this part there.
        unsafe { self.text.sub(before).cast::<Cold>().as_ref() }
    }

    /// The id of the plugin that this is the manifest of.
    #[inline]
    pub fn id(&self) -> &str {
        let id_len = self.hot().id_len as usize;
        // SAFETY: `allocate` copied the `id_len` bytes of a `str` to this address.
        unsafe {
            let start = self.text.sub(Parts::id_before(id_len));
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(start.as_ptr(), id_len))
        }
    }

    /// The text, byte for byte as it was loaded.
    pub fn as_str(&self) -> &str {
        // SAFETY: `allocate` copied the `text_len` bytes of a `str` to this address.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.text.as_ptr(), self.hot().text_len);
            std::str::from_utf8_unchecked(bytes)
        }
    }

    /// The text as a C string.
    pub fn as_c_str(&self) -> &CStr {
        // SAFETY: `allocate` wrote a NUL after the text. The text itself has none: the check of a
        // manifest refuses it, and `report` requires that its text has none.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.text.as_ptr(), self.hot().text_len + 1);
            CStr::from_bytes_with_nul_unchecked(bytes)
        }
    }

    /// The number that this manifest got when it was made. It is unique in the process, never used
    /// again, and never 0.
    pub fn revision(&self) -> u64 {
        self.cold().revision
    }

    /// The failure that is remembered in place of a text.
    pub(crate) fn failure(&self) -> Option<&Arc<Error>> {
        self.cold().failure.as_ref()
    }

    pub(crate) fn times(&self) -> Times {
        let (hot, cold) = (self.hot(), self.cold());
        Times {
            stored_at: cold.stored_at.load(Ordering::Relaxed),
            expires_at: hot.expires_at.load(Ordering::Relaxed),
            ttl: cold.ttl.load(Ordering::Relaxed),
            has_own_ttl: cold.has_own_ttl.load(Ordering::Relaxed),
        }
    }

    /// The caller holds the lock of the cache.
    pub(crate) fn set_times(&self, times: Times) {
        let (hot, cold) = (self.hot(), self.cold());
        cold.stored_at.store(times.stored_at, Ordering::Relaxed);
        cold.ttl.store(times.ttl, Ordering::Relaxed);
        cold.has_own_ttl.store(times.has_own_ttl, Ordering::Relaxed);
        hot.expires_at.store(times.expires_at, Ordering::Relaxed);
    }

    /// Whether its time to live is not over. Expired is what is older than its time to live, not
    /// what has just reached it (R2).
    #[inline]
    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now <= self.hot().expires_at.load(Ordering::Relaxed)
    }

    /// Where the text is, which no other manifest has while this one lives.
    pub(crate) fn address(&self) -> usize {
        self.text.addr().get()
    }

    /// Whether both are references to the same manifest.
    pub(crate) fn is(&self, other: &Manifest) -> bool {
        self.text == other.text
    }

    /// The [`short_hash`] of its id.
    #[inline]
    pub(crate) fn id_hash(&self) -> u16 {
        self.hot().id_hash
    }

    /// Marks the manifest as used, for the choice of the entry to evict.
    #[inline]
    pub(crate) fn mark_used(&self) {
        let is_used = &self.hot().is_used;
        // Written only if it is not set, so that threads which use the same manifest do not all
        // write to its cache line.
        if !is_used.load(Ordering::Relaxed) {
            is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Removes the mark; returns whether there was one.
    pub(crate) fn take_mark(&self) -> bool {
        self.hot().is_used.swap(false, Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn references(&self) -> usize {
        self.hot().references.load(Ordering::Relaxed)
    }

    /// Gives this reference to a C caller.
    #[inline]
    pub(crate) fn into_raw(self) -> *const c_char {
        ManuallyDrop::new(self).text.as_ptr().cast()
    }

    /// Takes back a reference from a C caller.
    ///
    /// # Safety
    /// `raw` came from [`Manifest::into_raw`], and its reference is not used again.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<c_char>) -> Self {
        Manifest { text: raw.cast() }
    }

    /// Adds `more` references to the count.
    fn count(&self, more: usize) {
        // Relaxed is enough: this reference keeps the manifest from being freed meanwhile.
        let before = self.hot().references.fetch_add(more, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Subtracts `count` references if others are left; returns whether it did.
    ///
    /// # Safety
    /// The caller owns them, and uses none of them again if this returns true.
    unsafe fn discount_unless_last(text: NonNull<u8>, count: usize) -> bool {
        // SAFETY: the caller's references keep this part valid until they are subtracted.
        let references = unsafe { &text.cast::<Hot>().sub(1).as_ref().references };
        let subtract = |before: usize| (before > count).then(|| before - count);
        // Release, as in `discount`.
        references.fetch_update(Ordering::Release, Ordering::Relaxed, subtract).is_ok()
    }

    /// Subtracts `count` references; frees the manifest if no reference is left.
    ///
    /// # Safety
    /// The caller owns them and uses none of them again.
    unsafe fn discount(text: NonNull<u8>, count: usize) {
        // SAFETY: the caller's references keep this part valid until they are subtracted.
        let hot = unsafe { text.cast::<Hot>().sub(1).as_ref() };
        let parts = Parts::of(hot.id_len as usize, hot.text_len);
        // The thread that frees the memory acquires what the others release here, so that it does
        // not free before their last reads. It acquires by a load and not by a fence, because
        // ThreadSanitizer does not understand fences.
        if hot.references.fetch_sub(count, Ordering::Release) == count {
            hot.references.load(Ordering::Acquire);
            let value = hot.value.load(Ordering::Acquire);
            // SAFETY: no reference is left, and `allocate` allocated this memory with the same
            // layout and wrote this part there.
            unsafe {
                let cold = text.sub(parts.cold_before).cast::<Cold>();
                let start = cold.cast::<u8>().sub(cold.as_ref().padding.into());
                cold.drop_in_place();
                dealloc(start.as_ptr(), parts.layout);
                // Last, as this runs code of the host.
                if !value.is_null() {
                    drop(Box::from_raw(value));
                }
            }
        }
    }
}

// SAFETY: a `Manifest` is a counted reference, as an `Arc` is: the pointer is the address of the
// text, a clone adds to the count and a drop subtracts from it.
unsafe impl arc_swap::RefCnt for Manifest {
    type Base = u8;

    fn into_ptr(me: Self) -> *mut u8 {
        ManuallyDrop::new(me).text.as_ptr()
    }

    fn as_ptr(me: &Self) -> *mut u8 {
        me.text.as_ptr()
    }

    unsafe fn from_ptr(ptr: *const u8) -> Self {
        // SAFETY: arc-swap passes what `into_ptr` returned, which is not null.
        Manifest { text: unsafe { NonNull::new_unchecked(ptr.cast_mut()) } }
    }
}

impl Clone for Manifest {
    fn clone(&self) -> Self {
        self.count(1);
        Manifest { text: self.text }
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        // SAFETY: this value owns its reference and is not used again.
        unsafe { Manifest::discount(self.text, 1) }
    }
}

impl Deref for Manifest {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for Manifest {
    fn as_ref(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("id", &self.id())
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_returns_its_id_and_text_unchanged() {
        for id in ["", "a", "weather", "12345678", "ids-may-be-of-any-length"] {
            for text in
                ["{}", r#"{"name":"Wetter"}"#, &format!("{{\"a\":\"{}\"}}", "ä".repeat(10_000))]
            {
                let manifest = Manifest::new(id, text);
                assert_eq!((manifest.id(), manifest.as_str()), (id, text));
                assert_eq!(manifest.as_c_str().to_bytes(), text.as_bytes());
            }
        }
    }

    #[test]
    fn revisions_are_never_zero_and_never_used_again() {
        let (one, two) = (Manifest::new("a", "{}"), Manifest::new("a", "{}"));
        assert!(one.revision() != 0 && two.revision() > one.revision());
        assert_eq!(Manifest::report("{}").revision(), 0);
    }

    #[test]
    fn a_reference_survives_the_round_trip_through_c() {
        let manifest = Manifest::new("a", "{}");
        let raw = NonNull::new(manifest.clone().into_raw().cast_mut()).unwrap();
        assert_eq!(manifest.references(), 2);
        // SAFETY: `raw` is the reference made above.
        assert_eq!(unsafe { Manifest::from_raw(raw) }.as_str(), "{}");
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn what_a_hit_reads_is_in_one_cache_line_if_the_id_is_not_too_long() {
        for len in 0..=24 {
            let manifest = Manifest::new(&"x".repeat(len), "{}");
            let line = |address: usize| address / layout::LINE;
            let text = manifest.as_str().as_ptr() as usize;
            assert_eq!(text % layout::LINE, 0);
            assert_eq!(line(manifest.id().as_ptr() as usize), line(text - 1));
        }
    }
}
