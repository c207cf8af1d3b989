//! What the README shows is what is there.

mod common;

use std::fs;

fn text(path: &str) -> String {
    fs::read_to_string(common::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_program_in_the_readme_is_the_quick_start() {
    let readme = text("README.md");
    let block = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(block, Some(&*text("examples-c/quickstart.c")));
    assert!(text("examples-c/quickstart.c").lines().count() < 40);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in ["README.md", "CHANGELOG.md", "docs/performance.md", "docs/rules.md", "docs/testing.md"] {
        let folder = common::root().join(document);
        for link in text(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            let exists = folder.parent().unwrap().join(target).exists();
            assert!(exists || link.starts_with("http"), "{document} links to {link}");
        }
    }
}
