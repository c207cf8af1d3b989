//! Is this text a manifest: a JSON object by the grammar of RFC 8259, in UTF-8?

use serde_core::de::IgnoredAny;

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) what: String,
    /// From 1.
    pub(crate) line: u32,
    /// In bytes, from 1.
    pub(crate) column: u32,
}

/// The text itself, checked without building or recursing, so that no nesting is too deep; and
/// whether the object has members.
pub(crate) fn check_object(bytes: &[u8]) -> Result<(&str, Members), Flaw> {
    let flaw = |at: usize, what: &str| {
        let (line, column) = position(bytes, at);
        Err(Flaw { what: what.to_owned(), line, column })
    };
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return flaw(0, "it starts with a byte order mark; save it as UTF-8 without one");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return flaw(error.valid_up_to(), "it is not UTF-8 from here on; save it as UTF-8");
        }
    };
    let Some(start) = bytes.iter().position(|byte| !is_space(*byte)) else {
        return flaw(bytes.len(), "it is empty; a JSON object was expected");
    };
    if bytes[start] != b'{' {
        return flaw(start, "it does not start with '{'; a manifest is a JSON object");
    }
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(Flaw {
            what: in_plain_words(&error),
            line: saturated(error.line()),
            column: saturated(error.column().max(1)),
        });
    }
    let members = match bytes[start + 1..].iter().find(|byte| !is_space(**byte)) {
        Some(b'}') => Members::None,
        _ => Members::Some,
    };
    Ok((text, members))
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

/// Whether an object is `{}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    None,
    Some,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn position(text: &[u8], at: usize) -> (u32, u32) {
    let before = &text[..at];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    (saturated(line), saturated(column))
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: impl AsRef<[u8]>) -> Members {
        check_object(text.as_ref()).expect("this is a manifest").1
    }

    fn flaw(text: impl AsRef<[u8]>) -> Flaw {
        check_object(text.as_ref()).expect_err("this is no manifest")
    }

    #[test]
    fn objects_pass_whatever_stands_in_them() {
        for text in [
            r#"{"a":1}"#,
            " \r\n\t{ \"a\" : [null, true, -1.5e+3, \"\\u0000\\ud800\"] }\n",
            r#"{"a":1e999,"a":2}"#,
        ] {
            assert_eq!(members(text), Members::Some, "{text}");
        }
    }

    #[test]
    fn an_object_without_members_is_told_from_others() {
        assert_eq!(members(b"{}"), Members::None);
        assert_eq!(members(b" { \n } "), Members::None);
        assert_eq!(members(b"{\"a\":{}}"), Members::Some);
    }

    #[test]
    fn a_flaw_has_its_line_and_column() {
        assert_eq!(
            (flaw("{\"a\":1,\n \"b\" 2}").line, flaw("{\"a\":1,\n \"b\" 2}").column),
            (2, 6)
        );
        assert_eq!((flaw("{\n\"a\": [1,\n").line, flaw("{\n\"a\": [1,\n").column), (3, 1));
        assert_eq!((flaw("\n\n  [1]").line, flaw("\n\n  [1]").column), (3, 3));
        assert_eq!((flaw(b"{\"a\":\n\"\xFF\"}").line, flaw(b"{\"a\":\n\"\xFF\"}").column), (2, 2));
    }

    #[test]
    fn what_is_no_object_in_utf8_is_refused() {
        for text in [
            "",
            "  ",
            "[]",
            "null",
            "\"{}\"",
            "{",
            "{\"a\":1",
            "{\"a\":1}}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":\"\t\"}",
        ] {
            flaw(text);
        }
        assert!(flaw(b"\xEF\xBB\xBF{\"a\":1}").what.contains("byte order mark"));
        assert!(flaw(b"{\"a\":\"\xC0\x80\"}").what.contains("not UTF-8"));
        assert!(
            flaw("{\"a\":\"\0\"}").what.contains("control character"),
            "{:?}",
            flaw("{\"a\":\"\0\"}")
        );
    }

    #[test]
    fn no_nesting_is_too_deep() {
        let deep = 1_000_000;
        let text = format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep));
        assert_eq!(members(text), Members::Some);
        let unclosed = format!("{{\"a\":{}", "[".repeat(deep));
        assert_eq!(flaw(unclosed).line, 1);
    }
}
