"""``Cache``: manifests as JSON text, byte for byte, from files or functions."""

from __future__ import annotations

import json
from ctypes import byref
from enum import IntEnum
from types import TracebackType
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Type, Union

from . import _library, _loading
from ._encoding import Path, encode_path, encode_text
from ._kept import Item, Kept
from ._library import ErrorRecord, Handle, Load, OwnedString, encode_id, milliseconds
from .errors import ManifestCacheError, Status

__all__ = ["Cache", "Entry", "Manifest", "Option", "Syntax"]


class Option(IntEnum):
    """The options of ``set_option``. Times are in milliseconds."""

    TTL_MS = 1
    """The time to live of manifests that are stored from now on. ``Cache.FOREVER`` is for ever;
    with 0 nothing is stored."""
    STALE_IF_ERROR_MS = 2
    """For how long after its expiry a manifest is still returned if its reload fails or returns an
    invalid manifest. Default 0: off."""
    RETRY_MS = 3
    """For how long after such a failure the loader is not called again. Default 1 000."""
    STALE_WHILE_REVALIDATE_MS = 4
    """For how long after its expiry a manifest is still returned to others while one caller reloads
    it. Default 0: off."""
    NEGATIVE_TTL_MS = 5
    """For how long the cache remembers that there is no such plugin. ``clear``, ``put`` and ``set``
    make it forget that. Default 0: off."""
    MAX_ENTRIES = 6
    """The largest number of entries; a remembered "not found" or failure is one too. Default 0: no
    limit."""
    MAX_BYTES = 7
    """How many bytes the entries occupy at most. An entry counts the length of its manifest, the
    length of its id, and 384 bytes more; a remembered failure counts the length of its message.
    Default 0: no limit."""
    MAX_MANIFEST_BYTES = 8
    """A longer manifest is invalid, also one that a load finds unchanged. Default 16 MiB; it cannot
    be 0."""
    WAIT_MS = 9
    """For how long a call waits for another caller's load before it fails. That load goes on and
    its manifest is still cached, unless a later load has ended before. But no further call waits
    for it: the next one calls its own loader. Default 30 000; 0 is for ever."""
    SYNTAX = 10
    """What manifests that are loaded or put from now on are written in: a ``Syntax``. Default
    ``Syntax.JSON``. In a ``ManifestCacheService`` it matters to ``get_file`` and
    ``get_directory`` only, which then need a ``decode`` function that reads it."""
    FAILURE_TTL_MS = 11
    """For how long the cache remembers that a load failed or returned an invalid manifest: ``get``
    raises ``ManifestCacheError`` with the same message again and does not call the loader. So a
    broken manifest is not read at each call. An exception of the loader itself is raised only by
    the ``get`` that called the loader. ``clear``, ``put`` and ``set`` make the cache forget the
    failure. While ``STALE_IF_ERROR_MS`` allows the expired manifest to be returned, ``RETRY_MS``
    applies instead. Default 0: off."""


class Syntax(IntEnum):
    """The values of ``Option.SYNTAX``."""

    JSON = 0
    """JSON as RFC 8259 defines it."""
    JSONC = 1
    """JSON that may also have a byte order mark at the start, comments and trailing commas. They
    are returned with the manifest, so ``json.loads`` cannot read it."""


class Manifest(NamedTuple):
    """A manifest that ``Cache`` returned."""

    data: bytes
    """The JSON, byte for byte as it was loaded."""
    revision: int
    """The number of this manifest: unique in this process, never used again, never 0."""
    stale: str
    """Empty, or why the reload of this expired manifest failed (``Option.STALE_IF_ERROR_MS``)."""

    @property
    def text(self) -> str:
        """``data`` as a string."""
        return self.data.decode()


class Entry(NamedTuple):
    """An entry of a cache: the manifest of a plugin, or a remembered "not found" or failure."""

    plugin_id: str
    age_ms: int
    """Time since it was stored or renewed."""
    ttl_ms: Optional[int]
    """Its time to live; ``None`` is for ever."""
    bytes: int
    """Length of the manifest; 0 for a remembered "not found" or failure."""
    revision: int
    """As in ``Manifest``; 0 for a remembered "not found" or failure."""
    expired: bool
    """True when its time to live is over."""


Loader = Callable[[str], Union[bytes, str, None]]

# A global name for what a hit uses: it costs less than an attribute.
_revision = _library.revision


class _Kept(Item):
    """A ``Manifest`` that is cached in C, and not stale."""

    __slots__ = ("manifest",)

    def __init__(self, encoded_id: bytes, manifest: Manifest) -> None:
        super().__init__(encoded_id, manifest.revision)
        self.manifest = manifest


