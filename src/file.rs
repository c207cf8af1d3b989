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
    // One byte more than there is, so that one read finds the end of a file of that size.
    let mut text = Vec::with_capacity(metadata.len() as usize + 1);
    (&mut file).take(largest.saturating_add(1)).read_to_end(&mut text).map_err(Unreadable::Io)?;
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
