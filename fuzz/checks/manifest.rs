//! Compares the cache's opinion on a text with those of two parsers of other authors: tinyjson on
//! JSON, fjson on JSONC. And both syntaxes with each other.
//!
//! Where they may differ, and the grammar of RFC 8259 is on the cache's side:
//! - tinyjson refuses escapes of lone surrogates (`"\ud800"`); the grammar has any four hex digits.
//!   It takes some that are not four hex digits (`"\u0 d300"`), so these are checked here.
//! - tinyjson reads numbers as `f64`, and refuses what does not become one that is finite
//!   (`1e999`); the grammar has no range.
//! - tinyjson takes control characters in strings; the grammar wants them escaped.
//! - fjson takes what Unicode counts as space (U+000B, U+00A0); the grammar has four characters. It
//!   refuses U+10FFFF in strings; the grammar does not.
//! - To fjson a lone carriage return does not end a comment. To the cache it does, as to Visual
//!   Studio Code.
//! - fjson takes a NUL in a comment; a C string cannot hold it.
//! - Both recurse or are limited, so texts with much nesting are not shown to them.

use fjson::scanner::{Scanner, Token};
use fjson::validate::Validate;
use manifest_cache::{Cache, CacheOption, Error, Manifest, Status, Syntax};
use std::time::Duration;

pub fn check(text: &[u8]) {
    let strict = judged(text, Syntax::Json);
    let jsonc = judged(text, Syntax::Jsonc);
    check_syntaxes(text, &strict, &jsonc);
    let Ok(utf8) = std::str::from_utf8(text) else {
        return assert!(strict.is_err() && jsonc.is_err(), "not UTF-8");
    };
    if nesting(text) > 100 {
        return;
    }
    let second = matches!(utf8.parse::<tinyjson::JsonValue>(), Ok(tinyjson::JsonValue::Object(_)));
    if strict.is_ok() != second {
        assert!(
            is_known_difference(utf8, strict.is_ok()),
            "one takes it, the other refuses it: {utf8:?}: {strict:?}"
        );
    }
    if jsonc.is_ok() != is_jsonc(utf8) {
        assert!(
            is_known_difference_of_jsonc(utf8, jsonc.as_ref().err()),
            "one takes it as JSONC, the other refuses it: {utf8:?}: {jsonc:?}"
        );
    }
}

fn judged(text: &[u8], syntax: Syntax) -> Result<Manifest, Error> {
    thread_local! {
        // They store nothing and belong to one thread, so every text is a load.
        static CACHES: [Cache; 2] = [Syntax::Json, Syntax::Jsonc].map(|syntax| {
            let cache = Cache::new(Duration::ZERO);
            cache.set(CacheOption::Syntax, syntax as u64).unwrap();
            cache
        });
    }
    let got =
        CACHES.with(|caches| caches[syntax as usize].get("fuzz", |load| drop(load.json(text))));
    match &got {
        Ok(manifest) => {
            assert_eq!(manifest.as_bytes(), text, "bytes come back as they went in");
            assert_eq!(manifest.as_c_str().to_bytes(), text);
        }
        Err(error) => {
            assert_eq!(error.status(), Status::InvalidManifest);
            check_place(text, error.line(), error.column());
        }
    }
    got
}

/// JSONC takes all that JSON takes. Of the rest, JSON says what could be JSONC, and of what could
/// not both say the same, but for a comma where no value can end: before a bracket JSONC overlooks
/// it, and stops at the bracket.
fn check_syntaxes(text: &[u8], strict: &Result<Manifest, Error>, jsonc: &Result<Manifest, Error>) {
    match (strict, jsonc) {
        (Ok(_), jsonc) => assert!(jsonc.is_ok(), "{jsonc:?}"),
        (Err(strict), _) if strict.message().contains("MC_SYNTAX_JSONC") => {}
        (Err(strict), Ok(manifest)) => panic!("{strict}, but JSONC takes {manifest:?}"),
        (Err(strict), Err(_)) if byte_at(text, strict) == Some(&b',') => {}
        (Err(strict), Err(jsonc)) => {
            assert_eq!(strict.message(), jsonc.message());
            assert_eq!((strict.line(), strict.column()), (jsonc.line(), jsonc.column()));
        }
    }
    if let Err(jsonc) = jsonc {
        assert!(!jsonc.message().contains("MC_SYNTAX_JSONC"), "{jsonc}");
    }
}

fn byte_at<'t>(text: &'t [u8], error: &Error) -> Option<&'t u8> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.nth(error.line() as usize - 1)?.get(error.column() as usize - 1)
}

/// A place is in the text, or right behind its end.
fn check_place(text: &[u8], line: u32, column: u32) {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    assert!(line >= 1 && column >= 1);
    assert!(line as usize <= lines.len(), "line {line} of {}", lines.len());
    assert!(
        column as usize <= lines[line as usize - 1].len() + 1,
        "column {column} of line {line}"
    );
}

fn nesting(text: &[u8]) -> usize {
    text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count()
}

fn is_jsonc(text: &str) -> bool {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let tokens: Result<Vec<_>, _> = Validate::new(Scanner::new(text).without_metadata()).collect();
    tokens.is_ok_and(|tokens| matches!(tokens[0].token, Token::ObjectStart))
}

fn is_known_difference_of_jsonc(text: &str, refused_by_us: Option<&Error>) -> bool {
    let is_space_elsewhere = |c: char| c.is_whitespace() && !" \t\r\n".contains(c);
    let has_lone_return = text.replace("\r\n", "\n").contains('\r');
    (has_lone_return && text.contains("//"))
        || match refused_by_us {
            None => text.contains('\u{10FFFF}'),
            Some(error) => error.message().contains("NUL") || text.contains(is_space_elsewhere),
        }
}

fn is_known_difference(text: &str, taken_by_us: bool) -> bool {
    let has_escapes = text.contains("\\u");
    if taken_by_us {
        (has_escapes && escapes_are_hex(text)) || text.contains(['e', 'E'])
    } else {
        (has_escapes && !escapes_are_hex(text)) || text.chars().any(|c| c.is_control())
    }
}

/// Whether each `\u` has its four hex digits. Backslashes stand only in strings, and only in pairs
/// with what they escape.
fn escapes_are_hex(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escaped = &rest[at + 1..];
        let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        if escaped.first() == Some(&b'u') && !escaped.get(1..5).is_some_and(is_hex) {
            return false;
        }
        rest = escaped.get(1..).unwrap_or_default();
    }
    true
}
