//! Reads a manifest's file, whatever stands in its place, and tells later whether it is still the
//! same.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Why a file's text cannot be had.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Missing,
    /// What stands there instead.
    NotAFile(&'static str),
    TooLarge,
    /// It changed each time while it was read.
    Restless,
    Io(io::Error),
}

/// A file as it was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    path: PathBuf,
    identity: Identity,
    /// It had not changed for a while, so that a later change would show.
    is_settled: bool,
}

/// Device, inode, size, and the times of the last changes in nanoseconds.
type Identity = (u64, u64, u64, [i128; 2]);

/// Two changes of one size can leave the same times when they are as close as the system's clock
/// ticks.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

impl Stamp {
    /// Whether the file is certainly the same as when it was read; asks the system once.
    pub(crate) fn still_holds(&self, path: &Path) -> bool {
        self.is_settled
            && self.path == path
            && fs::metadata(path)
                .is_ok_and(|metadata| metadata.is_file() && identity(&metadata) == self.identity)
    }

    fn new(path: &Path, metadata: &Metadata) -> Self {
        let changed = identity(metadata).3.into_iter().max().unwrap_or_default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // What has a text and says it has none, as in /proc, does not say when it changes either.
        let is_settled = metadata.len() > 0
            && now.as_nanos() as i128 - changed >= SETTLED_AFTER.as_nanos() as i128;
        Stamp { path: path.to_owned(), identity: identity(metadata), is_settled }
    }
}

fn identity(metadata: &Metadata) -> Identity {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let times = [
        nanos(metadata.mtime(), metadata.mtime_nsec()),
        nanos(metadata.ctime(), metadata.ctime_nsec()),
    ];
    (metadata.dev(), metadata.ino(), metadata.size(), times)
}

/// The file's bytes, at most `largest` of them. Never blocks on a FIFO or a device. A file that
/// changes while it is read is read again, twice at most.
pub(crate) fn read(path: &Path, largest: u64) -> Result<(Vec<u8>, Stamp), Unreadable> {
    for _ in 0..3 {
        let mut file = open(path)?;
        let before = file.metadata().map_err(Unreadable::Io)?;
        let text = read_once(&mut file, &before, largest)?;
        let after = file.metadata().map_err(Unreadable::Io)?;
        let is_whole = after.len() == text.len() as u64 || after.len() == 0;
        if is_whole && identity(&before) == identity(&after) {
            return Ok((text, Stamp::new(path, &after)));
        }
    }
    Err(Unreadable::Restless)
}

fn read_once(file: &mut File, metadata: &Metadata, largest: u64) -> Result<Vec<u8>, Unreadable> {
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
    // As many bytes as there are, so that no second read must find the end. One that says 0 may yet
    // have some, as in /proc.
    let most = if metadata.len() == 0 { largest.saturating_add(1) } else { metadata.len() };
    let mut text = Vec::with_capacity(metadata.len() as usize);
    file.take(most).read_to_end(&mut text).map_err(Unreadable::Io)?;
    if text.len() as u64 > largest { Err(Unreadable::TooLarge) } else { Ok(text) }
}

fn open(path: &Path) -> Result<File, Unreadable> {
    let open =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
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
        assert_eq!(read(&path, 5).unwrap().0, b"12345");
        assert!(matches!(read(&path, 4), Err(Unreadable::TooLarge)));
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path, 4).unwrap().0, b"");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, 4), Err(Unreadable::Missing)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_says_it_is_empty_is_read_all_the_same() {
        let status = Path::new("/proc/self/status");
        assert!(read(status, 1 << 20).unwrap().0.starts_with(b"Name:"));
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
            Err(Unreadable::Io(error)) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stamp_holds_until_the_file_changes_and_only_if_it_was_settled() {
        let path =
            std::env::temp_dir().join(format!("manifest-cache-stamp-{}", std::process::id()));
        let other = path.with_extension("other");
        fs::write(&path, "12345").unwrap();
        let fresh = read(&path, 9).unwrap().1;
        assert!(!fresh.is_settled && !fresh.still_holds(&path), "it was written just now");
        // Its change time is now whatever one does, so as if time had passed:
        let settled = Stamp { is_settled: true, ..fresh };
        assert!(settled.still_holds(&path) && !settled.still_holds(&other));
        fs::write(&other, "12345").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!settled.still_holds(&path), "another file of the same size is there");
        fs::remove_file(&path).unwrap();
        assert!(!settled.still_holds(&path));
    }
}
