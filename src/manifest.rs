//! A manifest: immutable text that ends in a NUL, shared by counting references, known by the
//! address of its text.
//!
//! One allocation holds everything, so that a C caller's `const char *` is enough to find the rest:
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

/// A plugin's manifest: JSON text that never changes and lives as long as anyone holds it.
///
/// Cloning counts a reference and copies nothing.
pub struct Manifest {
    text: NonNull<u8>,
}

/// How many bytes a plugin's id can have.
pub(crate) const LONGEST_ID: usize = u32::MAX as usize;

struct Header {
    references: AtomicUsize,
    revision: u64,
    text_len: usize,
    id_len: u32,
    id_hash: u16,
    is_used: AtomicBool,
}

// SAFETY: all but the count is written before the first `Manifest` exists and never again, and the
// count is atomic.
unsafe impl Send for Manifest {}
// SAFETY: as above.
unsafe impl Sync for Manifest {}

impl Manifest {
    /// A manifest of the plugin `id` with a revision of its own. `text` has been checked: it is a
    /// JSON object.
    pub(crate) fn new(id: &str, text: &str) -> Self {
        static REVISIONS: AtomicU64 = AtomicU64::new(1);
        Self::allocate(id, text, REVISIONS.fetch_add(1, Ordering::Relaxed))
    }

    /// Stands for a plugin without a manifest: no text at all, which no manifest has.
    pub(crate) fn none(id: &str) -> Self {
        Self::allocate(id, "", 0)
    }

