//! Errors, and how their messages show text from outside.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

/// The kind of an [`Error`]; its numbers are those of `mc_status` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Status {
    /// There is no such plugin.
    NotFound = 1,
    /// An argument of the call is invalid.
    InvalidArgument = 2,
    /// The manifest is not a JSON object in UTF-8, in the cache's syntax, or is too large.
    InvalidManifest = 3,
    /// The loader failed, gave no answer or panicked, its load was dropped, or the cache was
    /// closed.
    LoadFailed = 4,
    /// The load would have waited for itself.
    LoadCycle = 5,
    /// Another caller's load did not end within the time limit.
    Timeout = 6,
    /// A bug in this library.
    Internal = 7,
    /// The call returned an expired manifest, because its reload failed.
    Stale = 8,
}

/// Why a call failed: a status, the place in the manifest if there is one, and a message that says
/// what to do.
///
/// A clone is cheap: it shares the message.
#[derive(Clone, Debug)]
pub struct Error {
    status: Status,
    code: i32,
    line: u32,
    column: u32,
    message: Arc<str>,
}

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<Arc<str>>) -> Self {
        Error { status, code: 0, line: 0, column: 0, message: message.into() }
    }

    pub(crate) fn with_code(self, code: i32) -> Self {
        Error { code, ..self }
    }

    pub(crate) fn at(self, line: u32, column: u32) -> Self {
        Error { line, column, ..self }
    }

    /// The same error for a caller that gets the expired manifest instead.
    pub(crate) fn as_stale(&self) -> Self {
        let message = format!("{}; this is the expired manifest", self.message);
        Error { status: Status::Stale, message: message.into(), ..*self }
    }

    /// The kind of error.
    pub fn status(&self) -> Status {
        self.status
    }

    /// `errno` of the failed file operation or the loader's own code; 0 if there is none.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The line of the manifest, from 1; 0 if the error has no place in it.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in that line in bytes, from 1; 0 if the error has no place in the manifest.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// One line for a person. It names the plugin and, for a file, its path.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Shows an id or a path in a message: quoted, on one line, and shortened if it is long.
pub(crate) struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Elided(self.0))
    }
}

/// Shows it in the same way, but without quotes.
pub(crate) struct Elided<'a>(pub &'a str);

/// Longer texts are shortened in the middle, so that a path keeps its root and its file name.
const LONGEST: usize = 120;

impl Display for Elided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        if text.len() <= LONGEST {
            return escaped(text, f);
        }
        escaped(&text[..char_boundary(text, LONGEST / 2)], f)?;
        f.write_str("...")?;
        escaped(&text[char_boundary(text, text.len() - LONGEST / 2)..], f)
    }
}

/// Shows a message of the host on one line, with control characters escaped, at full length.
pub(crate) struct OneLine<'a>(pub &'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escaped(self.0, f)
    }
}

fn escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

/// The last character boundary at or before `index`, so that a cut there splits no character.
pub(crate) fn char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_escapes_control_characters() {
        assert_eq!(Quoted("a\nb\u{7}").to_string(), r#""a\nb\u{7}""#);
    }

    #[test]
    fn a_long_quote_keeps_both_ends_and_splits_no_character() {
        let long = format!("start{}end", "ä".repeat(500));
        let quoted = Quoted(&long).to_string();
        assert!(quoted.starts_with("\"start") && quoted.ends_with("end\""), "{quoted}");
        assert!(quoted.len() <= LONGEST + 8, "{}", quoted.len());
    }
}
