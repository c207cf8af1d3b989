//! Whether the file system of a file has reliable sizes and times.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Whether the file is on a file system that only this machine writes to, so that its size is right
/// and its times change with its content. A file system that is not in the list counts as not
/// local: on NFS and FUSE the times may be seconds old, and in /proc and sysfs they mean nothing.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_local(file: &File) -> bool {
    kind(file).is_some_and(|kind| LOCAL.iter().any(|(magic, _)| *magic == kind))
}

/// The local file systems, the most common ones first, with their numbers from linux/magic.h and
/// their own sources. Two kinds are left out. File systems of images, such as squashfs, erofs and
/// iso9660: two images can have the same times and inodes, and one can be mounted in place of the
/// other. And file systems that several machines can write to, such as ocfs2 and gfs2.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LOCAL: [(u32, &str); 21] = [
    (0x0000_EF53, "ext2, ext3, ext4"),
    (0x794C_7630, "overlayfs"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0xF2F5_2010, "f2fs"),
    (0x2FC1_2FC1, "zfs"),
    (0xCA45_1A4E, "bcachefs"),
    (0x0000_4D44, "vfat, msdos"),
    (0x2011_BAB0, "exfat"),
    (0x7366_746E, "ntfs3"),
    (0x5346_544E, "ntfs"),
    (0x8584_58F6, "ramfs"),
    (0x5265_4973, "reiserfs"),
    (0x3153_464A, "jfs"),
    (0x0000_3434, "nilfs2"),
    (0x0000_482B, "hfsplus"),
    (0x0000_4244, "hfs"),
    (0x1501_3346, "udf"),
    (0x2405_1905, "ubifs"),
    (0x0000_72B6, "jffs2"),
];

#[cfg(any(target_os = "linux", target_os = "android"))]
fn kind(file: &File) -> Option<u32> {
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open, and there is room for the answer.
    let failed = unsafe { libc::fstatfs(file.as_raw_fd(), answer.as_mut_ptr()) } != 0;
    // SAFETY: the call did not fail, so it has filled the answer.
    (!failed).then(|| unsafe { answer.assume_init() }.f_type as u32)
}

/// The same on systems that report which file systems are local.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "openbsd"
))]
pub(super) fn is_local(file: &File) -> bool {
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open, and there is room for the answer.
    let failed = unsafe { libc::fstatfs(file.as_raw_fd(), answer.as_mut_ptr()) } != 0;
    // SAFETY: the call did not fail, so it has filled the answer.
    !failed && unsafe { answer.assume_init() }.f_flags as u64 & libc::MNT_LOCAL as u64 != 0
}

/// The same on systems that do not report it. Every file system counts as local.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "openbsd"
)))]
pub(super) fn is_local(_file: &File) -> bool {
    true
}

/// Makes the kernel ask the file's server for the current size and times. Those that the kernel has
/// cached can be seconds old, and a read ends at the cached size.
pub(super) fn refresh(file: &File) {
    // By the system call, because old versions of musl do not have `statx`. If it fails, the cached
    // size and times are used.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut answer = std::mem::MaybeUninit::<libc::statx>::uninit();
        // SAFETY: the descriptor is open, the path ends with a NUL, and there is room for the
        // answer.
        unsafe {
            libc::syscall(
                libc::SYS_statx,
                file.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | libc::AT_STATX_FORCE_SYNC,
                libc::STATX_BASIC_STATS,
                answer.as_mut_ptr(),
            )
        };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = file;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn proc_and_sysfs_are_not_local() {
        for path in ["/proc/version", "/sys/devices/system/cpu/possible"] {
            assert!(!is_local(&File::open(path).unwrap()), "{path}");
        }
    }

    #[test]
    fn tmpfs_is_local() {
        assert!(is_local(&File::open("/dev/shm").unwrap()));
    }

    #[test]
    fn each_file_system_is_listed_once() {
        let magics: std::collections::BTreeSet<_> = LOCAL.iter().map(|(magic, _)| magic).collect();
        assert_eq!(magics.len(), LOCAL.len());
    }
}