    /// A text that belongs to no plugin, such as statistics. It has no NUL in it.
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
        // SAFETY: the layout is not empty, has room for the four parts one after the other, and
        // puts the header where it is aligned; nobody else knows the memory yet.
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
        // SAFETY: the header stands right before the text and lives as long as this reference is
        // counted.
        unsafe { self.text.cast::<Header>().sub(1).as_ref() }
    }

    /// The plugin this is the manifest of.
    #[inline]
    pub fn id(&self) -> &str {
        let id_len = self.header().id_len as usize;
        // SAFETY: `allocate` copied `id_len` bytes of a `str` to the start of the allocation.
        unsafe {
            let start = self.text.sub(text_offset(id_len));
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(start.as_ptr(), id_len))
        }
    }

    /// The text, byte for byte as it was loaded.
    pub fn as_str(&self) -> &str {
        // SAFETY: `allocate` copied `text_len` bytes of a `str` to this place.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.text.as_ptr(), self.header().text_len);
            std::str::from_utf8_unchecked(bytes)
        }
    }

    /// The text as a C string.
    pub fn as_c_str(&self) -> &CStr {
        // SAFETY: a NUL follows the text and none is in it, since JSON allows no control
        // characters.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.text.as_ptr(), self.header().text_len + 1);
            CStr::from_bytes_with_nul_unchecked(bytes)
        }
    }

    /// The number this manifest was given when it was made: unique in the process, never used
    /// again, never 0.
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

    /// Marks it as used since the mark was last taken, for the choice of what to evict.
    #[inline]
    pub(crate) fn mark_used(&self) {
        let is_used = &self.header().is_used;
        // Written once only, so that threads that share a manifest do not write its cache line.
        if !is_used.load(Ordering::Relaxed) {
            is_used.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn take_mark(&self) -> bool {
        self.header().is_used.swap(false, Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn references(&self) -> usize {
        self.header().references.load(Ordering::Relaxed)
    }

    /// Hands this reference over to C.
    #[inline]
    pub(crate) fn into_raw(self) -> *const c_char {
        ManuallyDrop::new(self).text.as_ptr().cast()
    }

    /// Takes a reference back from C.
    ///
    /// # Safety
    /// `raw` came from [`Manifest::into_raw`], and its reference is not used again.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<c_char>) -> Self {
        Manifest { text: raw.cast() }
    }

    fn count(&self, more: usize) {
        // Relaxed: whoever adds holds a reference already, so the manifest cannot go meanwhile.
        let before = self.header().references.fetch_add(more, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Gives up `count` references.
    ///
    /// # Safety
    /// The caller owns them and uses none of them again.
    unsafe fn discount(text: NonNull<u8>, count: usize) {
        // SAFETY: the caller's references keep the header alive until they are subtracted.
        let header = unsafe { text.cast::<Header>().sub(1).as_ref() };
        let (text_len, id_len) = (header.text_len, header.id_len as usize);
        // Release what was read through these references; the one that frees acquires what all
        // others read. By a load, since ThreadSanitizer does not follow a fence.
        if header.references.fetch_sub(count, Ordering::Release) == count {
            header.references.load(Ordering::Acquire);
            let (layout, text_at) = layout(id_len, text_len);
            // SAFETY: no reference is left, and `allocate` got this memory with this very layout.
            unsafe { dealloc(text.sub(text_at).as_ptr(), layout) };
        }
    }
}

/// The hash of a plugin's id, the same for all caches of the process and another one in the next,
/// so that nobody can choose ids that collide.
#[inline]
pub(crate) fn hash(id: &[u8]) -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let seed = match SEED.load(Ordering::Relaxed) {
        0 => choose_once(&SEED),
        seed => seed,
    };
    FixedState::with_seed(seed).hash_one(id)
}

/// Not a `LazyLock`: a child forked while another thread initializes one waits for ever.
#[cold]
fn choose_once(seed: &AtomicU64) -> u64 {
    let random = std::collections::hash_map::RandomState::new().hash_one(0) | 1;
    seed.compare_exchange(0, random, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(random)
}

/// As much of a hash as a manifest remembers.
#[inline]
pub(crate) fn short_hash(hash: u64) -> u16 {
    (hash >> 32) as u16
}

/// How far behind the start of the allocation the text begins.
#[inline]
fn text_offset(id_len: usize) -> usize {
    id_len.next_multiple_of(align_of::<Header>()) + size_of::<Header>()
}

fn layout(id_len: usize, text_len: usize) -> (Layout, usize) {
    let text_at = text_offset(id_len);
    let layout = Layout::from_size_align(text_at + text_len + 1, align_of::<Header>());
    (layout.expect("what came from slices fits in memory once more"), text_at)
}

impl Clone for Manifest {
    fn clone(&self) -> Self {
        self.count(1);
        Manifest { text: self.text }
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        // SAFETY: this reference is ours and ends here.
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

/// References to one manifest, counted ahead in one step to be handed out and taken back without
/// touching its count. The last one is never handed out: while it is here the manifest lives, so
/// that no other can have its address.
pub(crate) struct Spares {
    text: NonNull<u8>,
    count: usize,
}

// SAFETY: spares are references not yet handed out, and those may be sent.
unsafe impl Send for Spares {}

impl Spares {
    /// Spares of no manifest.
    pub(crate) const NONE: Spares = Spares { text: NonNull::dangling(), count: 0 };

    pub(crate) fn new(manifest: &Manifest, count: usize) -> Self {
        manifest.count(count);
        Spares { text: manifest.text, count }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether there are any of a manifest of the plugin `id`, which then counts as used.
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

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Manifest> {
        if self.count <= 1 {
            return None;
        }
        self.count -= 1;
        Some(Manifest { text: self.text })
    }

    /// Takes a reference back, if it is of the same manifest.
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
            // SAFETY: these references were counted for us and have not been handed out.
            unsafe { Manifest::discount(self.text, self.count) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gives_back_what_went_in() {
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
    fn revisions_are_never_zero_and_never_the_same() {
        let (one, two) = (Manifest::new("a", "{}"), Manifest::new("a", "{}"));
        assert!(one.revision() != 0 && two.revision() > one.revision());
        assert_eq!(Manifest::report("{}").revision(), 0);
    }

    #[test]
    fn a_reference_survives_the_way_through_c() {
        let manifest = Manifest::new("a", "{}");
        let raw = NonNull::new(manifest.clone().into_raw().cast_mut()).unwrap();
        assert_eq!(manifest.references(), 2);
        // SAFETY: `raw` is the reference made above.
        assert_eq!(unsafe { Manifest::from_raw(raw) }.as_str(), "{}");
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn spares_are_counted_ahead_and_given_back() {
        let manifest = Manifest::new("a", "{}");
        let mut spares = Spares::new(&manifest, 3);
        assert_eq!(manifest.references(), 4);
        let (one, two) = (spares.take().unwrap(), spares.take().unwrap());
        assert!(spares.take().is_none(), "the last one is not handed out");
        spares.put(one).unwrap();
        assert_eq!((spares.count(), manifest.references()), (2, 4));
        drop((spares, two));
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn spares_of_one_manifest_take_no_other() {
        let (one, two) = (Manifest::new("a", "{}"), Manifest::new("a", "{}"));
        let mut spares = Spares::new(&one, 1);
        assert!(spares.use_for(b"a") && !spares.use_for(b"b") && !Spares::NONE.use_for(b""));
        drop(spares.put(two.clone()).unwrap_err());
        assert_eq!((one.references(), two.references()), (2, 1));
    }
}
