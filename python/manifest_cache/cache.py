"""Manifests as JSON, byte for byte, from files or functions."""

from __future__ import annotations

import json
import os
from ctypes import byref
from enum import IntEnum
from types import TracebackType
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Type, Union

from . import _library, _loading
from ._encoding import encode_text
from ._library import ErrorRecord, Handle, encode_id, milliseconds
from .errors import ManifestCacheError, Status

__all__ = ["Cache", "Entry", "Manifest", "Option"]


class Option(IntEnum):
    """What ``set_option`` sets. Times are in milliseconds."""

    TTL_MS = 1
    """The time to live of what is stored from now on; ``Cache.FOREVER`` is for ever, 0 stores nothing."""
    STALE_IF_ERROR_MS = 2
    """How long past its expiry a manifest is still returned when its reload fails or brings an invalid one. Default 0, off."""
    RETRY_MS = 3
    """How long the loader is left alone after such a failure. Default 1 000."""
    STALE_WHILE_REVALIDATE_MS = 4
    """How long past its expiry a manifest is still returned to others while one caller reloads it. Default 0, off."""
    NEGATIVE_TTL_MS = 5
    """How long "not found" is remembered. ``clear`` forgets it. Default 0, off."""
    MAX_ENTRIES = 6
    """How many entries are held at most, remembered "not found"s included. Default 0, no bound."""
    MAX_BYTES = 7
    """How long all manifests held may be together, in bytes. Default 0, no bound."""
    MAX_MANIFEST_BYTES = 8
    """A manifest of more bytes is invalid. Default 16 MiB; never 0."""
    WAIT_MS = 9
    """How long a call waits for another thread's load before it fails. Default 30 000; 0 is for ever."""


class Manifest(NamedTuple):
    """A manifest that ``Cache`` returned."""

    data: bytes
    """Byte for byte as it was loaded."""
    revision: int
    """A number that it was given when it was made: unique in this process, never used again, never 0."""
    stale: str
    """Why it is an expired one, as ``Option.STALE_IF_ERROR_MS`` allows; else empty."""

    @property
    def text(self) -> str:
        """The same as a string."""
        return self.data.decode()


class Entry(NamedTuple):
    """What a cache holds of one plugin."""

    plugin_id: str
    age_ms: int
    """Time since it was stored or renewed."""
    ttl_ms: Optional[int]
    """Its time to live; ``None`` is for ever."""
    bytes: int
    """Length of the manifest; 0 for a remembered "not found"."""
    revision: int
    """As in ``Manifest``; 0 for a remembered "not found"."""
    expired: bool
    """True once the time to live is over."""


Loader = Callable[[str], Union[bytes, str, None]]
_Path = Union[str, "os.PathLike[str]"]


