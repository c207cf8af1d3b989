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
    for (text, column) in [("{\"a\":1 /* *", 8), ("{\"a\":1} /*/", 9), ("/*", 1), ("{/*\"*\\/}", 2)]
    {
        let flaw = jsonc_flaw(text);
        assert!(flaw.what.contains("does not end") && flaw.column == column, "{text}: {flaw:?}");
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
