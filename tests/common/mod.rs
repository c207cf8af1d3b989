//! What the tests share.

#![allow(dead_code)] // each test uses a part of this

pub mod cache;

use std::env::{self, consts};
use std::path::{Path, PathBuf};

/// The shared library that cargo built together with this test, beside the test's executable. The
/// library in the parent directory comes from `cargo build` and may be older.
pub fn library() -> PathBuf {
    let executable = env::current_exe().expect("a test knows its own path");
    let directory = executable.parent().expect("a file is in a directory");
    let library =
        directory.join(format!("{}manifest_cache{}", consts::DLL_PREFIX, consts::DLL_SUFFIX));
    assert!(library.is_file(), "cargo has not built {}", library.display());
    library
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
