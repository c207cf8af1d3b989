//! Tests files on real file systems: ext3 with times of whole seconds, FUSE, sysfs, and a file with
//! a lease. If a file system cannot be mounted, its tests are ignored and the reason is printed;
//! with `DEMAND_FILE_SYSTEMS=1` they fail instead.
//!
//! Needs root, `mke2fs` and loop devices for ext3, and for FUSE `fuse3` and a Python with
//! `mfusepy`, which the variable `PYTHON` names. tests/c/file_systems.c tests the same rules
//! without mounting.

use libtest_mimic::{Arguments, Failed, Trial};
use manifest_cache::{Cache, CacheOption, Clock, Error, Manifest, Stat, Status};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};

const OLD: &str = r#"{"version":1}"#;
const NEW: &str = r#"{"version":2}"#;
const LONGER: &str = r#"{"version":"three"}"#;
const SHORTER: &str = r#"{"v":4}"#;

/// The directory of a test.
struct Place {
    /// Where the library reads.
    seen: PathBuf,
    /// Where the test writes: the same directory, or the one that a FUSE file system shows.
    behind: PathBuf,
    /// The process that serves the file system or holds the lease.
    server: Option<Child>,
    /// The command that unmounts it.
    unmount: Option<Command>,
}

/// Prepares the directory of a test, or says why that is not possible.
type SetUp = fn(&Path) -> Result<Place, String>;

type Test = (&'static str, SetUp, fn(&Place));

const TESTS: [Test; 13] = [
    ("ext3::a_second_save_in_place_is_seen", ext3, |place| second_save(place, write)),
    ("ext3::a_second_save_by_rename_is_seen", ext3, |place| second_save(place, replace)),
    ("ext3::an_old_file_is_renewed_without_being_read", ext3, renewed_unread),
    ("fuse_1s::a_second_save_in_place_is_seen", fuse_1s, |place| second_save(place, write)),
    ("fuse_1s::a_second_save_by_rename_is_seen", fuse_1s, |place| second_save(place, replace)),
    ("fuse_2s::a_second_save_in_place_is_seen", fuse_2s, |place| second_save(place, write)),
    ("fuse_2s::a_second_save_by_rename_is_seen", fuse_2s, |place| second_save(place, replace)),
    ("fuse_cached::each_save_in_place_is_seen", fuse_cached, |place| each_save(place, write)),
    ("fuse_cached::each_save_by_rename_is_seen", fuse_cached, |place| each_save(place, replace)),
    ("fuse_empty::a_file_of_size_0_is_read_whole", |path| fuse_sized(path, "0"), read),
    ("fuse_huge::a_file_of_size_1_tib_is_read_whole", |path| fuse_sized(path, HUGE), read),
    ("sysfs::a_file_of_size_4096_is_read_whole", sysfs, invalid),
    ("lease::a_leased_file_is_read", lease, read),
];
const HUGE: &str = "1099511627776";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if env::var_os("OWN_MOUNTS").is_none() && !arguments.list {
        return with_own_mounts();
    }
    let demanded = env::var_os("DEMAND_FILE_SYSTEMS").is_some_and(|value| value == "1");
    let scratch =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("file_systems-{}", std::process::id()));
    let trials = TESTS.iter().enumerate().map(|(number, (name, set_up, test))| {
        if arguments.list {
            return Trial::test(*name, || Ok(()));
        }
        match set_up(&scratch.join(number.to_string())) {
            Ok(place) => Trial::test(*name, move || {
                test(&place);
                Ok(())
            }),
            Err(reason) => {
                eprintln!("not run: {name}: {reason}");
                Trial::test(*name, || Err(Failed::from(reason))).with_ignored_flag(!demanded)
            }
        }
    });
    let trials = trials.collect();
    arguments.test_threads = Some(1); // one test limits the open files of the process
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _ = fs::remove_dir_all(scratch);
    conclusion.exit_code()
}

