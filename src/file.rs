//! Reads a manifest's file, whatever stands in its place.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Why a file's text cannot be had.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Missing,
    /// What stands there instead.
    NotAFile(&'static str),
    TooLarge,
    Io(io::Error),
}

/// The file's bytes, at most `largest` of them. Never blocks on a FIFO or a device.
pub(crate) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, Unreadable> {
    let mut file = open(path)?;
    let metadata = file.metadata().map_err(Unreadable::Io)?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        return Err(Unreadable::NotAFile(match () {
            _ if kind.is_dir() => "a directory",
            _ if kind.is_fifo() => "a FIFO",
            _ => "a device",
        }));
    }
    if metadata.len() > largest {
        return Err(Unreadable::TooLarge);
    }
    // As many bytes as there are, so that no second read must find the end. One that says 0 may yet have some, as in /proc.
    let most = if metadata.len() == 0 { largest.saturating_add(1) } else { metadata.len() };
    let mut text = Vec::with_capacity(metadata.len() as usize);
    (&mut file).take(most).read_to_end(&mut text).map_err(Unreadable::Io)?;
    if text.len() as u64 > largest { Err(Unreadable::TooLarge) } else { Ok(text) }
}

fn open(path: &Path) -> Result<File, Unreadable> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    open.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Unreadable::Missing,
        Some(libc::ENXIO) => Unreadable::NotAFile("a socket or a device"),
        _ => Unreadable::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit_and_no_further() {
        let path = std::env::temp_dir().join(format!("manifest-cache-file-{}", std::process::id()));
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(Unreadable::TooLarge)));
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, 4), Err(Unreadable::Missing)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_says_it_is_empty_is_read_all_the_same() {
        let status = Path::new("/proc/self/status");
        assert!(read(status, 1 << 20).unwrap().starts_with(b"Name:"));
        assert!(matches!(read(status, 9), Err(Unreadable::TooLarge)));
    }

    #[test]
    fn what_is_no_regular_file_is_told_by_name() {
        assert!(matches!(read(Path::new("/"), 9), Err(Unreadable::NotAFile("a directory"))));
        assert!(matches!(read(Path::new("/dev/zero"), 9), Err(Unreadable::NotAFile("a device"))));
        assert!(matches!(read(Path::new("/dev/null/manifest.json"), 9), Err(Unreadable::Missing)));
    }

    #[test]
    fn another_trouble_keeps_its_errno() {
        let name = "x".repeat(300);
        match read(Path::new(&format!("/{name}")), 9) {
            Err(Unreadable::Io(error)) => assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG)),
            other => panic!("{other:?}"),
        }
    }
}
