//! The logger of a cache.

use super::boundary::{UserData, cache_of, guarded};
use super::cache::mc_cache;
use crate::logger::Level;
use std::ffi::{CString, c_char, c_void};

/// How important a log message is: one of the MC_LOG_ constants. A logger receives the messages of
/// its level and of all lower numbers.
pub type mc_log_level = i32;

/// No messages.
pub const MC_LOG_OFF: mc_log_level = 0;
/// Loads that failed, also reloads for which an expired manifest was returned.
pub const MC_LOG_ERROR: mc_log_level = 1;
/// Also warnings, such as a wait that timed out.
pub const MC_LOG_WARN: mc_log_level = 2;
/// Also what was cleared.
pub const MC_LOG_INFO: mc_log_level = 3;
/// Also hits, loads, what they cached, and what had expired.
pub const MC_LOG_DEBUG: mc_log_level = 4;

const _: () = assert!(
    MC_LOG_OFF == Level::Off as mc_log_level
        && MC_LOG_ERROR == Level::Error as mc_log_level
        && MC_LOG_WARN == Level::Warn as mc_log_level
        && MC_LOG_INFO == Level::Info as mc_log_level
        && MC_LOG_DEBUG == Level::Debug as mc_log_level
);

/// A function of the host that receives log messages: level is MC_LOG_ERROR to MC_LOG_DEBUG, and
/// message is one line that is valid during the call. See mc_set_logger().
pub type mc_logger = Option<
    unsafe extern "C-unwind" fn(
        level: mc_log_level,
        message: *const c_char,
        user_data: *mut c_void,
    ),
>;

/// Sets the function that receives this cache's log messages up to a level. A NULL logger,
/// MC_LOG_OFF or an unknown level ends logging.
///
/// The logger runs on the thread whose call the message is about, with no lock held. It can run on
/// several threads at the same time. It may call this library; messages about those calls are
/// dropped. It must not be left by an exception or longjmp(). user_data must stay valid as long as
/// the cache, because a thread may still be calling a logger that was replaced.
///
/// Nothing is logged about a load that ends with an exception.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mc_set_logger(
    cache: *mut mc_cache,
    logger: mc_logger,
    user_data: *mut c_void,
    level: mc_log_level,
) {
    // SAFETY: the caller's argument is NULL or valid for this call.
    let Some(cache) = (unsafe { cache_of(cache) }) else { return };
    let user_data = UserData::new(user_data);
    let _ = guarded(|| match (logger, Level::from_number(level)) {
        (Some(logger), Some(level)) => cache.set_logger(level, move |level, message| {
            let message = CString::new(message.replace('\0', "")).unwrap_or_default();
            let (level, user_data) = (level as mc_log_level, user_data.pointer());
            // SAFETY: the host lets its logger be called on any thread, with its user_data, as long
            // as the cache lives.
            unsafe { logger(level, message.as_ptr(), user_data) };
        }),
        _ => cache.unset_logger(),
    });
}
