"""What Python keeps of the manifests that are cached in C, so that a hit need not make it again.

C decides which manifests are fresh. What is kept is used only if C names its revision at that
moment, so it is never outdated when it is returned; it only takes up memory until it is removed.
"""

from __future__ import annotations

import json
from typing import Dict, Optional, TypeVar

from . import _library, _loading
from ._library import Handle

_SWEEP_ABOVE = 64
"""With more items than this, a cache looks for those whose entry was evicted in C."""


class Item:
    """What is kept of a manifest."""

    __slots__ = ("encoded_id", "revision")

    def __init__(self, encoded_id: bytes, revision: int) -> None:
        self.encoded_id = encoded_id
        self.revision = revision


ItemT = TypeVar("ItemT", bound=Item)


class Kept(Dict[str, ItemT]):
    """The items of one cache, by plugin id.

    A signal handler may clear or set between any two steps of these methods, so each step is one
    atomic operation, and what the handler sets is newer and stays.
    """

    __slots__ = ("handle", "sweep_above")  # without a __dict__, a hit takes less time

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.sweep_above = _SWEEP_ABOVE

    def keep(self, plugin_id: str, item: ItemT, outdated: Optional[ItemT]) -> None:
        """Keeps an item in place of ``outdated``, which was there before ``item`` was current."""
        self.remove(plugin_id, outdated)
        self.setdefault(plugin_id, item)
        if len(self) > self.sweep_above:
            self.sweep()

    def remove(self, plugin_id: str, item: Optional[ItemT]) -> None:
        """Removes an item, unless another one has replaced it."""
        if item is not None:
            with _loading.lock:
                removed = self.pop(plugin_id, None)
                if removed is not None and removed is not item:
                    self.setdefault(plugin_id, removed)

    def sweep(self) -> None:
        """Removes the items whose entry is gone in C, for example by ``Option.MAX_ENTRIES``."""
        items = list(self.items())
        entries = json.loads(_library.entries(self.handle).read())
        cached = {entry["revision"] for entry in entries}
        for plugin_id, item in items:
            if item.revision not in cached:
                self.remove(plugin_id, item)
        self.sweep_above = max(_SWEEP_ABOVE, 2 * len(self))
