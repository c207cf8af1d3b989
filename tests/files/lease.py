#!/usr/bin/env python3
"""Holds a lease on a file, as a file server does, and releases it when the kernel asks for it.

    lease.py FILE

Prints "ready" when it has the lease, or the reason why it cannot have it.
"""

import fcntl
import os
import signal
import sys
import time
from typing import Any


def main() -> None:
    file = os.open(sys.argv[1], os.O_RDWR)

    def release(*_: Any) -> None:
        time.sleep(0.02)  # an open that does not wait fails during this time
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    signal.signal(signal.SIGIO, release)
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        sys.exit(f"no lease on {sys.argv[1]}: {error.strerror}")
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
