//! Checks that a text is a manifest: a JSON object in UTF-8, by the grammar of RFC 8259 or of
//! JSONC.

use serde_core::de::IgnoredAny;
use serde_json::error::Category;
use std::ops::Range;

/// The syntax of manifests, for [`CacheOption::Syntax`](crate::CacheOption::Syntax).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// JSON as RFC 8259 defines it.
    Json,
    /// JSON, and also what Visual Studio Code allows: a byte order mark at the start, comments
    /// (`//` to the end of the line, and `/* */`), and a comma after the last member or element.
    Jsonc,
}

/// What is wrong with a text, and the line and column of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) what: String,
    /// From 1.
    pub(crate) line: u32,
    /// In bytes, from 1.
    pub(crate) column: u32,
}

/// Checks a text; returns it, and whether the object has members. The check builds no values and
/// does not recurse, so no nesting is too deep.
pub(crate) fn check_object(bytes: &[u8], syntax: Syntax) -> Result<(&str, Members), Flaw> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let what = "the text is not UTF-8 from here on; save it as UTF-8".to_owned();
        located(bytes, Fault { at: error.valid_up_to(), what })
    })?;
    let checked = match check_json(bytes) {
        // Most manifests are strict JSON even if JSONC is allowed. Only the others need a copy.
        Err(_) if syntax == Syntax::Jsonc => check_json(&blanked(bytes)),
        checked => checked,
    };
    match checked {
        Ok(members) => Ok((text, members)),
        Err(Fault { at, what }) => {
            let what = explained(bytes, syntax, at).unwrap_or(what);
            Err(located(bytes, Fault { at, what }))
        }
    }
}

/// Whether an object has members; `{}` has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    None,
    Some,
}

/// What is wrong with a text, and the offset of it; the length of the text if that ends too early.
struct Fault {
    at: usize,
    what: String,
}

fn check_json(text: &[u8]) -> Result<Members, Fault> {
    let fault = |at, what: &str| Err(Fault { at, what: what.to_owned() });
    let Some(start) = text.iter().position(|byte| !is_space(*byte)) else {
        return fault(text.len(), "the text is empty; write a JSON object");
    };
    if text[start] != b'{' {
        return fault(start, "the text does not begin with '{'; write a JSON object");
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        return Err(Fault { at: place(text, &error), what: in_plain_words(&error) });
    }
    match text[start + 1..].iter().find(|byte| !is_space(**byte)) {
        Some(b'}') => Ok(Members::None),
        _ => Ok(Members::Some),
    }
}

/// The offset that an error of serde_json is about.
fn place(text: &[u8], error: &serde_json::Error) -> usize {
    if error.classify() == Category::Eof {
        return text.len();
    }
    let lines_before = text.split_inclusive(|byte| *byte == b'\n').take(error.line() - 1);
    let line_start: usize = lines_before.map(<[u8]>::len).sum();
    // serde_json reports a newline as column 0 of the next line.
    (line_start + error.column()).saturating_sub(1)
}

fn in_plain_words(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = error.to_string().replace(&place, "");
    match what.strip_prefix("EOF while parsing ") {
        Some(part) => format!("the text ends inside {part}; write the rest of it"),
        None if what == "trailing characters" => {
            "there is more text after the object; remove it".to_owned()
        }
        None => format!("{what}; correct the JSON there"),
    }
}

/// A clearer message for a fault at `at`, if its cause is a NUL or something that only JSONC
/// allows.
fn explained(text: &[u8], syntax: Syntax, at: usize) -> Option<String> {
    if text.get(at) == Some(&0) {
        return Some("a manifest cannot contain the control character NUL; remove it".to_owned());
    }
    let extra = Extras::of(text)
        .take_while(|extra| extra.noticed_at <= at)
        .find(|extra| extra.noticed_at == at)?;
    let what = match (syntax, extra.what) {
        (Syntax::Jsonc, What::EndlessComment) => {
            return Some("the comment that begins here does not end; end it with */".to_owned());
        }
        (Syntax::Jsonc, _) => return None,
        (Syntax::Json, What::ByteOrderMark) => {
            "a byte order mark is not JSON; save the text without one"
        }
        (Syntax::Json, What::Comment | What::EndlessComment) => "a comment is not JSON; remove it",
        (Syntax::Json, What::Comma) => "a comma before this bracket is not JSON; remove it",
    };
    Some(format!("{what}, or set MC_OPT_SYNTAX to MC_SYNTAX_JSONC"))
}

