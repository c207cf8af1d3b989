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
mod tests {
    use super::*;
    use proptest::test_runner::Config as ProptestConfig;

    fn members(text: impl AsRef<[u8]>) -> Members {
        check_object(text.as_ref(), Syntax::Json).expect("this is a manifest").1
    }

    fn flaw(text: impl AsRef<[u8]>) -> Flaw {
        check_object(text.as_ref(), Syntax::Json).expect_err("this is no manifest")
    }

    /// The flaw of a text that is not valid JSONC.
    fn jsonc_flaw(text: impl AsRef<[u8]>) -> Flaw {
        check_object(text.as_ref(), Syntax::Jsonc).expect_err("this is no manifest")
    }

    fn place(flaw: &Flaw) -> (u32, u32) {
        (flaw.line, flaw.column)
    }

    #[test]
    fn an_object_is_valid_whatever_its_members_are() {
        for text in [
            r#"{"a":1}"#,
            " \r\n\t{ \"a\" : [null, true, -1.5e+3, \"\\u0000\\ud800\"] }\n",
            r#"{"a":1e999,"a":2}"#,
        ] {
            assert_eq!(members(text), Members::Some, "{text}");
        }
    }

    #[test]
    fn the_check_says_whether_an_object_has_members() {
        assert_eq!(members(b"{}"), Members::None);
        assert_eq!(members(b" { \n } "), Members::None);
        assert_eq!(members(b"{\"a\":{}}"), Members::Some);
    }

    #[test]
    fn a_flaw_has_its_line_and_column() {
        assert_eq!(place(&flaw("{\"a\":1,\n \"b\" 2}")), (2, 6));
        assert_eq!(place(&flaw("\n\n  [1]")), (3, 3));
        assert_eq!(place(&flaw(b"{\"a\":\n\"\xFF\"}")), (2, 2));
    }

    #[test]
    fn a_text_that_ends_too_early_has_its_flaw_after_the_last_byte() {
        assert_eq!(place(&flaw("{\n\"a\": [1,\n")), (3, 1));
        assert_eq!(place(&flaw("{\"a\":1")), (1, 7));
        assert_eq!(place(&flaw(" \n ")), (2, 2));
    }

