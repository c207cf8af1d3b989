//! What is remembered of a file, to tell later without reading it that it is still the same.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file as it was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    path: PathBuf,
    identity: Identity,
    /// Whether any later change gives the file another identity.
    is_trusted: bool,
}

impl Stamp {
    pub(super) fn new(path: &Path, identity: Identity, is_trusted: bool) -> Self {
        Stamp { path: path.to_owned(), identity, is_trusted }
    }

    /// Whether the file is certainly the same as when it was read; asks the system once.
    pub(super) fn still_holds(&self, path: &Path) -> bool {
        self.is_trusted
            && self.path == path
            && fs::metadata(path).is_ok_and(|metadata| {
                metadata.is_file() && Identity::from(&metadata) == self.identity
            })
    }
}

/// Which file it is, and all that the system changes with its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Another file system that is mounted in the same place has another one.
    device: u64,
    inode: u64,
    pub(super) size: u64,
    /// When the content changed, in nanoseconds since 1970. Programs can set it.
    modified_ns: i128,
    /// When anything of the file changed, which only the system sets.
    changed_ns: i128,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds, rest| i128::from(seconds) * SECOND_NS + i128::from(rest);
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

const SECOND_NS: i128 = 1_000_000_000;

/// Two changes can have the same time when they are as close as the system's clock ticks.
const CLOCK_TICK: Duration = Duration::from_millis(100);

/// Some file systems keep times in whole seconds, as ext3 with inodes of 128 bytes does, or in
/// every second one, as FAT does.
const COARSEST_TIMES: Duration = Duration::from_secs(2);

impl Identity {
    /// Whether every change after `now` gives the file another time.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let are_whole_seconds =
            self.modified_ns % SECOND_NS == 0 && self.changed_ns % SECOND_NS == 0;
        let closest = if are_whole_seconds { COARSEST_TIMES + CLOCK_TICK } else { CLOCK_TICK };
        let age_ns = now.as_nanos() as i128 - self.modified_ns.max(self.changed_ns);
        age_ns > closest.as_nanos() as i128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = 1_000_000;

    /// Whether a file with these times would be settled at a whole second, these many
    /// milliseconds ago.
    fn is_settled_after(modified_ms: i128, changed_ms: i128) -> bool {
        let now_ms: i128 = 1_700_000_000_000;
        let identity = Identity {
            device: 1,
            inode: 2,
            size: 3,
            modified_ns: (now_ms - modified_ms) * MS,
            changed_ns: (now_ms - changed_ms) * MS,
        };
        identity.is_settled(SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms as u64))
    }

    #[test]
    fn a_file_is_settled_when_both_its_times_are_older_than_a_clock_tick() {
        assert!(is_settled_after(101, 101) && is_settled_after(5000, 101));
        assert!(!is_settled_after(100, 100));
        assert!(!is_settled_after(99, 5001) && !is_settled_after(5001, 99));
    }

    #[test]
    fn a_file_with_times_of_whole_seconds_is_settled_only_after_more_than_two_seconds() {
        assert!(!is_settled_after(1000, 1000) && !is_settled_after(2000, 2000));
        assert!(is_settled_after(3000, 3000));
        // A change right now may be written down as one of almost two seconds ago.
        assert!(!is_settled_after(7000, 2000));
        // A program set the first one; the system's own is a fine one.
        assert!(is_settled_after(1000, 999));
    }

    #[test]
    fn a_file_from_the_future_is_not_settled() {
        assert!(!is_settled_after(-5001, 5001) && !is_settled_after(5001, -5001));
    }

    #[test]
    fn a_stamp_holds_until_the_file_changes_and_only_if_it_is_trusted() {
        let path =
            std::env::temp_dir().join(format!("manifest-cache-stamp-{}", std::process::id()));
        let other = path.with_extension("other");
        fs::write(&path, "12345").unwrap();
        let identity = Identity::from(&fs::metadata(&path).unwrap());
        assert!(!Stamp::new(&path, identity, false).still_holds(&path));
        let trusted = Stamp::new(&path, identity, true);
        assert!(trusted.still_holds(&path) && !trusted.still_holds(&other));
        fs::write(&other, "12345").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!trusted.still_holds(&path), "another file of the same size is there");
        fs::remove_file(&path).unwrap();
        assert!(!trusted.still_holds(&path));
    }
}
