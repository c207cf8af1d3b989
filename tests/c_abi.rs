//! Tests the C interface from C and C++.
//!
//! Each source file in `tests/c` is one program. It is compiled against the headers in `include`
//! and linked to the shared library. Without an argument a program prints the names of its tests;
//! with a name it runs that test. Each test becomes a test here, named `program::test`.

mod common;

use common::root;
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::{env, thread};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = match program_trials() {
        Ok(trials) => trials,
        // This fails the run even if a filter selects no test of the broken program.
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    trials.sort_by(|one, other| one.name().cmp(other.name()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The tests of all programs, or what is wrong with the first program that cannot be used.
fn program_trials() -> Result<Vec<Trial>, String> {
    let sources = sources().map_err(|error| format!("tests/c cannot be read: {error}"))?;
    fs::create_dir_all(scratch()).map_err(|error| error.to_string())?;
    let mut trials = Vec::new();
    for program in in_parallel(sources, Program::new) {
        let program = program?;
        for test in program.tests()? {
            let name = format!("{}::{test}", program.name);
            let program = program.clone();
            trials.push(Trial::test(name, move || program.run(&test)));
        }
    }
    Ok(trials)
}

/// The C and C++ files in `tests/c`, without the headers they share.
fn sources() -> io::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for file in fs::read_dir(root().join("tests/c"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "c" || extension == "cpp") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

/// Calls `make` for each of the inputs, on as many threads as there are processors.
fn in_parallel<T: Send, R: Send>(inputs: Vec<T>, make: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let inputs = Mutex::new(inputs.into_iter());
    let outputs = Mutex::new(Vec::new());
    let next = || inputs.lock().expect("no thread panicked").next();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(input) = next() {
                    let output = make(input);
                    outputs.lock().expect("no thread panicked").push(output);
                }
            });
        }
    });
    outputs.into_inner().expect("no thread panicked")
}

/// A program that has been compiled.
#[derive(Clone)]
struct Program {
    name: String,
    executable: PathBuf,
}

impl Program {
    /// Compiles a program and links it to the library that cargo built together with this test.
    fn new(source: PathBuf) -> Result<Self, String> {
        let name = source.file_stem().expect("a source has a name").to_string_lossy().into_owned();
        let library = common::library();
        let library = library.parent().expect("a file is in a directory");
        let executable = scratch().join(&name);
        // The compiler writes to another name first, so that a second process that runs the tests
        // at the same time never finds an unfinished program.
        let unfinished = scratch().join(format!("{name}.{}", std::process::id()));
        let language = Language::of(&source);
        let compiled = language
            .compiler()
            .args(WARNINGS)
            .args(["-g", "-pthread", "-D_POSIX_C_SOURCE=200809L"])
            .arg(format!("-DOPTION_COUNT={}", manifest_cache::CacheOption::COUNT))
            .arg(format!("-DSTAT_COUNT={}", manifest_cache::Stat::COUNT))
            .arg(format!("-DDEBUG_LIBRARY={}", u8::from(cfg!(debug_assertions))))
            // C++11 is enough for the C header, but the C++ classes need C++17.
            .arg(match (language, name.as_str()) {
                (Language::C, _) => "-std=c11",
                (Language::Cpp, "classes" | "begin_classes" | "decoded" | "own_map") => {
                    "-std=c++17"
                }
                (Language::Cpp, _) => "-std=c++11",
            })
            .arg(&source)
            .arg("-o")
            .arg(&unfinished)
            .arg("-L")
            .arg(library)
            // `unload.c` opens the library itself and must not be linked to it.
            .args(["-Wl,--as-needed", "-lmanifest_cache"])
            .arg(format!("-Wl,-rpath,{}", library.display()))
            .arg("-ldl")
            .output()
            .map_err(|error| language.no_compiler(&error))?;
        if !compiled.status.success() {
            return Err(format!("{} does not compile:\n{}", source.display(), text(&compiled)));
        }
        fs::rename(unfinished, &executable).map_err(|error| error.to_string())?;
        Ok(Program { name, executable })
    }

    /// The names that the program prints.
    fn tests(&self) -> Result<Vec<String>, String> {
        let listed = self.command().output().map_err(|error| format!("{}: {error}", self.name))?;
        let names = String::from_utf8_lossy(&listed.stdout);
        let names: Vec<_> = names.lines().map(str::to_owned).collect();
        if !listed.status.success() || names.is_empty() {
            return Err(format!("{} lists no tests:\n{}", self.name, text(&listed)));
        }
        Ok(names)
    }

    /// Runs one test in an empty directory of its own.
    fn run(&self, test: &str) -> Result<(), Failed> {
        let directory = scratch().join(format!("{}.tests", self.name)).join(test);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let ran = self
            .command()
            .arg(test)
            .current_dir(&directory)
            // glibc fills freed memory with this byte, so that a use after free shows.
            .env("MALLOC_PERTURB_", "165")
            .env("MC_LIBRARY", common::library())
            .output()?;
        let output = text(&ran);
        // The library reports a panic that it caught here, even if the program did not notice it.
        if !ran.status.success() || output.contains("panicked at") {
            return Err(format!("{}\n{output}", ran.status).into());
        }
        fs::remove_dir_all(directory)?;
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        // Cargo's search path comes before the program's own and may hold an older library.
        command.env_remove("LD_LIBRARY_PATH").env_remove("DYLD_FALLBACK_LIBRARY_PATH");
        command
    }
}

#[derive(Clone, Copy)]
enum Language {
    C,
    Cpp,
}

impl Language {
    fn of(source: &Path) -> Self {
        if source.extension().is_some_and(|extension| extension == "cpp") {
            Language::Cpp
        } else {
            Language::C
        }
    }

    /// The environment variable that names the compiler, and the command that is used without it.
    fn variable_and_default(self) -> (&'static str, &'static str) {
        match self {
            Language::C => ("CC", "cc"),
            Language::Cpp => ("CXX", "c++"),
        }
    }

    fn compiler(self) -> Command {
        let (variable, default) = self.variable_and_default();
        let command = env::var(variable).unwrap_or_default();
        // The variable may hold arguments after the command.
        let mut words = command.split_whitespace();
        let mut compiler = Command::new(words.next().unwrap_or(default));
        compiler.args(words).arg("-I").arg(root().join("include"));
        compiler
    }

    fn no_compiler(self, error: &io::Error) -> String {
        let (variable, default) = self.variable_and_default();
        format!(
            "`cargo test` needs compilers for C and C++: install one as `{default}`, \
             or name it in ${variable} ({error})"
        )
    }
}

/// The directory for the programs and for the files that their tests make.
fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_abi")
}

fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}
