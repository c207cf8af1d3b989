//! Compiles the headers in every dialect of C and C++, and runs the C++ classes with every C++
//! runtime that a host may have.
//!
//! The tests that need clang and libc++ are ignored where these are not installed. With
//! `DEMAND_CLANG=1` they fail there.

mod common;

use common::root;
use libtest_mimic::{Arguments, Trial};
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

const WARNINGS: [&str; 6] =
    ["-Wall", "-Wextra", "-pedantic-errors", "-Werror", "-Wconversion", "-Wshadow"];

/// The warnings of clang's `-Weverything` that are switched off.
const TASTE: [&str; 8] = [
    // Other versions of clang have other warnings.
    "-Wno-unknown-warning-option",
    // The header is for C++17 and says so.
    "-Wno-c++98-compat",
    "-Wno-c++98-compat-pedantic",
    "-Wno-pre-c++14-compat",
    "-Wno-pre-c++17-compat",
    // A class that is only in a header has its virtual table in every object file.
    "-Wno-weak-vtables",
    "-Wno-padded",
    // Asks for std::span, which is C++20, wherever C has an array.
    "-Wno-unsafe-buffer-usage",
];

/// Flags that change the language. Without exceptions the classes have other functions.
const CLASSES: [&[&str]; 4] = [
    &["-Weffc++"],
    &["-fno-rtti"],
    &["-fno-exceptions", "-Weffc++"],
    &["-fno-exceptions", "-fno-rtti"],
];

