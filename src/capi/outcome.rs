//! A ready-made `mc_done`, for hosts whose code must not run on the thread that ends a load.

use super::error::{mc_error, mc_status};
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicI32, Ordering::Release};

/// Where mc_outcome_done() puts the outcome of an asynchronous wait. The host provides it as the
/// user_data of mc_begin_async(), sets wake, wake_data and error.status first, and keeps it until
/// it has been told.
#[repr(C)]
pub struct mc_outcome {
    /// The manifest, which the host then owns and frees with mc_string_free(), or NULL.
    pub manifest: *const c_char,
    /// Called last, when the outcome is complete, as mc_done would be; for instance it unlocks what
    /// the host waits for. It may be NULL.
    pub wake: Option<unsafe extern "C-unwind" fn(wake_data: *mut c_void)>,
    /// The argument of wake.
    pub wake_data: *mut c_void,
    /// As mc_done gets it. The status is written after all else and with release order, so a host
    /// that sets it to -1 before can also poll it.
    pub error: mc_error,
}

/// An mc_done that runs no code of the host except wake: it copies the outcome to the mc_outcome
/// that user_data points to. It is for languages that should run little or nothing on the thread
/// that ends another caller's load, because an exception could arise there or because the thread is
/// not theirs. Pass it to mc_begin_async(); do not call it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_outcome_done(
    manifest: *const c_char,
    error: *const mc_error,
    outcome: *mut c_void,
) {
    let outcome = outcome.cast::<mc_outcome>();
    // SAFETY: `mc_begin_async` calls this, with an error that is valid now and the host's outcome,
    // which stays valid until it is told. Whoever is told may free it, so `wake` is read before.
    unsafe {
        let (wake, wake_data) = ((*outcome).wake, (*outcome).wake_data);
        let status: mc_status = (*error).status;
        (&raw mut (*outcome).manifest).write(manifest);
        let copy = &raw mut (*outcome).error;
        (&raw mut (*copy).code).write((*error).code);
        (&raw mut (*copy).line).write((*error).line);
        (&raw mut (*copy).column).write((*error).column);
        (&raw mut (*copy).message).copy_from_nonoverlapping(&raw const (*error).message, 1);
        AtomicI32::from_ptr(&raw mut (*copy).status).store(status, Release);
        if let Some(wake) = wake {
            wake(wake_data);
        }
    }
}