/// A copy in which spaces replace what only JSONC allows. Newlines stay, so that every byte keeps
/// its line and column. A NUL stays too, so that it is refused even in a comment: a C string cannot
/// contain it.
fn blanked(text: &[u8]) -> Vec<u8> {
    let mut copy = text.to_vec();
    for extra in Extras::of(text) {
        for byte in &mut copy[extra.range] {
            if !matches!(byte, b'\n' | b'\r' | 0) {
                *byte = b' ';
            }
        }
    }
    copy
}

/// A part of a text that JSONC allows and JSON does not.
struct Extra {
    what: What,
    /// The bytes to replace by spaces; empty for a comment without an end.
    range: Range<usize>,
    /// The offset at which a check of JSON fails because of it.
    noticed_at: usize,
}

enum What {
    ByteOrderMark,
    Comment,
    EndlessComment,
    Comma,
}

/// Finds the extras of a text, in the order of `noticed_at`.
struct Extras<'t> {
    text: &'t [u8],
    at: usize,
    /// The last byte before `at` that is not in white space or a comment.
    last: u8,
    /// The offset of a comma after a value, if only white space and comments have followed it so
    /// far.
    comma: Option<usize>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl<'t> Extras<'t> {
    fn of(text: &'t [u8]) -> Self {
        Extras { text, at: 0, last: b',', comma: None }
    }

    /// The comment that begins with the slash at `from`, if it is one.
    fn comment(&mut self, from: usize) -> Option<Extra> {
        let rest = &self.text[from..];
        let len = if rest.starts_with(b"//") {
            rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).or(Some(rest.len()))
        } else if rest.starts_with(b"/*") {
            rest[2..].windows(2).position(|pair| pair == b"*/").map(|len| len + 4)
        } else {
            return None;
        };
        let (what, range) = match len {
            Some(len) => (What::Comment, from..from + len),
            None => (What::EndlessComment, from..from),
        };
        self.at = if len.is_some() { range.end } else { self.text.len() };
        Some(Extra { what, range, noticed_at: from })
    }

    fn skip_string(&mut self) {
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }
}

impl Iterator for Extras<'_> {
    type Item = Extra;

    fn next(&mut self) -> Option<Extra> {
        if self.at == 0 && self.text.starts_with(BYTE_ORDER_MARK) {
            self.at = BYTE_ORDER_MARK.len();
            return Some(Extra { what: What::ByteOrderMark, range: 0..self.at, noticed_at: 0 });
        }
        while let Some(&byte) = self.text.get(self.at) {
            let from = self.at;
            self.at += 1;
            if is_space(byte) {
                continue;
            }
            if byte == b'/' {
                if let Some(comment) = self.comment(from) {
                    return Some(comment);
                }
            }
            let is_behind_value = !matches!(self.last, b'{' | b'[' | b',' | b':');
            self.last = byte;
            let comma = self.comma.take();
            match (byte, comma) {
                (b'"', _) => self.skip_string(),
                (b',', _) if is_behind_value => self.comma = Some(from),
                (b'}' | b']', Some(comma)) => {
                    let range = comma..comma + 1;
                    return Some(Extra { what: What::Comma, range, noticed_at: from });
                }
                _ => {}
            }
        }
        None
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn located(text: &[u8], Fault { at, what }: Fault) -> Flaw {
    let saturated = |count| u32::try_from(count).unwrap_or(u32::MAX);
    let before = &text[..at];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    Flaw { what, line: saturated(line), column: saturated(column) }
}

#[cfg(test)]
mod tests;