class Cache:
    """Keeps manifests as JSON text in memory, each for its time to live.

    Any thread may call any method at any time; a loader may too. Failures are not cached, unless
    ``Option.FAILURE_TTL_MS`` is set. A cache can be neither copied nor pickled.
    """

    FOREVER = _library.FOREVER
    """For ``Option.TTL_MS``: a time to live that never ends."""

    def __init__(self, ttl_seconds: Optional[float] = 300) -> None:
        """Make a new, empty cache. ``None`` keeps manifests for ever; 0 keeps none."""
        self._handle: Handle = _library.new(milliseconds(ttl_seconds))
        self._kept: Kept[_Kept] = Kept(self._handle)

    def get(self, plugin_id: str, loader: Optional[Loader] = None) -> Optional[Manifest]:
        """Return the manifest of a plugin. If there is no fresh one, call ``loader(plugin_id)``.

        The loader returns JSON, or ``None`` if there is no such plugin; then this method returns
        ``None`` too. It runs on this thread, and its exceptions reach the caller. If another thread
        is already loading this plugin, this call waits for that load and returns its result.
        Without a loader this returns the fresh manifest or ``None``.
        """
        kept = self._kept.get(plugin_id)
        if kept is not None and _revision(self._handle, kept.encoded_id) == kept.revision:
            return kept.manifest
        if loader is None:
            call = _Call(self, plugin_id)
            return _loading.look_up(call.handle, call.encoded_id, call)
        return self._get(_Function(self, plugin_id, loader))

    def load_file(self, plugin_id: str, path: Path) -> Optional[Manifest]:
        """Return the manifest of a plugin; read it from a file if there is no fresh one.

        Returns ``None`` if there is no such file. A manifest that has expired is renewed without
        being read if the file has not changed. To replace a file, rename a new one over it.
        """
        kept = self._kept.get(plugin_id)
        if kept is not None and _revision(self._handle, kept.encoded_id) == kept.revision:
            return kept.manifest
        return self._get(_File(self, plugin_id, _library.load_file, path))

    def load_directory(
        self, plugin_id: str, root: Path, name: str = "manifest.json"
    ) -> Optional[Manifest]:
        """The same as ``load_file`` with the path ``root/plugin_id/name``.

        Raises ``ManifestCacheError`` if the id is neither a plain file name nor ``@scope/name``, or
        if the name is not a plain file name.
        """
        kept = self._kept.get(plugin_id)
        if kept is not None and _revision(self._handle, kept.encoded_id) == kept.revision:
            return kept.manifest
        return self._get(_File(self, plugin_id, _library.load_directory_file, root, name))

    def put(self, plugin_id: str, manifest: Union[bytes, str]) -> None:
        """Store a manifest that the caller already has; ``{}`` clears the plugin.

        It is newer than what any load in progress will return.
        """
        encoded_id = encode_id(plugin_id)
        data = encode_text(plugin_id, manifest)
        error = ErrorRecord()
        kept = self._kept
        before = kept.get(plugin_id)
        handle = open_handle(kept.handle)
        if _library.put(handle, encoded_id, data, len(data), byref(error)) != Status.OK:
            raise error.as_exception()
        kept.remove(plugin_id, before)

    def revision(self, plugin_id: str) -> int:
        """Return the revision of a plugin's fresh manifest, or 0 if there is none.

        Never loads and never waits. Compare it with ``Manifest.revision`` to see whether data that
        was derived from a manifest is current.
        """
        revision: int = _library.revision(self._open_handle(), encode_id(plugin_id))
        return revision

    def clear(self, plugin_id: Optional[str] = None) -> int:
        """Remove the manifest of one plugin, or all with ``None``; return the number removed.

        The empty string is an ordinary id here. A ``get`` that begins after this returned does not
        see the result of a load that began before.
        """
        encoded_id = None if plugin_id is None else encode_id(plugin_id)
        kept = self._kept
        before = list(kept.items()) if plugin_id is None else [(plugin_id, kept.get(plugin_id))]
        count: int = _library.clear(open_handle(kept.handle), encoded_id)
        for id_before, item in before:
            kept.remove(id_before, item)
        return count

    def purge(self) -> int:
        """Remove the entries that have expired and that no stale option can use any more.

        Returns the number removed.
        """
        count: int = _library.purge(self._open_handle())
        return count

    def stats(self) -> Dict[str, Any]:
        """Return the statistics that the C header describes at ``mc_stats``."""
        stats: Dict[str, Any] = json.loads(_library.stats(self._open_handle()).read())
        return stats

    def entries(self) -> List[Entry]:
        """Return the entries, in no particular order."""
        return [
            Entry(**entry) for entry in json.loads(_library.entries(self._open_handle()).read())
        ]

    def set_option(self, option: Option, value: int) -> None:
        """Set an option. Entries beyond a new limit are removed before this returns."""
        set_option_of(self._open_handle(), option, value)

    def advance(self, seconds: float) -> None:
        """Make the cache behave as if ``seconds`` had passed, for tests of expiry.

        To let manifests expire, advance by one second more than their time to live: the clock is
        coarse. Calls that wait for another caller's load time out. Other caches do not notice.
        """
        advance_time_of(self._open_handle(), seconds)

    def close(self) -> None:
        """Free the cache. Calls in progress end normally; new ones raise ``ManifestCacheError``."""
        self._handle = Handle()
        self._kept = Kept(self._handle)

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

    def _get(self, call: _Call) -> Optional[Manifest]:
        return _loading.get(call.handle, call.encoded_id, call)


