//! A manifest: immutable text with a NUL at its end and a reference count.
//!
//! One allocation holds all parts. A `Manifest`, and the `const char *` of a C caller, point to the
//! text; the header is right before it:
//!
//! ```text
//! ┌ id of the plugin ┬ Header ┬ text ┬ NUL ┐
//!                             ▲ Manifest
//! ```

use foldhash::fast::FixedState;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::{CStr, c_char};
use std::fmt::{self, Debug, Display};
use std::hash::BuildHasher;
use std::mem::{ManuallyDrop, size_of};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A plugin's manifest: JSON text that never changes and stays valid as long as there is a
/// reference to it.
///
/// A clone is another reference. It does not copy the text.
pub struct Manifest {
    text: NonNull<u8>,
}

/// How many bytes a plugin's id can have at most.
pub(crate) const LONGEST_ID: usize = u32::MAX as usize;

struct Header {
    references: AtomicUsize,
    revision: u64,
    text_len: usize,
    id_len: u32,
    id_hash: u16,
    is_used: AtomicBool,
}

// SAFETY: the count and the mark are atomic. Everything else is written before the first `Manifest`
// exists, and never again.
unsafe impl Send for Manifest {}
// SAFETY: as above.
unsafe impl Sync for Manifest {}

impl Manifest {
    /// A manifest of the plugin `id` with a new revision. The caller has checked that `text` is a
    /// JSON object.
    pub(crate) fn new(id: &str, text: &str) -> Self {
        static REVISIONS: AtomicU64 = AtomicU64::new(1);
        Self::allocate(id, text, REVISIONS.fetch_add(1, Ordering::Relaxed))
    }

    /// Stands for a plugin without a manifest: no text at all, which no manifest has.
    pub(crate) fn none(id: &str) -> Self {
        Self::allocate(id, "", 0)
    }

    /// A text without a NUL that is not a manifest, such as statistics.
    pub(crate) fn report(text: &str) -> Self {
        Self::allocate("", text, 0)
    }

