//! The fuzzers' checks on their saved inputs, with the stable compiler.

#[path = "../fuzz/checks/calls.rs"]
mod calls;
#[path = "../fuzz/checks/manifest.rs"]
mod manifest;

use std::fs;

fn each_saved_input(target: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).expect("the corpus is part of the repository");
    let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 100, "only {} inputs", inputs.len());
    inputs.iter().for_each(|input| check(input));
}

#[test]
fn r6_saved_texts_are_judged_as_by_another_parser() {
    each_saved_input("manifest", manifest::check);
}

#[test]
fn saved_sequences_of_calls_keep_every_promise() {
    each_saved_input("calls", calls::check);
}
