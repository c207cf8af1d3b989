//! What can go wrong, and how it is told to a person.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

/// The kind of an [`Error`]; its numbers are those of `mc_status` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Status {
    /// There is no such plugin.
    NotFound = 1,
    /// The call itself was wrong.
    InvalidArgument = 2,
    /// The manifest is not a JSON object by RFC 8259 in UTF-8, or is too large.
    InvalidManifest = 3,
    /// The loader failed, gave no answer, or threw.
    LoadFailed = 4,
    /// The call would have waited for itself.
    LoadCycle = 5,
    /// Another thread's load took too long.
    Timeout = 6,
    /// A bug in this library.
    Internal = 7,
    /// The manifest has expired, and its reload failed.
    Stale = 8,
}

/// Why there is no manifest: a status, where it happened, and a message that says what to do about
/// it.
///
/// Cloning is cheap; callers that shared one load share its error.
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

    /// The same trouble, told to one who gets the expired manifest all the same.
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

    /// The whole story in one line, naming the plugin and the file.
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

/// Text from outside, made fit for a message: one line, quoted, and of bounded length.
pub(crate) struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Elided(self.0))
    }
}

/// The same without quotes.
pub(crate) struct Elided<'a>(pub &'a str);

/// Longer texts lose their middle, so that both the root and the file name of a path can be read.
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

/// A message from outside: one line, without control characters, as long as it is.
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

/// The last character boundary at or before `index`: where to cut so that no character is torn.
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
    fn a_long_quote_keeps_both_ends_and_tears_no_character() {
        let long = format!("start{}end", "ä".repeat(500));
        let quoted = Quoted(&long).to_string();
        assert!(quoted.starts_with("\"start") && quoted.ends_with("end\""), "{quoted}");
        assert!(quoted.len() <= LONGEST + 8, "{}", quoted.len());
    }
}
