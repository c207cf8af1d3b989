#!/usr/bin/env python3
"""A FUSE file system that shows another directory, with coarse times, wrong sizes or long caching.

    fuse.py DIRECTORY MOUNTPOINT [--times-of SECONDS] [--size BYTES] [--attributes-last SECONDS]

Prints "ready" when it is mounted. Needs the Python package mfusepy and the Debian package fuse3.
"""

import argparse
import os
from errno import ENOENT
from pathlib import Path
from typing import Any, Dict, List, Optional

import mfusepy


class View(mfusepy.Operations):
    use_ns = True

    def __init__(self, directory: Path, times_of: int, size: Optional[int]) -> None:
        self.directory = directory
        self.grain = times_of * 1_000_000_000
        self.size = size

    def init(self, path: str) -> None:
        print("ready", flush=True)

    def getattr(self, path: str, fh: Any = None) -> Dict[str, int]:
        try:
            status = os.stat(self.behind(path))
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno or ENOENT) from error
        names = "st_mode", "st_nlink", "st_uid", "st_gid", "st_size"
        shown = {name: getattr(status, name) for name in names}
        for name in "st_atime", "st_mtime", "st_ctime":
            exact = getattr(status, name + "_ns")
            shown[name] = exact - exact % self.grain
        if self.size is not None and os.path.isfile(self.behind(path)):
            shown["st_size"] = self.size
        return shown

    def readdir(self, path: str, fh: Any) -> List[str]:
        return [".", "..", *os.listdir(self.behind(path))]

    def open(self, path: str, flags: int) -> int:
        return os.open(self.behind(path), flags & os.O_ACCMODE)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def behind(self, path: str) -> Path:
        return self.directory / path.lstrip("/")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("mountpoint")
    parser.add_argument("--times-of", type=int, default=1)
    parser.add_argument("--size", type=int)
    parser.add_argument("--attributes-last", type=int, default=0)
    asked = parser.parse_args()
    mfusepy.FUSE(
        View(asked.directory, asked.times_of, asked.size),
        asked.mountpoint,
        foreground=True,
        nothreads=True,
        ro=True,  # otherwise the kernel asks for the attributes again after each read
        # With direct_io the kernel passes each read to this server, whatever the size is.
        direct_io=asked.size is not None,
        attr_timeout=asked.attributes_last,
        entry_timeout=asked.attributes_last,
    )


if __name__ == "__main__":
    main()