    fn allocate(id: &str, text: &str, revision: u64) -> Self {
        debug_assert!(!text.as_bytes().contains(&0));
        let (layout, text_at) = layout(id.len(), text.len());
        let header = Header {
            references: AtomicUsize::new(1),
            revision,
            text_len: text.len(),
            id_len: id.len().try_into().expect("the cache refuses ids longer than LONGEST_ID"),
            id_hash: short_hash(hash(id.as_bytes())),
            is_used: AtomicBool::new(false),
        };
        // SAFETY: the layout is not empty, has room for the four parts, and aligns the header. No
        // other code has a pointer to the memory yet.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let at = start.add(text_at);
            at.cast::<Header>().sub(1).write(header);
            start.copy_from_nonoverlapping(NonNull::from(id.as_bytes()).cast(), id.len());
            at.copy_from_nonoverlapping(NonNull::from(text.as_bytes()).cast(), text.len());
            at.add(text.len()).write(0);
            Manifest { text: at }
        }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the header is right before the text, and the memory is valid as long as this
        // reference is counted.
        unsafe { self.text.cast::<Header>().sub(1).as_ref() }
    }

    /// The id of the plugin that this is the manifest of.
    #[inline]
    pub fn id(&self) -> &str {
        let id_len = self.header().id_len as usize;
        // SAFETY: `allocate` copied the `id_len` bytes of a `str` to the start of the allocation.
        unsafe {
            let start = self.text.sub(text_offset(id_len));
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(start.as_ptr(), id_len))
        }
    }

    /// The text, byte for byte as it was loaded.
    pub fn as_str(&self) -> &str {
        // SAFETY: `allocate` copied the `text_len` bytes of a `str` to this address.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.text.as_ptr(), self.header().text_len);
            std::str::from_utf8_unchecked(bytes)
        }
    }

    /// The text as a C string.
    pub fn as_c_str(&self) -> &CStr {
        // SAFETY: `allocate` wrote a NUL after the text. The text itself has none: the check of a
        // manifest refuses it, and `report` requires that its text has none.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.text.as_ptr(), self.header().text_len + 1);
            CStr::from_bytes_with_nul_unchecked(bytes)
        }
    }

    /// The number that this manifest got when it was made. It is unique in the process, never used
    /// again, and never 0.
    pub fn revision(&self) -> u64 {
        self.header().revision
    }

    /// Whether both are references to the same manifest.
    pub(crate) fn is(&self, other: &Manifest) -> bool {
        self.text == other.text
    }

    /// The [`short_hash`] of its id.
    #[inline]
    pub(crate) fn id_hash(&self) -> u16 {
        self.header().id_hash
    }

    /// Marks the manifest as used, for the choice of the entry to evict.
    #[inline]
    pub(crate) fn mark_used(&self) {
        let is_used = &self.header().is_used;
        // Written only if it is not set, so that threads which use the same manifest do not all
        // write to its cache line.
        if !is_used.load(Ordering::Relaxed) {
            is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Removes the mark; returns whether there was one.
    pub(crate) fn take_mark(&self) -> bool {
        self.header().is_used.swap(false, Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn references(&self) -> usize {
        self.header().references.load(Ordering::Relaxed)
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
        let before = self.header().references.fetch_add(more, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Subtracts `count` references; frees the manifest if no reference is left.
    ///
    /// # Safety
    /// The caller owns them and uses none of them again.
    unsafe fn discount(text: NonNull<u8>, count: usize) {
        // SAFETY: the caller's references keep the header valid until they are subtracted.
        let header = unsafe { text.cast::<Header>().sub(1).as_ref() };
        let (text_len, id_len) = (header.text_len, header.id_len as usize);
        // The thread that frees the memory acquires what the others release here, so that it does
        // not free before their last reads. It acquires by a load and not by a fence, because
        // ThreadSanitizer does not understand fences.
        if header.references.fetch_sub(count, Ordering::Release) == count {
            header.references.load(Ordering::Acquire);
            let (layout, text_at) = layout(id_len, text_len);
            // SAFETY: no reference is left, and `allocate` allocated this memory with the same
            // layout.
            unsafe { dealloc(text.sub(text_at).as_ptr(), layout) };
        }
    }
}

/// The hash of a plugin's id. It is the same for all caches of the process. Each process has its
/// own random seed, so that an attacker cannot choose ids that collide.
#[inline]
pub(crate) fn hash(id: &[u8]) -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let seed = match SEED.load(Ordering::Relaxed) {
        0 => choose_once(&SEED),
        seed => seed,
    };
    FixedState::with_seed(seed).hash_one(id)
}

/// Sets the seed if it is 0; returns it. This is not a `LazyLock`: if a fork happens while another
/// thread initializes a `LazyLock`, the child waits for it for ever.
#[cold]
fn choose_once(seed: &AtomicU64) -> u64 {
    let random = std::collections::hash_map::RandomState::new().hash_one(0) | 1;
    seed.compare_exchange(0, random, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(random)
}

/// The part of a hash that a manifest stores.
#[inline]
pub(crate) fn short_hash(hash: u64) -> u16 {
    (hash >> 32) as u16
}

/// The offset of the text from the start of the allocation.
#[inline]
fn text_offset(id_len: usize) -> usize {
    id_len.next_multiple_of(align_of::<Header>()) + size_of::<Header>()
}

/// The layout of the allocation and the offset of the text in it.
fn layout(id_len: usize, text_len: usize) -> (Layout, usize) {
    let text_at = text_offset(id_len);
    let layout = Layout::from_size_align(text_at + text_len + 1, align_of::<Header>());
    (layout.expect("an id and a text that are in memory are not too long for a layout"), text_at)
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

/// References to one manifest that were added to its count in advance, in one step. They can be
/// taken and returned without changing the count. The last one is never given away: it keeps the
/// manifest in memory, so that no other manifest can get the same address.
pub(crate) struct Spares {
    text: NonNull<u8>,
    count: usize,
}

// SAFETY: spares are references to a manifest, and those may be sent to another thread.
unsafe impl Send for Spares {}

impl Spares {
    /// No spares, of no manifest.
    pub(crate) const NONE: Spares = Spares { text: NonNull::dangling(), count: 0 };

    pub(crate) fn new(manifest: &Manifest, count: usize) -> Self {
        manifest.count(count);
        Spares { text: manifest.text, count }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether these are references to a manifest of the plugin `id`. If so, marks it as used.
    #[inline]
    pub(crate) fn use_for(&self, id: &[u8]) -> bool {
        if self.count == 0 {
            return false;
        }
        let manifest = ManuallyDrop::new(Manifest { text: self.text });
        let is_same = manifest.id().as_bytes() == id;
        if is_same {
            manifest.mark_used();
        }
        is_same
    }

    /// A reference; none if only the last one is left.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Manifest> {
        if self.count <= 1 {
            return None;
        }
        self.count -= 1;
        Some(Manifest { text: self.text })
    }

    /// Adds a reference to the spares. Returns it if it is to another manifest.
    #[inline]
    pub(crate) fn put(&mut self, manifest: Manifest) -> Result<(), Manifest> {
        if self.text != manifest.text {
            return Err(manifest);
        }
        self.count += 1;
        std::mem::forget(manifest);
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if self.count > 0 {
            // SAFETY: these references belong to this value and were not given away.
            unsafe { Manifest::discount(self.text, self.count) }
        }
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
    fn spares_are_taken_and_returned_without_changing_the_count() {
        let manifest = Manifest::new("a", "{}");
        let mut spares = Spares::new(&manifest, 3);
        assert_eq!(manifest.references(), 4);
        let (one, two) = (spares.take().unwrap(), spares.take().unwrap());
        assert!(spares.take().is_none(), "the last one is not given away");
        spares.put(one).unwrap();
        assert_eq!((spares.count(), manifest.references()), (2, 4));
        drop((spares, two));
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn spares_of_one_manifest_accept_no_reference_to_another() {
        let (one, two) = (Manifest::new("a", "{}"), Manifest::new("a", "{}"));
        let mut spares = Spares::new(&one, 1);
        assert!(spares.use_for(b"a") && !spares.use_for(b"b") && !Spares::NONE.use_for(b""));
        drop(spares.put(two.clone()).unwrap_err());
        assert_eq!((one.references(), two.references()), (2, 1));
    }
}
