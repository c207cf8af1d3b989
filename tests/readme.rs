//! Checks that the programs and links in the documents match the files in the repository.

mod common;

use std::fs;

fn text(path: &str) -> String {
    fs::read_to_string(common::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first code block of a language in a document.
fn block(document: &str, language: &str) -> String {
    let text = text(document);
    let rest = text.split(&format!("```{language}\n")).nth(1).expect(language);
    rest.split("```").next().unwrap().to_owned()
}

#[test]
fn the_programs_in_the_documents_are_the_quick_starts() {
    assert_eq!(block("README.md", "c"), text("examples-c/quickstart.c"));
    assert_eq!(block("docs/install.md", "cpp"), text("examples-c/quickstart.cpp"));
    assert_eq!(block("docs/install.md", "cmake"), text("tests/install/CMakeLists.txt"));
    assert!(text("examples-c/quickstart.c").lines().count() < 40);
}

/// The lines of a marked part of a file, without comments and empty lines.
fn marked(path: &str, part: &str) -> Vec<String> {
    let text = text(path);
    let rest = text.split(&format!("// {part}: begin\n")).nth(1).expect(part);
    let lines = rest.split(&format!("// {part}: end\n")).next().unwrap().lines();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    lines.filter(is_code).map(String::from).collect()
}

#[test]
fn a_host_needs_fewer_lines_with_the_cache_than_with_a_map_of_its_own() {
    let with_cache = marked("examples-c/decoded.cpp", "cache code");
    assert_eq!(with_cache, marked("tests/c/own_map.cpp", "cache code"), "the host that is tested");
    let own = marked("tests/c/own_map.cpp", "own map");
    println!("{} lines with the cache, {} with a map", with_cache.len(), own.len());
    assert!(!with_cache.is_empty() && with_cache.len() < own.len());
}

#[test]
fn every_link_to_a_file_has_its_file() {
    let top = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "python/README.md",
        "examples-ffi/README.md",
    ]
    .map(String::from);
    let docs =
        fs::read_dir(common::root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let docs = docs
        .map(|name| format!("docs/{}", name.to_str().unwrap()))
        .filter(|path| path.ends_with(".md"));
    for document in top.into_iter().chain(docs) {
        let folder = common::root().join(&document);
        let prose: String = text(&document).split("```").step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            let exists = folder.parent().unwrap().join(target).exists();
            assert!(exists || link.starts_with("http"), "{document} links to {link}");
        }
    }
}