fn main() -> ExitCode {
    let with_clang = env::var_os("DEMAND_CLANG").is_some() || has_clang();
    macro_rules! trials {
        ($($test:ident, if $is_run:expr;)*) => {
            vec![$(Trial::test(stringify!($test), || { $test(); Ok(()) })
                .with_ignored_flag(!$is_run)),*]
        };
    }
    let trials = trials! {
        the_header_compiles_without_a_warning_in_every_c, if true;
        the_header_compiles_without_a_warning_in_every_cpp, if true;
        the_classes_compile_without_a_warning_from_cpp_17_on, if true;
        r11_the_classes_work_with_a_static_cpp_runtime, if true;
        the_classes_work_without_exceptions_and_rtti, if true;
        the_headers_compile_without_a_warning_of_clang, if with_clang;
        r11_the_classes_work_with_libcpp, if with_clang;
    };
    if !with_clang {
        println!("without clang and libc++, the tests that need them are ignored");
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Whether clang is installed, and libc++ with its headers.
fn has_clang() -> bool {
    let source = root().join("tests/dialects/headers.cpp");
    let mut clang = Command::new("clang++");
    clang.args(["-stdlib=libc++", "-std=c++17", "-fsyntax-only", "-I"]).arg(root().join("include"));
    clang.arg(source).output().is_ok_and(|output| output.status.success())
}

fn the_header_compiles_without_a_warning_in_every_c() {
    for standard in ["c89", "c99", "c11", "c17", "c2x"] {
        compiles(&c(), &WARNINGS, standard, "dialects/headers.c");
    }
}

fn the_header_compiles_without_a_warning_in_every_cpp() {
    for standard in ["c++11", "c++14", "c++17", "c++20"] {
        compiles(&cpp(), &[&WARNINGS[..], &["-x", "c++"]].concat(), standard, "dialects/headers.c");
    }
}

fn the_classes_compile_without_a_warning_from_cpp_17_on() {
    for standard in ["c++17", "c++20", "c++2b"] {
        for dialect in CLASSES {
            compiles(&cpp(), &[&WARNINGS[..], dialect].concat(), standard, "dialects/headers.cpp");
        }
    }
}

fn the_headers_compile_without_a_warning_of_clang() {
    let everything = [&["-Weverything", "-Werror"], &TASTE[..]].concat();
    for standard in ["c89", "c99", "c11", "c17", "c2x"] {
        let c_only = ["-Wno-declaration-after-statement"];
        compiles(
            &words("clang"),
            &[&everything[..], &c_only].concat(),
            standard,
            "dialects/headers.c",
        );
    }
    for standard in ["c++17", "c++20", "c++2b"] {
        for dialect in CLASSES {
            for library in ["-stdlib=libstdc++", "-stdlib=libc++"] {
                let flags = [&everything[..], dialect, &[library]].concat();
                compiles(&words("clang++"), &flags, standard, "dialects/headers.cpp");
            }
        }
    }
}

fn r11_the_classes_work_with_a_static_cpp_runtime() {
    let runtime = ["-static-libgcc", "-static-libstdc++"];
    passes(&cpp(), &runtime, "c/classes.cpp");
    passes(&cpp(), &runtime, "c/begin_classes.cpp");
    passes(&cpp(), &runtime, "c/decoded.cpp");
}

fn the_classes_work_without_exceptions_and_rtti() {
    passes(&cpp(), &["-fno-exceptions", "-fno-rtti"], "dialects/no_exceptions.cpp");
}

fn r11_the_classes_work_with_libcpp() {
    let clang = words("clang++ -stdlib=libc++");
    for classes in ["c/classes.cpp", "c/begin_classes.cpp", "c/decoded.cpp"] {
        passes(&clang, &[], classes);
        passes(&clang, &["-static-libgcc"], classes);
    }
    passes(&clang, &["-fno-exceptions", "-fno-rtti"], "dialects/no_exceptions.cpp");
}

fn c() -> Vec<String> {
    words(&env::var("CC").unwrap_or("cc".to_owned()))
}

fn cpp() -> Vec<String> {
    words(&env::var("CXX").unwrap_or("c++".to_owned()))
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

/// Checks that a source below `tests` compiles without output.
fn compiles(compiler: &[String], flags: &[&str], standard: &str, source: &str) {
    let standard = format!("-std={standard}");
    let output = compile(compiler, &[flags, &[&standard, "-fsyntax-only"]].concat(), source);
    let told = text(&output);
    assert!(output.status.success() && told.is_empty(), "{flags:?} {standard}: {told}");
}

/// Builds a program below `tests` and runs each of its tests.
fn passes(compiler: &[String], flags: &[&str], source: &str) {
    let library = common::library();
    let library = library.parent().expect("a file is in a directory").display();
    let name = [compiler, &[flags.concat(), source.to_owned()]].concat().concat().replace('/', "-");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dialects").join(name);
    fs::create_dir_all(&directory).expect("the directory for a program can be made");
    let program = directory.join("program");
    let (path, rpath) = (format!("-L{library}"), format!("-Wl,-rpath,{library}"));
    let output = ["-o", program.to_str().expect("cargo's paths are UTF-8"), &path, &rpath];
    // The linker keeps the library although it is named before the source that needs it.
    let link = ["-std=c++17", "-pthread", "-Wl,--no-as-needed", "-lmanifest_cache"];
    let built = compile(compiler, &[flags, &output, &link].concat(), source);
    assert!(built.status.success(), "{flags:?}: {}", text(&built));

    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        // Cargo's search path comes before the program's own and may hold an older library.
        command.args(arguments).current_dir(&directory).env_remove("LD_LIBRARY_PATH");
        let output = command.output().expect("the program can be started");
        assert!(output.status.success(), "{flags:?} {arguments:?}: {}", text(&output));
        text(&output)
    };
    let tests = run(&[]);
    assert!(tests.lines().count() > 1, "{source} has no tests");
    for test in tests.lines() {
        run(&[test]);
    }
}

fn compile(compiler: &[String], flags: &[&str], source: &str) -> Output {
    let mut command = Command::new(&compiler[0]);
    command.args(&compiler[1..]).arg("-I").arg(root().join("include"));
    command.arg("-I").arg(root().join("tests/c"));
    command.args(flags).arg(root().join("tests").join(source));
    command.output().unwrap_or_else(|error| {
        panic!("this test needs {compiler:?}; $CC and $CXX name others: {error}")
    })
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