class Cache:
    """Manifests in memory, each for its time to live.

    All methods may be called from any thread at any time, from within a loader too. Failures are not cached.
    """

    FOREVER = _library.FOREVER
    """For ``Option.TTL_MS``: a time to live that never ends."""

    def __init__(self, ttl_seconds: Optional[float] = 300) -> None:
        """Make a new, empty cache; ``None`` keeps manifests for ever, 0 keeps none."""
        self._handle: Handle = _library.new(milliseconds(ttl_seconds))

    def get(self, plugin_id: str, loader: Optional[Loader] = None) -> Optional[Manifest]:
        """The manifest of a plugin, loaded by ``loader(plugin_id)`` if there is no fresh one.

        The loader returns JSON, or ``None`` if there is no such plugin; then this does too. It runs on this thread; if another
        thread is loading this plugin already, this call waits and shares that load's outcome. Its exceptions pass through.
        Without a loader this only looks.
        """
        return self._get(plugin_id, None if loader is None else _Function(plugin_id, loader))

    def load_file(self, plugin_id: str, path: _Path) -> Optional[Manifest]:
        """The manifest of a plugin, read from a file if there is no fresh one; ``None`` if there is no such file.

        When it has expired and the file is the same, it is renewed without being read. Replace files by renaming.
        """
        return self._get(plugin_id, _File(_library.load_file, path))

    def load_directory(self, plugin_id: str, root: _Path) -> Optional[Manifest]:
        """The same with the file ``root/plugin_id/manifest.json``.

        Raises ``ManifestCacheError`` if the id is not one plain component of a path.
        """
        return self._get(plugin_id, _File(_library.load_directory, root))

    def put(self, plugin_id: str, manifest: Union[bytes, str]) -> None:
        """Store a manifest that is already there. It is newer than any load in progress; ``{}`` clears the plugin."""
        encoded_id = encode_id(plugin_id)
        data = encode_text(plugin_id, manifest)
        error = ErrorRecord()
        handle = self._open_handle()
        if _library.put(handle, encoded_id, data, len(data), byref(error)) != Status.OK:
            raise error.as_exception()

    def revision(self, plugin_id: str) -> int:
        """The revision of the fresh manifest of a plugin, or 0 if there is none. Never loads, never waits.

        It tells a caller that keeps something made of a manifest whether that is still of the current one.
        """
        revision: int = _library.revision(self._open_handle(), encode_id(plugin_id))
        return revision

    def clear(self, plugin_id: Optional[str] = None) -> int:
        """Forget the manifest of one plugin, or of all plugins with ``None``; returns how many went.

        The empty string is an ordinary id here. A ``get`` that begins afterwards sees nothing of a load that began before.
        """
        encoded_id = None if plugin_id is None else encode_id(plugin_id)
        count: int = _library.clear(self._open_handle(), encoded_id)
        return count

    def purge(self) -> int:
        """Drop the entries that have expired and that no stale option can serve any more; returns how many went."""
        count: int = _library.purge(self._open_handle())
        return count

    def stats(self) -> Dict[str, Any]:
        """Statistics, as ``mc_stats`` in the C header tells."""
        stats: Dict[str, Any] = json.loads(_library.stats(self._open_handle()).read())
        return stats

    def entries(self) -> List[Entry]:
        """What is held, in no order."""
        return [
            Entry(**entry) for entry in json.loads(_library.entries(self._open_handle()).read())
        ]

    def set_option(self, option: Option, value: int) -> None:
        """Set an option, from now on. A bound holds when this returns."""
        set_option_of(self._open_handle(), option, value)

    def close(self) -> None:
        """Let go of everything. Calls in progress end normally; new ones raise ``ManifestCacheError``."""
        self._handle = Handle()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._handle:
            return "Cache(closed)"
        return f"Cache(entries={_library.stat(self._handle, _library.TOTAL_ENTRIES)})"

    def __getstate__(self) -> NoReturn:
        _library.refuse_copy(self)

    def _open_handle(self) -> Handle:
        return open_handle(self._handle)

    def _get(self, plugin_id: str, call: Optional[_loading.Call]) -> Optional[Manifest]:
        encoded_id = encode_id(plugin_id)
        handle = self._open_handle()
        if call is None:
            string, error = _loading.get(handle, encoded_id, None)
        else:
            with call:
                string, error = _loading.get(handle, encoded_id, call)
                call.raise_if_failed(string)
        if string:
            return Manifest(string.read(), _library.string_revision(string), error.text())
        if error.status == Status.NOT_FOUND:
            return None
        raise error.as_exception()


def open_handle(handle: Handle) -> Handle:
    """The handle of a cache, unless that is closed."""
    if not handle:
        raise ManifestCacheError(Status.INVALID_ARGUMENT, "this cache is closed")
    return handle


def set_option_of(handle: Handle, option: Option, value: int) -> None:
    """Sets an option of a cache."""
    if not 0 <= value <= _library.FOREVER:
        raise ValueError(f"an option's value is from 0 to {_library.FOREVER}, not {value}")
    if _library.set_option(handle, Option(option), value) != Status.OK:
        message = f"{Option(option).name} cannot be {value}"
        raise ManifestCacheError(Status.INVALID_ARGUMENT, message)


class _Function(_loading.Call):
    """A load by a function."""

    def __init__(self, plugin_id: str, loader: Loader) -> None:
        super().__init__()
        self.plugin_id = plugin_id
        self.loader = loader

    def answer(self, load: int) -> None:
        manifest = self.loader(self.plugin_id)
        if manifest is None:
            _library.load_not_found(load)
        else:
            data = encode_text(self.plugin_id, manifest)
            _library.load_json(load, data, len(data))


class _File(_loading.Call):
    """A load by C from a path."""

    def __init__(self, load_path: Callable[[int, bytes], int], path: _Path) -> None:
        super().__init__()
        self.load_path = load_path
        self.path = os.fsencode(path)
        if b"\0" in self.path:
            raise ValueError(f"a path cannot hold a NUL character: {path!r}")

    def answer(self, load: int) -> None:
        self.load_path(load, self.path)
