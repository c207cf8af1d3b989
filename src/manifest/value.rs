//! A value that a host attaches to a manifest: usually what it decoded from the text.

use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sync::process_wide;
use std::any::Any;
use std::ffi::c_void;

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