    #[test]
    fn anything_but_an_object_in_utf8_is_refused() {
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

    #[test]
    fn strict_json_names_what_jsonc_allows_and_the_option_for_it() {
        for (text, name, at) in [
            ("\u{FEFF}{\"a\":1}", "a byte order mark", (1, 1)),
            ("// a\n{\"a\":1}", "a comment", (1, 1)),
            ("{\n  /* a */ \"a\":1}", "a comment", (2, 3)),
            ("{\"a\":/**/1}", "a comment", (1, 6)),
            ("{\"a\"//\n:1}", "a comment", (1, 5)),
            ("{\"a\":1} // a", "a comment", (1, 9)),
            ("{\"a\":1 /* a", "a comment", (1, 8)),
            ("{\"a\":[1,\n]}", "a comma before this bracket", (2, 1)),
            ("{\"a\":1,}", "a comma before this bracket", (1, 8)),
        ] {
            let flaw = flaw(text);
            assert_eq!((place(&flaw), flaw.what.contains("MC_SYNTAX_JSONC")), (at, true), "{text}");
            assert!(flaw.what.starts_with(&format!("{name} is not JSON; ")), "{text}: {flaw:?}");
        }
    }

    #[test]
    fn strict_json_mentions_jsonc_for_no_other_flaw() {
        for text in [
            "{,}",
            "{\"a\":[,]}",
            "{\"a\":1,,}",
            "{\"a\":,}",
            "{\"a\":1},",
            "{\"a\":1}/",
            "/{}",
            "{\"a\":\"//",
            "{\"a\":\"x,]",
            "{\"a\":\"\\u12,]\"}",
            "{\"a\":\"\n// x\"}",
            "{\"a\":tru\n}",
            "{} \u{FEFF}",
            "{a:1}",
            "#",
            "",
        ] {
            let flaw = flaw(text);
            assert!(!flaw.what.contains("JSONC"), "{text}: {flaw:?}");
            assert_eq!(jsonc_flaw(text), flaw, "{text}");
        }
    }

    #[test]
    fn jsonc_allows_a_byte_order_mark_comments_and_trailing_commas() {
        for (text, expected) in [
            ("\u{FEFF}{\"a\":1}", Members::Some),
            ("// a\n{ // b\r\"a\" /* \" */ : [ 1, /* c */ ] , // d\n }\n// e", Members::Some),
            ("{\"a\":1/**/}", Members::Some),
            ("{\"a\":1}/***/", Members::Some),
            ("{\"a\":/*/*/1}", Members::Some),
            ("{\"a\":{\"b\":[[],],},}", Members::Some),
            ("{\"http://a\":\"/* \\\" // ,]\",}", Members::Some),
            ("{\"a\":\"\\\\\"/*\"*/}", Members::Some),
            ("/* \u{e4}\u{2028}\t\u{1} */{}", Members::None),
            ("{ /* \"a\":1, */ }", Members::None),
            ("{//}\n}", Members::None),
        ] {
            assert_eq!(check_object(text.as_bytes(), Syntax::Jsonc), Ok((text, expected)));
        }
    }

    #[test]
    fn jsonc_reports_a_flaw_at_its_place_in_the_original_text() {
        for (text, at) in [
            ("\u{FEFF}[]", (1, 4)),
            ("/* \u{e4}\r\n */ \"a\"", (2, 5)),
            ("{ // \u{e4}\n\"a\": /* \n\n */ }", (4, 5)),
            ("{\"a\":[1,],, }", (1, 11)),
            ("{\"a\":[/* 1 */,]}", (1, 14)),
            ("{/**/,}", (1, 6)),
            ("{\"a\":1/**/2}", (1, 11)),
            ("{\"a\":1,]", (1, 8)),
            ("// a", (1, 5)),
            ("{\"a\":1 // }", (1, 12)),
        ] {
            assert_eq!(place(&jsonc_flaw(text)), at, "{text}: {}", jsonc_flaw(text).what);
        }
        let not_utf8 = b"{\"a\":1} // \xFF";
        assert_eq!(place(&jsonc_flaw(not_utf8)), (1, 12));
    }

    #[test]
    fn a_comment_without_an_end_is_reported_where_it_begins() {
        for (text, column) in
            [("{\"a\":1 /* *", 8), ("{\"a\":1} /*/", 9), ("/*", 1), ("{/*\"*\\/}", 2)]
        {
            let flaw = jsonc_flaw(text);
            assert!(
                flaw.what.contains("does not end") && flaw.column == column,
                "{text}: {flaw:?}"
            );
        }
        assert!(!jsonc_flaw("{\"a\" 1 /*").what.contains("does not end"), "a flaw before it");
    }

    #[test]
    fn no_comment_may_contain_a_nul() {
        for text in ["{\"a\":1 /* \0 */}", "{\"a\":1} // \0"] {
            let flaw = jsonc_flaw(text);
            assert_eq!(Some(flaw.column as usize - 1), text.find('\0'));
            assert!(flaw.what.contains("NUL"), "{flaw:?}");
        }
    }

    #[test]
    fn blanking_keeps_newlines_and_nul() {
        let text = b"\xEF\xBB\xBF{ // a\n\"a\":/*\r\n\0*/[1,\n], }";
        assert_eq!(blanked(text), b"   {     \n\"a\":  \r\n\0  [1 \n]  }");
    }

    proptest::proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn blanking_moves_no_byte_and_no_newline(
            text in "[\\[\\]{},:\"\\\\/* \r\na1\u{e4}\u{FEFF}\0]{0,40}",
        ) {
            let blanked = String::from_utf8(blanked(text.as_bytes())).expect("still UTF-8");
            assert_eq!(blanked.len(), text.len());
            for (new, old) in blanked.bytes().zip(text.bytes()) {
                assert!(new == old || (new == b' ' && !matches!(old, b'\n' | b'\r' | 0)));
            }
        }
    }
}
