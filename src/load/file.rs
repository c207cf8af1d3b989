//! Reads a manifest's file, whatever stands in its place.

use super::file_system;
use super::stamp::{Identity, Stamp};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Why a file's text cannot be had.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Missing,
    /// What stands there instead.
    NotAFile(&'static str),
    TooLarge,
    /// It changed each time it was read.
    KeepsChanging,
    /// Another process holds a lease on it, and without /proc nobody can wait for that.
    #[cfg_attr(not(any(target_os = "linux", target_os = "android")), expect(dead_code))]
    Leased,
    Io(io::Error),
}

/// The file's bytes, at most `largest` of them. Never blocks on a FIFO or a device. A file that
/// changes while it is read is read again, twice at most.
pub(crate) fn read(path: &Path, largest: u64) -> Result<(Vec<u8>, Stamp), Unreadable> {
    let mut last_text = None;
    for _ in 0..3 {
        // Taken before the first look, so that what changes the file later has a later time.
        let now = SystemTime::now();
        let file = open(path)?;
        let is_local = file_system::is_local(&file);
        let before = look(&file, is_local)?;
        let text = if is_local {
            read_sized(&file, before.size, largest)?
        } else {
            read_to_end(&file, largest)?
        };
        let after = look(&file, is_local)?;
        // Where the size is not to be relied on, nor perhaps the times, two reads that agree tell
        // as much.
        let is_whole = before == after && after.size == text.len() as u64;
        if is_whole || (!is_local && last_text.as_ref() == Some(&text)) {
            return Ok((text, Stamp::new(path, after, is_local && after.is_settled(now))));
        }
        last_text = Some(text);
    }
    Err(Unreadable::KeepsChanging)
}

fn look(file: &File, is_local: bool) -> Result<Identity, Unreadable> {
    if !is_local {
        file_system::refresh(file);
    }
    let metadata = file.metadata().map_err(Unreadable::Io)?;
    require_regular(&metadata)?;
    Ok(Identity::from(&metadata))
}

fn require_regular(metadata: &Metadata) -> Result<(), Unreadable> {
    let kind = metadata.file_type();
    match () {
        _ if kind.is_file() => Ok(()),
        _ if kind.is_dir() => Err(Unreadable::NotAFile("a directory")),
        _ if kind.is_fifo() => Err(Unreadable::NotAFile("a FIFO")),
        _ => Err(Unreadable::NotAFile("a device")),
    }
}

/// As many bytes as there are, so that no second read must find the end.
fn read_sized(file: &File, size: u64, largest: u64) -> Result<Vec<u8>, Unreadable> {
    if size > largest {
        return Err(Unreadable::TooLarge);
    }
    let mut text = Vec::new();
    let out_of_memory = |_| Unreadable::Io(ErrorKind::OutOfMemory.into());
    let capacity = usize::try_from(size).unwrap_or(usize::MAX);
    text.try_reserve_exact(capacity).map_err(out_of_memory)?;
    file.take(size).read_to_end(&mut text).map_err(Unreadable::Io)?;
    Ok(text)
}

/// What there is, whatever the size says: sysfs says 4096 of a few bytes, /proc says 0.
fn read_to_end(file: &File, largest: u64) -> Result<Vec<u8>, Unreadable> {
    // Most manifests fit, so they come in one read.
    let mut text = Vec::with_capacity(64 * 1024);
    file.take(largest.saturating_add(1)).read_to_end(&mut text).map_err(Unreadable::Io)?;
    if text.len() as u64 > largest { Err(Unreadable::TooLarge) } else { Ok(text) }
}

fn open(path: &Path) -> Result<File, Unreadable> {
    let opened = open_with(path, libc::O_NONBLOCK | libc::O_NOCTTY);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if matches!(&opened, Err(Unreadable::Io(error)) if error.kind() == ErrorKind::WouldBlock) {
        return open_leased(path);
    }
    opened
}

fn open_with(path: &Path, flags: i32) -> Result<File, Unreadable> {
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => Unreadable::Missing,
        Some(libc::ENXIO) => Unreadable::NotAFile("a socket or a device"),
        _ => Unreadable::Io(error),
    })
}

/// Opens a file on which another process, such as a file server, holds a lease. The kernel asks
/// that process to give the lease back, and this call waits until it has. It must not wait for the
/// writer of a FIFO that takes the file's place meanwhile. So it first gets hold of the file, which
/// `O_PATH` does without opening it, and then opens what it has looked at.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_leased(path: &Path) -> Result<File, Unreadable> {
    use std::os::fd::AsRawFd;
    let held = open_with(path, libc::O_PATH)?;
    require_regular(&held.metadata().map_err(Unreadable::Io)?)?;
    let held_path = format!("/proc/thread-self/fd/{}", held.as_raw_fd());
    open_with(Path::new(&held_path), libc::O_NOCTTY).map_err(|error| match error {
        Unreadable::Missing => Unreadable::Leased,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_read_up_to_the_limit_and_no_further() {
        let path = std::env::temp_dir().join(format!("manifest-cache-file-{}", std::process::id()));
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().0, b"12345");
        assert!(matches!(read(&path, 4), Err(Unreadable::TooLarge)));
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path, 4).unwrap().0, b"");
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, 4), Err(Unreadable::Missing)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_says_it_is_empty_is_read_all_the_same() {
        let version = Path::new("/proc/version");
        assert!(read(version, 1 << 20).unwrap().0.starts_with(b"Linux"));
        assert!(matches!(read(version, 9), Err(Unreadable::TooLarge)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_says_it_is_longer_is_read_all_the_same() {
        let possible = Path::new("/sys/devices/system/cpu/possible");
        assert!(fs::metadata(possible).unwrap().len() > 9, "sysfs says the size of a page");
        assert!(read(possible, 9).unwrap().0.starts_with(b"0"));
    }

    #[test]
    fn what_is_no_regular_file_is_told_by_name() {
        assert!(matches!(read(Path::new("/"), 9), Err(Unreadable::NotAFile("a directory"))));
        assert!(matches!(read(Path::new("/dev/zero"), 9), Err(Unreadable::NotAFile("a device"))));
        assert!(matches!(read(Path::new("/dev/null/manifest.json"), 9), Err(Unreadable::Missing)));
    }

    #[test]
    fn a_name_that_cannot_exist_is_missing() {
        for name in ["x".repeat(300), "x/".repeat(3000)] {
            assert!(matches!(read(Path::new(&format!("/{name}")), 9), Err(Unreadable::Missing)));
        }
    }

    #[test]
    fn another_failure_keeps_its_errno() {
        let path = std::env::temp_dir().join(format!("manifest-cache-loop-{}", std::process::id()));
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let loops = read(&path, 9);
        fs::remove_file(&path).unwrap();
        match loops {
            Err(Unreadable::Io(error)) => assert_eq!(error.raw_os_error(), Some(libc::ELOOP)),
            other => panic!("{other:?}"),
        }
    }
}
