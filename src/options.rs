//! The options of a cache, which its user may set at any time.

use crate::clock::{Nanos, from_millis};
use crate::error::{Error, Status};
use crate::load::json::Syntax;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes `CacheOption` and its table: a row is an option's meaning, number and default.
macro_rules! options {
    ($($(#[$meaning:meta])* $option:ident = $number:literal, $default:expr;)*) => {
        /// An option, for [`Cache::set`](crate::Cache::set). Times are in milliseconds, and
        /// `u64::MAX` is for ever. An option whose default is 0 is off at first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum CacheOption {
            $($(#[$meaning])* $option = $number,)*
        }

        /// In the order of their numbers, each with its default.
        const ALL: [(CacheOption, u64); CacheOption::COUNT] =
            [$((CacheOption::$option, $default),)*];

        impl CacheOption {
            /// How many there are. Not for users: it grows.
            #[doc(hidden)]
            pub const COUNT: usize = [$($number),*].len();
        }
    };
}

options! {
    /// The time to live of manifests stored from now on; 0 stores nothing. Default 300 000.
    TtlMs = 1, 300_000;
    /// How long after its expiry a manifest is still returned when its reload fails (RFC 5861).
    /// Default 0.
    StaleIfErrorMs = 2, 0;
    /// How long the loader is not called again after such a failure. Default 1 000.
    RetryMs = 3, 1_000;
    /// How long after its expiry a manifest is still returned to others while one caller reloads
    /// it (RFC 5861). Default 0.
    StaleWhileRevalidateMs = 4, 0;
    /// How long "not found" is remembered. Default 0.
    NegativeTtlMs = 5, 0;
    /// How many entries the cache holds at most. Default 0, no bound.
    MaxEntries = 6, 0;
    /// How many bytes the entries of the cache occupy at most. Default 0, no bound.
    MaxBytes = 7, 0;
    /// A manifest of more bytes is invalid, also one that a load finds unchanged. Default 16 MiB;
    /// never 0.
    MaxManifestBytes = 8, 16 * 1024 * 1024;
    /// How long a call waits for another caller's load. Default 30 000; 0 is for ever.
    WaitMs = 9, 30_000;
    /// What manifests are written in, a [`Syntax`] as a number. Default [`Syntax::Json`].
    Syntax = 10, Syntax::Json as u64;
    /// How long a failed load or an invalid manifest is remembered. Default 0.
    FailureTtlMs = 11, 0;
}

impl CacheOption {
    /// The option with this number in the C header.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        ALL.iter().map(|(option, _)| *option).find(|option| *option as i32 == number)
    }
}

/// A time to live.
#[derive(Clone, Copy)]
pub(crate) struct Ttl {
    pub(crate) span: Nanos,
    /// Whether the loader gave it to this manifest.
    pub(crate) is_own: bool,
}

/// How much a cache may hold; `usize::MAX` is no bound.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    #[cfg(test)]
    pub(crate) const NONE: Bounds = Bounds { entries: usize::MAX, bytes: usize::MAX };

    pub(crate) fn are_any(self) -> bool {
        self.entries < usize::MAX || self.bytes < usize::MAX
    }
}

/// What the options of one cache are set to.
pub(crate) struct Options([AtomicU64; CacheOption::COUNT]);

impl Options {
    pub(crate) fn new(ttl_ms: u64) -> Self {
        let options = Options(ALL.map(|(_, default)| AtomicU64::new(default)));
        options.slot(CacheOption::TtlMs).store(ttl_ms, Relaxed);
        options
    }

    /// Sets an option, unless the value is invalid.
    pub(crate) fn set(&self, option: CacheOption, value: u64) -> Result<(), Error> {
        let refused = |what: String| Err(Error::new(Status::InvalidArgument, what));
        match option {
            CacheOption::MaxManifestBytes if value == 0 || value > isize::MAX as u64 => {
                refused(format!(
                    "MC_OPT_MAX_MANIFEST_BYTES cannot be {value}; set a number of bytes from 1"
                ))
            }
            CacheOption::Syntax if value > Syntax::Jsonc as u64 => refused(format!(
                "MC_OPT_SYNTAX cannot be {value}; set MC_SYNTAX_JSON (0) or MC_SYNTAX_JSONC (1)"
            )),
            _ => {
                self.slot(option).store(value, Relaxed);
                Ok(())
            }
        }
    }

    pub(crate) fn get(&self, option: CacheOption) -> u64 {
        self.slot(option).load(Relaxed)
    }

    /// The value of an option that is a time.
    pub(crate) fn time(&self, option: CacheOption) -> Nanos {
        from_millis(self.get(option))
    }

    /// The time to live that a loader gave its manifest, or else that of all.
    pub(crate) fn ttl(&self, own_ms: Option<u64>) -> Ttl {
        match own_ms {
            Some(ms) => Ttl { span: from_millis(ms), is_own: true },
            None => Ttl { span: self.time(CacheOption::TtlMs), is_own: false },
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let bound = |option| match self.get(option) {
            0 => usize::MAX,
            bound => usize::try_from(bound).unwrap_or(usize::MAX),
        };
        Bounds { entries: bound(CacheOption::MaxEntries), bytes: bound(CacheOption::MaxBytes) }
    }

    pub(crate) fn syntax(&self) -> Syntax {
        match self.get(CacheOption::Syntax) {
            0 => Syntax::Json,
            _ => Syntax::Jsonc,
        }
    }

    fn slot(&self, option: CacheOption) -> &AtomicU64 {
        &self.0[option as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_a_place_a_default_and_a_number_of_its_own() {
        let options = Options::new(7);
        assert_eq!(options.get(CacheOption::TtlMs), 7);
        assert_eq!(options.get(CacheOption::RetryMs), 1_000);
        assert_eq!(options.get(CacheOption::MaxManifestBytes), 16 << 20);
        assert_eq!(options.get(CacheOption::WaitMs), 30_000);
        for (at, (option, _)) in ALL.into_iter().enumerate() {
            assert_eq!(option as usize, at + 1);
            assert_eq!(CacheOption::from_number(at as i32 + 1), Some(option));
        }
        let value = |option| if option == CacheOption::Syntax { 1 } else { 100 + option as u64 };
        for (option, _) in ALL {
            options.set(option, value(option)).unwrap();
        }
        assert!(ALL.iter().all(|(option, _)| options.get(*option) == value(*option)));
        let beyond = ALL.len() as i32 + 1;
        assert!(
            CacheOption::from_number(0).is_none() && CacheOption::from_number(beyond).is_none()
        );
    }

    #[test]
    fn an_invalid_value_is_refused_and_changes_nothing() {
        let options = Options::new(7);
        for value in [0, u64::MAX] {
            let error = options.set(CacheOption::MaxManifestBytes, value).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
        }
        assert_eq!(options.get(CacheOption::MaxManifestBytes), 16 << 20);
        options.set(CacheOption::Syntax, Syntax::Jsonc as u64).unwrap();
        for value in [2, u64::MAX] {
            let error = options.set(CacheOption::Syntax, value).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
        }
        assert_eq!(options.syntax(), Syntax::Jsonc);
    }
}
