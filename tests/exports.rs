//! The shared library exports the functions that the header declares and no others, and
//! tests/c/abi.c pins each of them.
//!
//! tests/install/check.sh checks the same of an installed library, which has a soname.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

#[test]
fn the_library_exports_exactly_the_functions_of_the_header() {
    let nm = Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(common::library())
        .output();
    let nm = nm.expect("`cargo test` needs `nm` of binutils, which comes with the C compiler");
    let symbols = String::from_utf8(nm.stdout).unwrap();
    let exported: BTreeSet<_> = symbols.lines().filter_map(exported_function).collect();

    let header = fs::read_to_string(common::root().join("include/manifest_cache.h")).unwrap();
    let declared: BTreeSet<_> = header.lines().filter_map(declared_function).collect();
    assert!(declared.contains("mc_get") && declared.contains("mc_load_fail"), "{declared:?}");
    assert_eq!(exported, declared);
}

#[test]
fn every_function_and_constant_of_the_header_is_pinned() {
    let header = fs::read_to_string(common::root().join("include/manifest_cache.h")).unwrap();
    let pinned = fs::read_to_string(common::root().join("tests/c/abi.c")).unwrap();
    let functions =
        header.lines().filter_map(declared_function).map(|name| format!("SIGNATURE({name},"));
    let constants =
        header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    // The version is not pinned: it changes with each release. MC_THREAD is a pointer, which has a
    // test of its own there.
    let constants = constants.filter(|(name, _)| {
        name.starts_with("MC_") && !name.starts_with("MC_VERSION_") && *name != "MC_THREAD"
    });
    let values = constants.map(|(name, value)| format!("VALUE({name}, {value});"));
    let missing: Vec<_> = functions.chain(values).filter(|line| !pinned.contains(line)).collect();
    assert!(missing.is_empty(), "tests/c/abi.c lacks {missing:?}");
    assert!(pinned.contains("SIGNATURE(mc_get,") && pinned.contains("VALUE(MC_STALE, 8);"));
}

/// The name of the function in a line of `nm`. With the feature `capi`, with which cargo-c and the
/// Makefile build the library, symbols have a version, which is a symbol itself: the soname of the
/// library or, in this test, its file name.
fn exported_function(line: &str) -> Option<&str> {
    let version = "libmanifest_cache.so";
    let (symbol, kind) = line.split_once(' ')?;
    if !cfg!(all(feature = "capi", target_os = "linux")) {
        return Some(symbol);
    }
    match symbol.split_once("@@") {
        None if symbol == version && kind.starts_with('A') => None,
        Some((name, of)) if of == version => Some(name),
        _ => panic!("{line} does not have the version {version}"),
    }
}

/// The name of the function that a line declares. cbindgen begins each declaration on a new line.
fn declared_function(line: &str) -> Option<&str> {
    if line.starts_with([' ', '#', '/', '*']) || line.starts_with("typedef") {
        return None;
    }
    let before = line.split_once('(')?.0;
    before.rsplit([' ', '*']).next()
}
