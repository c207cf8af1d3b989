//! A value that a host attaches to a manifest: usually what it decoded from the text.

use super::Manifest;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sync::process_wide;
use std::any::Any;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

/// A value of a user of the Rust crate, or of a host behind the C interface.
pub(crate) enum Value {
    Rust(Box<dyn Any + Send + Sync>),
    Host(HostValue),
}

/// A value that only its host knows, with the function that destroys it.
pub(crate) struct HostValue {
    /// An address that stands for the type, so that no value is taken for one of another type.
    pub(crate) kind: *const c_void,
    pub(crate) value: *mut c_void,
    pub(crate) destroy: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
}

// SAFETY: the library only passes the pointers on. The header says that the host lets its value be
// used and destroyed on any thread.
unsafe impl Send for HostValue {}
// SAFETY: as above.
unsafe impl Sync for HostValue {}

impl Drop for HostValue {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the host gave the value together with this function, which is called once.
            unsafe { destroy(self.value) };
        }
    }
}

process_wide! { static REMOVALS: AtomicU64 = AtomicU64::new(0) }

/// How often manifests with values were removed from any store. When this has changed, threads let
/// go of such manifests too.
#[inline]
pub(crate) fn removals() -> u64 {
    REMOVALS.load(Acquire)
}

/// Notes that such manifests were removed.
pub(crate) fn count_removal() {
    REMOVALS.fetch_add(1, Release);
}

impl Manifest {
    /// The value that is attached, if it is of this type.
    pub fn value<T: Any>(&self) -> Option<&T> {
        match self.attached()? {
            Value::Rust(value) => value.downcast_ref(),
            Value::Host(_) => None,
        }
    }

    /// Attaches a value, usually what was decoded from the text, unless there is one already: the
    /// first one stays. Returns the value that is attached now.
    ///
    /// It is dropped after the last reference to the manifest, on the thread that drops that.
    ///
    /// # Errors
    /// The value itself, if one of another type is attached.
    pub fn attach<T: Any + Send + Sync>(&self, value: T) -> Result<&T, T> {
        let rejected = self.attach_value(Value::Rust(Box::new(value))).err();
        match (self.value(), rejected) {
            (Some(attached), _) => Ok(attached),
            (None, Some(Value::Rust(value))) => match value.downcast() {
                Ok(value) => Err(*value),
                Err(_) => unreachable!("it was made of a T"),
            },
            (None, _) => unreachable!("a value that was not rejected is attached"),
        }
    }

    #[inline]
    pub(crate) fn attached(&self) -> Option<&Value> {
        // SAFETY: a value that was attached stays as long as the manifest. Acquire: what the
        // attaching thread wrote is seen.
        unsafe { self.hot().value.load(Ordering::Acquire).as_ref() }
    }

    /// Attaches a value, or returns it if there is one already.
    pub(crate) fn attach_value(&self, value: Value) -> Result<(), Value> {
        let value = Box::into_raw(Box::new(value));
        // SeqCst, as in `set_removed` and `has_value`: whichever of a removal and this comes second
        // sees the other, and counts.
        let (hot, order) = (self.hot(), Ordering::SeqCst);
        match hot.value.compare_exchange(null_mut(), value, order, Ordering::Acquire) {
            Ok(_) if hot.is_removed.load(order) => {
                count_removal();
                Ok(())
            }
            Ok(_) => Ok(()),
            // SAFETY: it is the box made above, which nobody else has seen.
            Err(_) => Err(*unsafe { Box::from_raw(value) }),
        }
    }

    /// Notes that it was removed from its store, or put there.
    pub(crate) fn set_removed(&self, is_removed: bool) {
        self.hot().is_removed.store(is_removed, Ordering::SeqCst);
    }

    /// Whether a value is attached, for a manifest that was removed.
    pub(crate) fn has_value(&self) -> bool {
        !self.hot().value.load(Ordering::SeqCst).is_null()
    }

    /// Whether it was removed from its store and has a value, which threads are not to keep.
    pub(crate) fn is_removed_with_value(&self) -> bool {
        self.hot().is_removed.load(Ordering::Acquire) && self.attached().is_some()
    }
}