def open_handle(handle: Handle) -> Handle:
    """Returns ``handle``. Raises ``ManifestCacheError`` if the cache is closed."""
    if not handle:
        raise ManifestCacheError(Status.INVALID_ARGUMENT, "this cache is closed")
    return handle


def set_option_of(handle: Handle, option: Option, value: int) -> None:
    """Sets an option of a cache."""
    if not 0 <= value <= _library.FOREVER:
        raise ValueError(f"the value of an option is from 0 to {_library.FOREVER}, not {value}")
    if _library.set_option(handle, Option(option), value) != Status.OK:
        message = f"{Option(option).name} cannot be {value}"
        raise ManifestCacheError(Status.INVALID_ARGUMENT, message)
    if option == Option.WAIT_MS:
        handle.wait_ms = value


def advance_time_of(handle: Handle, seconds: float) -> None:
    """Makes a cache behave as if ``seconds`` had passed."""
    if not seconds >= 0:  # also NaN
        raise ValueError(f"time can be advanced by 0 seconds or more, not by {seconds}")
    _library.advance(handle, milliseconds(seconds))
    if _loading.is_waited_for(handle):
        _loading.end_overdue_waits(handle)


class _Call(_loading.Call[Optional[Manifest]]):
    """A call of a method of ``Cache`` that found no kept manifest that is fresh."""

    def __init__(self, cache: Cache, plugin_id: str) -> None:
        self.plugin_id = plugin_id
        self.kept = cache._kept
        self.handle = open_handle(self.kept.handle)
        self.encoded_id = encode_id(plugin_id)
        self.before = self.kept.get(plugin_id)
        """What was kept of this plugin when the call began."""

    def result(
        self, string: OwnedString, error: ErrorRecord, load: Optional[Load] = None
    ) -> Optional[Manifest]:
        before = self.before
        if not string:
            self.forget()
            if error.status == Status.NOT_FOUND:
                return None
            raise error.as_exception()
        revision = _library.string_revision(string)
        if before is not None and before.revision != revision:
            self.forget()
        if error.status != Status.OK:
            return Manifest(string.read(), revision, error.text())
        if before is not None and before.revision == revision:
            return before.manifest
        return Manifest(string.read(), revision, "")

    def found(self, string: OwnedString, error: ErrorRecord) -> Optional[Manifest]:
        """What was cached is kept from its first hit on.

        Not from its load on: C may not have cached it, and to ask for the revision counts as a hit.
        """
        manifest = self.result(string, error)
        if manifest is not None and not manifest.stale:
            self.kept.keep(self.plugin_id, _Kept(self.encoded_id, manifest), self.before)
        return manifest

    def forget(self) -> None:
        self.kept.remove(self.plugin_id, self.before)


class _Function(_Call):
    """A call whose loader is a function."""

    def __init__(self, cache: Cache, plugin_id: str, loader: Loader) -> None:
        super().__init__(cache, plugin_id)
        self.loader = loader

    def answer(self, load: Load) -> None:
        manifest = self.loader(self.plugin_id)
        if manifest is None:
            _library.load_not_found(load)
        else:
            data = encode_text(self.plugin_id, manifest)
            _library.load_json(load, data, len(data))


class _File(_Call):
    """A call that C answers by reading a file."""

    def __init__(
        self, cache: Cache, plugin_id: str, load_path: Callable[..., int], *paths: Path
    ) -> None:
        super().__init__(cache, plugin_id)
        self.load_path = load_path
        self.paths = [encode_path(path) for path in paths]

    def answer(self, load: Load) -> None:
        self.load_path(load, *self.paths)
