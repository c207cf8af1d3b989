//! Runs the checks of the fuzzers with the stable compiler: on their saved inputs, and on random
//! texts that are JSON or almost JSON.

#[path = "../fuzz/checks/calls.rs"]
mod calls;
#[path = "../fuzz/checks/manifest.rs"]
mod manifest;

use proptest::prelude::*;
use std::fs;

fn each_saved_input(target: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).expect("the corpus is part of the repository");
    let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 100, "only {} inputs", inputs.len());
    inputs.iter().for_each(|input| check(input));
}

#[test]
fn r6_saved_texts_are_judged_as_other_parsers_judge_them() {
    each_saved_input("manifest", manifest::check);
}

#[test]
fn saved_sequences_of_calls_keep_every_promise() {
    each_saved_input("calls", calls::check);
}

/// The text between two tokens: mostly what JSONC allows there.
fn gap() -> impl Strategy<Value = &'static str> {
    let allowed = ["", " ", "\r\n", "\t", "// \" ,]\n", "//\r", "/* \" ä\n */", "/**/", "/*/*/"];
    let wrong = [",", "/", "/*", "*/", "//", "\u{FEFF}", "/*\0*/", "\"", "\\", "}", "]", "1"];
    prop_oneof![
        24 => Just(""),
        12 => prop::sample::select(allowed.to_vec()),
        1 => prop::sample::select(wrong.to_vec()),
    ]
}

/// The tokens of a value; a list may end in a comma.
fn value() -> impl Strategy<Value = Vec<&'static str>> {
    let scalars = ["null", "true", "-1.5e+3", "0", r#""""#, r#""// /* \" ,]""#, r#""\\""#];
    let scalar = prop::sample::select(scalars.to_vec()).prop_map(|token| vec![token]);
    scalar.prop_recursive(4, 24, 4, |value| {
        let values = prop::collection::vec(value, 0..4);
        (values, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(values, is_object, has_trailing_comma)| {
                let brackets = if is_object { ["{", "}"] } else { ["[", "]"] };
                let mut tokens = vec![brackets[0]];
                let count = values.len();
                for (at, value) in values.into_iter().enumerate() {
                    if is_object {
                        tokens.extend([r#""a""#, ":"]);
                    }
                    tokens.extend(value);
                    if at + 1 < count || has_trailing_comma {
                        tokens.push(",");
                    }
                }
                tokens.push(brackets[1]);
                tokens
            },
        )
    })
}

/// An object with gaps between its tokens, sometimes after a byte order mark.
fn text() -> impl Strategy<Value = String> {
    let marks = prop_oneof![9 => Just(""), 1 => Just("\u{FEFF}")];
    (marks, value(), prop::collection::vec(gap(), 64)).prop_map(|(mark, value, gaps)| {
        // The last one is empty, so that there is a gap at the end.
        let tokens = [&["{", r#""a""#, ":"], &value[..], &["}", ""]].concat();
        let gaps = gaps.into_iter().cycle();
        let spaced = tokens.into_iter().zip(gaps).flat_map(|(token, gap)| [gap, token]);
        [mark].into_iter().chain(spaced).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn r6_texts_near_json_and_jsonc_are_judged_as_other_parsers_judge_them(text in text()) {
        manifest::check(text.as_bytes());
    }
}