/// Runs this program again in its own mount namespace, if possible. Its mounts are then invisible
/// to other processes and end with it.
fn with_own_mounts() -> ExitCode {
    let this = env::current_exe().expect("a test knows its own path");
    let run =
        |mut command: Command| command.args(env::args_os().skip(1)).env("OWN_MOUNTS", "1").status();
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount").arg(&this);
    let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    let ended = match may {
        Ok(may) if may.success() => run(unshare),
        _ => run(Command::new(&this)),
    };
    match ended.expect("a test can run itself").code() {
        Some(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn ext3(directory: &Path) -> Result<Place, String> {
    let image = directory.join("image");
    let seen = directory.join("seen");
    make_directory(&seen);
    fs::File::create(&image).and_then(|file| file.set_len(4 << 20)).expect("there is room");
    succeed(Command::new("mke2fs").args(["-q", "-t", "ext3", "-I", "128"]).arg(&image))?;
    succeed(Command::new("mount").args(["-t", "ext3", "-o", "loop"]).arg(&image).arg(&seen))?;
    let mut unmount = Command::new("umount");
    unmount.arg(&seen);
    Ok(Place { behind: seen.clone(), seen, server: None, unmount: Some(unmount) })
}

fn fuse_1s(directory: &Path) -> Result<Place, String> {
    fuse(directory, &["--times-of", "1"])
}

fn fuse_2s(directory: &Path) -> Result<Place, String> {
    fuse(directory, &["--times-of", "2"])
}

/// The kernel caches the attributes of files for longer than a test runs.
fn fuse_cached(directory: &Path) -> Result<Place, String> {
    fuse(directory, &["--attributes-last", "600"])
}

fn fuse_sized(directory: &Path, size: &str) -> Result<Place, String> {
    fuse(directory, &["--size", size])
}

fn fuse(directory: &Path, options: &[&str]) -> Result<Place, String> {
    let (seen, behind) = (directory.join("seen"), directory.join("behind"));
    make_directory(&seen);
    make_directory(&behind);
    let mut server = python("fuse.py");
    let server = started(server.arg(&behind).arg(&seen).args(options))?;
    let mut unmount = Command::new("fusermount3");
    unmount.arg("-u").arg(&seen);
    Ok(Place { seen, behind, server: Some(server), unmount: Some(unmount) })
}

fn sysfs(_: &Path) -> Result<Place, String> {
    let seen = PathBuf::from("/sys/devices/system/cpu");
    match seen.join("possible").metadata() {
        Ok(_) => Ok(Place { behind: seen.clone(), seen, server: None, unmount: None }),
        Err(error) => Err(format!("sysfs is not mounted: {error}")),
    }
}

fn lease(directory: &Path) -> Result<Place, String> {
    make_directory(directory);
    let file = directory.join("manifest.json");
    fs::write(&file, OLD).expect("there is room");
    let server = started(python("lease.py").arg(file))?;
    let seen = directory.to_owned();
    Ok(Place { behind: seen.clone(), seen, server: Some(server), unmount: None })
}

fn make_directory(path: &Path) {
    fs::create_dir_all(path).expect("the build's directory can be written to");
}

fn python(program: &str) -> Command {
    let mut command = Command::new(env::var("PYTHON").unwrap_or_else(|_| "python3".into()));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(program));
    command
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Starts a program and waits until it prints that it is ready.
fn started(command: &mut Command) -> Result<Child, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    let _ = BufReader::new(stdout).read_line(&mut line);
    if line == "ready\n" {
        return Ok(child);
    }
    let mut errors = String::new();
    let _ = child.stderr.take().expect("it is piped").read_to_string(&mut errors);
    let _ = child.wait();
    Err(format!("{program}: {}", errors.trim().lines().last().unwrap_or("it ended")))
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(unmount) = &mut self.unmount {
            let _ = unmount.status();
        }
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// A cache whose entries expire when its clock is advanced, and the file it reads.
struct Reader<'a> {
    cache: Cache,
    clock: Clock,
    file: PathBuf,
    place: &'a Place,
}

impl<'a> Reader<'a> {
    fn new(place: &'a Place, name: &str) -> Self {
        let clock = Clock::manual();
        let cache = Cache::with_clock(Duration::from_secs(1), clock.clone());
        Reader { cache, clock, file: place.seen.join(name), place }
    }

    fn load(&self) -> Result<Manifest, Error> {
        self.clock.advance(Duration::from_secs(2));
        self.cache.get("weather", |load| drop(load.file(&self.file)))
    }

    fn sees(&self, text: &str) {
        let manifest = self.load().expect("the file can be read");
        assert_eq!(manifest.as_str(), text, "what is seen of {}", self.place.seen.display());
    }
}

/// Saves in place.
fn write(directory: &Path, text: &str) {
    fs::write(directory.join("manifest.json"), text).expect("there is room");
}

/// Saves by renaming.
fn replace(directory: &Path, text: &str) {
    fs::write(directory.join("new"), text).expect("there is room");
    fs::rename(directory.join("new"), directory.join("manifest.json")).expect("it can be renamed");
}

/// Saves a file twice within the same two seconds, so that `stat` reports the same both times.
fn second_save(place: &Place, save: fn(&Path, &str)) {
    let reader = Reader::new(place, "manifest.json");
    let told = || {
        let file = reader.file.metadata().unwrap();
        (file.dev(), file.ino(), file.len(), file.modified().unwrap(), file.ctime_nsec())
    };
    wait_for_an_even_second();
    thread::sleep(Duration::from_millis(50)); // a file gets the time of the clock's last tick
    save(&place.behind, OLD);
    thread::sleep(Duration::from_millis(300)); // more than a tick of the clock
    reader.sees(OLD);
    let before = told();
    // With two saves by renaming, the second file gets the inode that the first save freed.
    save(&place.behind, LONGER);
    save(&place.behind, NEW);
    assert_eq!(told(), before, "this file system must have times of whole seconds");
    reader.sees(NEW);
}

fn wait_for_an_even_second() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    thread::sleep(Duration::from_nanos(2_000_000_000 - (now.as_nanos() % 2_000_000_000) as u64));
}

fn renewed_unread(place: &Place) {
    let reader = Reader::new(place, "manifest.json");
    write(&place.behind, OLD);
    thread::sleep(Duration::from_millis(3_200));
    reader.sees(OLD);
    limit_open_files(0);
    let renewed = reader.load();
    limit_open_files(256);
    assert_eq!(renewed.expect("no file is opened").as_str(), OLD);
    assert_eq!(reader.cache.stat(Stat::Unchanged), 1);
}

fn limit_open_files(most: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a local variable.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

fn each_save(place: &Place, save: fn(&Path, &str)) {
    let reader = Reader::new(place, "manifest.json");
    save(&place.behind, OLD);
    thread::sleep(Duration::from_millis(2_200)); // the times are then old enough to be trusted
    reader.sees(OLD);
    for text in [NEW, LONGER, SHORTER, OLD] {
        save(&place.behind, text);
        reader.sees(text);
    }
}

fn read(place: &Place) {
    let reader = Reader::new(place, "manifest.json");
    if place.behind != place.seen {
        write(&place.behind, OLD);
    }
    reader.sees(OLD);
    reader.cache.clear_all();
    reader.cache.set(CacheOption::MaxManifestBytes, OLD.len() as u64).unwrap();
    reader.sees(OLD);
    reader.cache.set(CacheOption::MaxManifestBytes, OLD.len() as u64 - 1).unwrap();
    assert_eq!(reader.load().unwrap_err().status(), Status::InvalidManifest);
}

fn invalid(place: &Place) {
    let error = Reader::new(place, "possible").load().unwrap_err();
    assert_eq!((error.status(), error.line()), (Status::InvalidManifest, 1), "{error}");
}
