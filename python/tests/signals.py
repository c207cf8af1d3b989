"""Raises an exception in a signal handler, many times, at any instruction of ``get``.

    python signals.py [COUNT]

Each round, a timer raises one exception while the main thread gets. Some rounds load, some fail to
load, some load and decode a file, some wait for a load of another thread, and some end a load for
which another thread and a task of an event loop wait. The program prints where the exceptions
arrived. It fails if one did not reach the code that called ``get``, or if a load or a wait is left
over.
"""

from __future__ import annotations

import asyncio
import collections
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Counter, Dict, List, Optional

from manifest_cache import (
    AsyncManifestCacheService,
    ManifestCacheError,
    ManifestCacheService,
    _loading,
)

Manifest = Dict[str, Any]


class SoftLimit(Exception):
    """What the signal handler raises."""


class Main:
    """The main thread's rounds."""

    def __init__(self, folder: str) -> None:
        self.service = ManifestCacheService(0)  # each get loads or waits
        self.path = Path(folder) / "manifest.json"
        self.path.write_text('{"a": 1}')
        self.asynchronous = AsyncManifestCacheService(service=self.service)
        self.raised = 0
        self.is_over = False
        self.outcomes: Counter[str] = collections.Counter()

    def handler(self, *_: object) -> None:
        self.raised += 1
        raise SoftLimit

    def round(self, name: str, act: Callable[[], object]) -> None:
        try:
            self.act_until_raised(act)
            self.outcomes[f"{name}: lost"] += 1
        except SoftLimit as limit:
            frames = {frame.name for frame in traceback.extract_tb(limit.__traceback__)}
            where = "as it waited" if "_wait" in frames else "elsewhere"
            where = "as it ended a load" if "_end" in frames else where
            self.outcomes[f"{name}: reached the caller, raised {where}"] += 1
        except BaseException as error:
            self.outcomes[f"{name}: {type(error).__name__}: {str(error)[:90]}"] += 1

    def act_until_raised(self, act: Callable[[], object]) -> None:
        before = self.raised
        signal.setitimer(signal.ITIMER_REAL, random.uniform(20e-6, 400e-6))
        while self.raised == before:
            act()

    def load(self) -> None:
        self.service.get("mine", lambda plugin_id: {"id": plugin_id})

    def fail_to_load(self) -> None:
        def fail(plugin_id: str) -> Manifest:
            raise KeyError(plugin_id)

        try:
            self.service.get("broken", fail)
        except KeyError:
            pass

    def nest(self) -> None:
        def outer(plugin_id: str) -> Manifest:
            return {"inner": self.service.get("inner", lambda inner: {"id": inner})}

        self.service.get("outer", outer)

    def load_file(self) -> None:
        assert self.service.get_file("file", __file__ + "on", decode=len) is None
        assert self.service.get_file("file", self.path, decode=len) == 8

    def wait_or_be_waited_for(self) -> None:
        try:
            self.service.get("shared", lambda plugin_id: time.sleep(0.0001))
        except ManifestCacheError as error:  # the load of another was interrupted
            if "SoftLimit" not in error.message and "gave no answer" not in error.message:
                raise

    def share(self) -> None:
        """Another thread, which loads for a while, or waits."""
        while not self.is_over:
            try:
                self.service.get("shared", lambda plugin_id: time.sleep(0.0001))
            except ManifestCacheError:
                pass  # the main thread's load was interrupted
            time.sleep(0.0002)  # so that the main thread can be the one that loads

    async def share_as_task(self) -> None:
        async def load(plugin_id: str) -> Optional[Manifest]:
            await asyncio.sleep(0.0001)
            return None

        while not self.is_over:
            try:
                await self.asynchronous.get("shared", load)
            except ManifestCacheError:
                pass
            await asyncio.sleep(0.0002)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    unraisable: List[str] = []
    sys.unraisablehook = lambda lost: unraisable.append(f"{lost.exc_type.__name__} {lost.err_msg}")
    folder = tempfile.TemporaryDirectory()
    self = Main(folder.name)
    signal.signal(signal.SIGALRM, self.handler)
    others = [
        threading.Thread(target=self.share, daemon=True),
        threading.Thread(target=lambda: asyncio.run(self.share_as_task()), daemon=True),
    ]
    for other in others:
        other.start()
    kinds = [
        ("load", self.load),
        ("fail", self.fail_to_load),
        ("nest", self.nest),
        ("file", self.load_file),
        ("share", self.wait_or_be_waited_for),
    ]
    number = 0
    while self.raised < count:
        number += 1
        # Twice as many with others, as these are the harder ones.
        self.round(*kinds[min(number % 6, 4)])
    self.is_over = True
    for other in others:
        other.join(20)
    print(f"{number} rounds, {self.raised} exceptions raised")
    for outcome, times in sorted(self.outcomes.items()):
        print(f"{times:8} {outcome}")
    print(f"{len(unraisable):8} were only printed {collections.Counter(unraisable).most_common(3)}")
    loads = [load for reference in self.service._handle.loads.values() if (load := reference())]
    print(f"{len(loads):8} loads not ended, {len(_loading._turns)} waits left over")
    for plugin_id in ("mine", "broken", "inner", "outer", "file", "shared"):
        assert self.service.get(plugin_id, lambda _: {"a": 1}) == {"a": 1}
    reached = sum(n for outcome, n in self.outcomes.items() if "reached the caller" in outcome)
    is_right = reached == self.raised and not unraisable and not loads and not _loading._turns
    return 0 if is_right and not any(other.is_alive() for other in others) else 1


if __name__ == "__main__":
    sys.exit(main())
