//! Compares whether the cache and tinyjson, a parser by other authors, accept a text.
//!
//! They differ here, and the cache follows the grammar of RFC 8259:
//! - tinyjson refuses escapes of lone surrogates (`"\ud800"`); the grammar allows any four hex
//!   digits. It accepts some escapes that are not four hex digits (`"\u0 d300"`), so this target
//!   checks escapes itself.
//! - tinyjson refuses a number that is not finite as `f64` (`1e999`); the grammar has no range.
//! - tinyjson accepts control characters in strings; the grammar requires escapes.
//! - tinyjson recurses, so it does not get deeply nested texts.

use fjson::scanner::{Scanner, Token};
use fjson::validate::Validate;
use manifest_cache::{Cache, CacheOption, Error, Manifest, Status, Syntax};
use std::time::Duration;

pub fn check(text: &[u8]) {
    // This cache stores nothing, so every get loads.
    static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::new(Duration::ZERO));
    let got = CACHE.get("fuzz", |load| drop(load.json(text)));
    match &got {
        Ok(manifest) => {
            assert_eq!(manifest.as_bytes(), text, "the bytes come back unchanged");
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
    let second = matches!(utf8.parse::<tinyjson::JsonValue>(), Ok(tinyjson::JsonValue::Object(_)));
    if got.is_ok() != second {
        assert!(
            is_known_difference(utf8, got.is_ok()),
            "one accepts it, the other refuses it: {utf8:?}: {got:?}"
        );
    }
}

/// Checks that the place of an error is in the text or directly after its end.
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

fn is_known_difference(text: &str, is_accepted: bool) -> bool {
    let has_escapes = text.contains("\\u");
    if is_accepted {
        (has_escapes && escapes_are_hex(text)) || text.contains(['e', 'E'])
    } else {
        (has_escapes && !escapes_are_hex(text)) || text.chars().any(|c| c.is_control())
    }
}

/// Whether four hex digits follow each `\u`. A backslash stands only in strings, and always before
/// the character that it escapes.
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
