//! Writes the C header `include/manifest_cache.h` from `src/capi`, and sets the linker options for
//! an installed library.

use std::path::Path;
use std::{env, fs};

/// The files of `src/capi` that the header is made of, in its order.
const SOURCES: [&str; 9] = [
    "error.rs",
    "load.rs",
    "cache.rs",
    "get.rs",
    "outcome.rs",
    "option.rs",
    "statistic.rs",
    "logger.rs",
    "string.rs",
];

fn main() {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets this")).to_owned();
    println!("cargo::rerun-if-changed=src/capi");
    println!("cargo::rerun-if-changed=cbindgen.toml");

    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    config.after_includes = Some(macros());
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join("src/capi").join(source));
    }
    let mut header = Vec::new();
    builder.generate().expect("src/capi is valid Rust").write(&mut header);

    let header = as_c89(&String::from_utf8(header).expect("cbindgen writes UTF-8"));

    // The file is written only when it changes, because a published crate may be built from a
    // read-only copy.
    let path = root.join("include/manifest_cache.h");
    if fs::read_to_string(&path).ok().as_ref() != Some(&header) {
        fs::write(&path, &header)
            .expect("include/manifest_cache.h is out of date and must be writable");
    }
    version_symbols();
}

/// Replaces the `//` comments that cbindgen writes, because C89 does not have them.
fn as_c89(header: &str) -> String {
    let rewrite = |line: &str| match line.split_once("// ") {
        Some((code, comment)) if line.starts_with(['#', '}']) => format!("{code}/* {comment} */\n"),
        _ => format!("{line}\n"),
    };
    header.lines().map(rewrite).collect()
}

/// Gives each symbol of an installed library the library's soname as its version. So a program uses
/// the library that it was linked to even if another version is loaded in the same process.
fn version_symbols() {
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    // cargo-c and the Makefile build with this feature. Only their libraries have a soname.
    if is_linux && env::var_os("CARGO_FEATURE_CAPI").is_some() {
        // A version script cannot be used: rustc passes one without versions, and linkers refuse to
        // combine the two. GNU ld has this option. LLVM's linker, which rustc prefers on some
        // targets, does not have it.
        println!("cargo::rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo::rustc-cdylib-link-arg=-Wl,--default-symver");
    }
}

/// The macros that cbindgen cannot write, because it cannot evaluate them.
fn macros() -> String {
    let version = |part| env::var(format!("CARGO_PKG_VERSION_{part}")).expect("cargo sets this");
    format!(
        "
/**
 * The major version of this header; mc_version() returns that of the library.
 */
#define MC_VERSION_MAJOR {}

/**
 * The minor version of this header.
 */
#define MC_VERSION_MINOR {}

/**
 * The patch version of this header.
 */
#define MC_VERSION_PATCH {}

/**
 * A time to live that never ends, for times in milliseconds.
 */
#define MC_TTL_FOREVER UINT64_MAX

/**
 * For the parameter within of mc_begin() and mc_begin_async(): the innermost load of this thread.
 */
#define MC_THREAD ((mc_load *)1)
",
        version("MAJOR"),
        version("MINOR"),
        version("PATCH"),
    )
}
