//! Compares the cache's opinion on a text with that of tinyjson, a parser of other authors.
//!
//! Where the two may differ, and the grammar of RFC 8259 is on the cache's side:
//! - tinyjson refuses escapes of lone surrogates (`"\ud800"`); the grammar has any four hex digits.
//!   It takes some that are not four hex digits (`"\u0 d300"`), so these are checked here.
//! - tinyjson reads numbers as `f64`, and refuses what does not become one that is finite
//!   (`1e999`); the grammar has no range.
//! - tinyjson takes control characters in strings; the grammar wants them escaped.
//! - tinyjson recurses, so texts with much nesting are not shown to it.

use manifest_cache::{Cache, Status};
use std::sync::LazyLock;
use std::time::Duration;

pub fn check(text: &[u8]) {
    // It stores nothing, so every text is a load.
    static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::new(Duration::ZERO));
    let got = CACHE.get("fuzz", |load| drop(load.json(text)));
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
    let Ok(utf8) = std::str::from_utf8(text) else {
        return assert!(got.is_err(), "not UTF-8");
    };
    if nesting(text) > 100 {
        return;
    }
    let second = matches!(utf8.parse::<tinyjson::JsonValue>(), Ok(tinyjson::JsonValue::Object(_)));
    if got.is_ok() != second {
        assert!(
            is_known_difference(utf8, got.is_ok()),
            "one takes it, the other refuses it: {utf8:?}: {got:?}"
        );
    }
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
