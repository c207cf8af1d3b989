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
