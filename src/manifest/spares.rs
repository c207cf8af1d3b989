//! Spare references to a manifest.

use super::Manifest;
use crate::clock::Nanos;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// References to one manifest that were added to its count in advance, in one step. They can be
/// taken and returned without changing the count. The last one is never given away: it keeps the
/// manifest in memory, so that no other manifest can get the same address.
pub(crate) struct Spares {
    text: NonNull<u8>,
    count: u32,
}

// SAFETY: spares are references to a manifest, and those may be sent to another thread.
unsafe impl Send for Spares {}

impl Spares {
    /// No spares, of no manifest.
    pub(crate) const NONE: Spares = Spares { text: NonNull::dangling(), count: 0 };

    pub(crate) fn new(manifest: &Manifest, count: u32) -> Self {
        manifest.count(count as usize);
        Spares { text: manifest.text, count }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether these are references to this manifest.
    #[inline]
    pub(crate) fn is_of(&self, manifest: &Manifest) -> bool {
        self.text == manifest.text
    }

    /// Whether the manifest was removed from its store and has a value.
    pub(crate) fn is_removed_with_value(&self) -> bool {
        self.count > 0 && ManuallyDrop::new(Manifest { text: self.text }).is_removed_with_value()
    }

    /// Drops them, unless they are the last references: that can run code of the host, as it ends a
    /// value.
    pub(crate) fn drop_unless_last(self) -> Option<Spares> {
        if self.count == 0 {
            return None;
        }
        let spares = ManuallyDrop::new(self);
        // SAFETY: these references belong to this value, which is not used again if they are
        // subtracted.
        let is_dropped =
            unsafe { Manifest::discount_unless_last(spares.text, spares.count as usize) };
        (!is_dropped).then(|| ManuallyDrop::into_inner(spares))
    }

    /// The length of the manifest's text; 0 if there are no spares.
    pub(crate) fn len(&self) -> usize {
        if self.count == 0 {
            return 0;
        }
        ManuallyDrop::new(Manifest { text: self.text }).len()
    }

    /// A reference, if these are references to a fresh manifest of the plugin `id` and not only the
    /// last one is left. Marks the manifest as used.
    #[inline]
    pub(crate) fn take_for(&mut self, id: &[u8], now: Nanos) -> Option<Manifest> {
        if self.count <= 1 {
            return None;
        }
        let manifest = ManuallyDrop::new(Manifest { text: self.text });
        if manifest.id().as_bytes() != id || !manifest.is_fresh(now) {
            return None;
        }
        manifest.mark_used();
        self.count -= 1;
        Some(ManuallyDrop::into_inner(manifest))
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
            unsafe { Manifest::discount(self.text, self.count as usize) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_taken_and_returned_without_changing_the_count() {
        let manifest = Manifest::new("a", "{}");
        let mut spares = Spares::new(&manifest, 3);
        assert_eq!(manifest.references(), 4);
        let [one, two] = [(); 2].map(|()| spares.take_for(b"a", 0).unwrap());
        assert!(spares.take_for(b"a", 0).is_none(), "the last one is not given away");
        spares.put(one).unwrap();
        assert_eq!((spares.count(), manifest.references()), (2, 4));
        drop((spares, two));
        assert_eq!(manifest.references(), 1);
    }

    #[test]
    fn spares_of_one_manifest_accept_no_reference_to_another() {
        let (one, two) = (Manifest::new("a", "{}"), Manifest::new("a", "{}"));
        let (mut spares, mut none) = (Spares::new(&one, 2), Spares::NONE);
        assert!(spares.take_for(b"b", 0).is_none() && none.take_for(b"", 0).is_none());
        assert!(spares.take_for(b"a", 1).is_none(), "expired");
        assert!(spares.take_for(b"a", 0).is_some());
        assert!(spares.take_for(b"a", 0).is_none(), "the last one is not given away");
        drop(spares.put(two.clone()).unwrap_err());
        assert_eq!((one.references(), two.references()), (2, 1));
    }

    #[test]
    fn spares_are_dropped_unless_they_are_the_last_references() {
        let manifest = Manifest::new("a", "{}");
        assert!(Spares::new(&manifest, 2).drop_unless_last().is_none());
        assert_eq!(manifest.references(), 1);
        let spares = Spares::new(&manifest, 2);
        drop(manifest);
        assert_eq!(spares.drop_unless_last().map(|last| last.count()), Some(2));
        assert!(Spares::NONE.drop_unless_last().is_none());
    }
}
