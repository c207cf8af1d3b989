"""``ManifestCacheService``: manifests as dicts, loaded by a function of the host."""

from __future__ import annotations

import json
import logging
import time
from ctypes import byref
from types import TracebackType
from typing import Any, Callable, Dict, NoReturn, Optional, Type, TypeVar, cast, overload

from . import _library, _loading
from ._encoding import Path, encode_dict, encode_path
from ._kept import Item, Kept
from ._library import ErrorRecord, Handle, Load, OwnedString, encode_id, milliseconds
from .cache import Option, advance_time_of, open_handle, set_option_of
from .errors import Status

__all__ = ["ManifestCacheService"]

logger = logging.getLogger("manifest_cache")

Manifest = Dict[str, Any]
LoaderFunc = Callable[[str], Optional[Manifest]]
Value = TypeVar("Value")
Decode = Callable[[bytes], Any]

# Global names for what a hit uses: they cost less than attributes.
_revision = _library.revision
_is_logged = logger.isEnabledFor
_DEBUG = logging.DEBUG

_DECODERS_KEPT = 8
"""The values of how many ``decode`` functions are kept for one manifest."""


class _Decoded(Item):
    """What Python has decoded of a manifest that is cached in C."""

    __slots__ = ("manifest", "values", "ttl_seconds", "cached_at")

    def __init__(self, encoded_id: bytes, revision: int, ttl_seconds: float) -> None:
        super().__init__(encoded_id, revision)
        self.manifest: Optional[Manifest] = None
        """The dict, once somebody has asked for it."""
        self.values: Dict[Decode, Any] = {}
        """What each ``decode`` function made of it."""
        self.ttl_seconds = ttl_seconds
        self.cached_at = time.monotonic()

    def get(self, decode: Optional[Decode]) -> Any:
        """Returns the value of a ``decode`` function, or the dict; ``None`` if there is none."""
        return self.manifest if decode is None else self.values.get(decode)

    def keep(self, decode: Optional[Decode], value: Any) -> Any:
        """Keeps a value, unless there is one already; returns the one that there is now."""
        with _loading.lock:
            kept = self.get(decode)
            if kept is not None:
                return kept
            if decode is None:
                self.manifest = value
            else:
                if len(self.values) >= _DECODERS_KEPT:  # a new lambda in each call, for example
                    self.values.clear()
                self.values[decode] = value
            return value

    def __repr__(self) -> str:
        age = time.monotonic() - self.cached_at
        return f"CacheEntry(age={age:.1f}s, ttl={self.ttl_seconds}s)"


class ManifestCacheService:
    """Keeps plugin manifests as dicts in memory, each for its time to live.

    Any thread may call any method at any time; a loader may too. A cache can be neither copied nor
    pickled.
    """

    # C keeps the manifests as JSON text and decides which are fresh. ``_decoded`` has the dict of
    # each; ``_kept`` says more.

    def __init__(self, ttl_seconds: float = 300) -> None:
        """Make a new, empty cache.

        A manifest stays fresh for ``ttl_seconds`` after its load. With 0 nothing is kept;
        ``math.inf`` is for ever.
        """
        self._ttl_seconds = ttl_seconds
        self._handle: Handle = _library.new(milliseconds(ttl_seconds))
        self._decoded: Kept[_Decoded] = Kept(self._handle)
        logger.info(f"Initialized ManifestCacheService (TTL={ttl_seconds}s)")

    def get(self, plugin_id: str, loader_func: Optional[LoaderFunc] = None) -> Optional[Manifest]:
        """Return the manifest of a plugin; call ``loader_func(plugin_id)`` if none is fresh.

        While a manifest is fresh, this returns the same dict each time: the one that the loader
        returned. Do not change it. If the loader returns ``None`` or an empty dict, this returns it
        too and caches nothing. Without a loader this returns the fresh manifest or ``None``.

        The loader runs on this thread, and its exceptions reach the caller. If another thread is
        already loading this plugin, this call waits for that load and returns its result; if that
        load fails, this raises ``ManifestCacheError``. So does a call that finds a remembered
        failure (``Option.FAILURE_TTL_MS``).
        """
        decoded = self._decoded.get(plugin_id)
        if decoded is not None:
            manifest = decoded.manifest
            if (
                manifest is not None
                and _revision(self._handle, decoded.encoded_id) == decoded.revision
            ):
                if _is_logged(_DEBUG):
                    self._log_hit(plugin_id, decoded)
                return manifest
        return self._get_from_c(plugin_id, loader_func)

    @overload
    def get_file(self, plugin_id: str, path: Path) -> Optional[Any]: ...

    @overload
    def get_file(
        self, plugin_id: str, path: Path, *, decode: Callable[[bytes], Value]
    ) -> Optional[Value]: ...

    def get_file(self, plugin_id: str, path: Path, *, decode: Optional[Decode] = None) -> Any:
        """Return the manifest of a plugin as a dict; read it from a file if none is fresh.

        Returns ``None`` if there is no such file. While the manifest is fresh, this returns the
        same dict each time; do not change it. When it has expired and the file has not changed,
        one look at the file renews it, and the dict stays the same. To replace a file, rename a
        new one over it. The dict is typed ``Any``, so that it can be assigned to a ``TypedDict``.

        With ``decode`` this returns what ``decode(text)`` made of the JSON, which is ``bytes``. It
        runs once for each revision of the manifest, while the manifest is loaded: if it raises,
        that load has failed, as when a loader raises. It must not return ``None``. Pass the same
        function each time, not a new lambda.
        """
        decoded = self._decoded.get(plugin_id)
        if decoded is not None:
            value = decoded.manifest if decode is None else decoded.values.get(decode)
            if (
                value is not None
                and _revision(self._handle, decoded.encoded_id) == decoded.revision
            ):
                if _is_logged(_DEBUG):
                    self._log_hit(plugin_id, decoded)
                return value
        call = FileCall(self, plugin_id, decode, _library.load_file, path)
        return _loading.get(call.handle, call.encoded_id, call)

    @overload
    def get_directory(
        self, plugin_id: str, root: Path, name: str = "manifest.json"
    ) -> Optional[Any]: ...

    @overload
    def get_directory(
        self,
        plugin_id: str,
        root: Path,
        name: str = "manifest.json",
        *,
        decode: Callable[[bytes], Value],
    ) -> Optional[Value]: ...

    def get_directory(
        self,
        plugin_id: str,
        root: Path,
        name: str = "manifest.json",
        *,
        decode: Optional[Decode] = None,
    ) -> Any:
        """The same as ``get_file`` with the path ``root/plugin_id/name``.

        Raises ``ManifestCacheError`` if the id is neither a plain file name nor ``@scope/name``, or
        if the name is not a plain file name.
        """
        decoded = self._decoded.get(plugin_id)
        if decoded is not None:
            value = decoded.manifest if decode is None else decoded.values.get(decode)
            if (
                value is not None
                and _revision(self._handle, decoded.encoded_id) == decoded.revision
            ):
                if _is_logged(_DEBUG):
                    self._log_hit(plugin_id, decoded)
                return value
        call = FileCall(self, plugin_id, decode, _library.load_directory_file, root, name)
        return _loading.get(call.handle, call.encoded_id, call)

    def set(self, plugin_id: str, manifest: Manifest) -> None:
        """Cache a manifest that the caller already has; ``{}`` clears the plugin.

        It is newer than what any load in progress will return.
        """
        encoded_id = encode_id(plugin_id)
        text = encode_dict(plugin_id, manifest)
        handle = self._open_handle()
        error = ErrorRecord()
        decoded = None
        with _loading.lock:
            before = self._decoded.get(plugin_id)
            if _library.put(handle, encoded_id, text, len(text), byref(error)) != Status.OK:
                raise error.as_exception()
            self._decoded.remove(plugin_id, before)
            string = _library.look_up(handle, encoded_id, None, None, None)
            # There may be none, with a short time to live; or a later one, of another thread.
            if string and string.read() == text:
                decoded = self._new_decoded(encoded_id, _library.string_revision(string))
                decoded.keep(None, manifest)
                keep_if_cached(self._decoded, plugin_id, decoded, None)
        if decoded is not None:
            self._log_cached(plugin_id, decoded)

    def clear(self, plugin_id: Optional[str] = None) -> None:
        """Remove the manifest of one plugin, or all if ``plugin_id`` is ``None`` or empty.

        A ``get`` that begins after this returned does not see the result of a load that began
        before.
        """
        if not plugin_id:
            handle = self._open_handle()
            with _loading.lock:
                count = _library.clear(handle, None)
                self._decoded.clear()
            logger.info(f"Cleared entire manifest cache ({count} entries)")
            return
        encoded_id = encode_id(plugin_id)
        handle = self._open_handle()
        with _loading.lock:
            count = _library.clear(handle, encoded_id)
            self._decoded.pop(plugin_id, None)
        if count:
            logger.info(f"Cleared cache for plugin '{plugin_id}'")

    def stats(self) -> Dict[str, Any]:
        """Return ``total_entries``, ``expired_entries`` and ``ttl_seconds``."""
        stats = json.loads(_library.stats(self._open_handle()).read())
        return {
            "total_entries": stats["total_entries"],
            "expired_entries": stats["expired_entries"],
            "ttl_seconds": self._ttl_seconds,
        }

    def set_option(self, option: Option, value: int) -> None:
        """Set an option. Entries beyond a new limit are removed before this returns."""
        if option == Option.TTL_MS:
            raise ValueError("set the time to live through the attribute ttl_seconds")
        set_option_of(self._open_handle(), option, value)

    def advance(self, seconds: float) -> None:
        """Make the cache behave as if ``seconds`` had passed, for tests of expiry.

        To let manifests expire, advance by one second more than their time to live: the clock is
        coarse. Calls that wait for another caller's load time out. Other caches do not notice.
        """
        handle = self._open_handle()
        with _loading.lock:
            advance_time_of(handle, seconds)
            for decoded in list(self._decoded.values()):
                decoded.cached_at -= seconds

    @property
    def ttl_seconds(self) -> float:
        """The time to live of manifests that are cached from now on."""
        return self._ttl_seconds

    @ttl_seconds.setter
    def ttl_seconds(self, ttl_seconds: float) -> None:
        set_option_of(self._open_handle(), Option.TTL_MS, milliseconds(ttl_seconds))
        self._ttl_seconds = ttl_seconds

    def close(self) -> None:
        """Free the cache. Calls in progress end normally; new ones raise ``ManifestCacheError``."""
        with _loading.lock:
            self._handle = Handle()
            self._decoded = Kept(self._handle)

    def __enter__(self) -> ManifestCacheService:
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
            return "ManifestCacheService(closed)"
        entries = _library.stat(self._handle, _library.TOTAL_ENTRIES)
        return f"ManifestCacheService(entries={entries}, ttl={self._ttl_seconds}s)"

    def __getstate__(self) -> NoReturn:
        _library.refuse_copy(self)

    def _open_handle(self) -> Handle:
        return open_handle(self._handle)

    def _get_from_c(self, plugin_id: str, loader_func: Optional[LoaderFunc]) -> Optional[Manifest]:
        """The rest of ``get``, if the service has no dict of a fresh manifest."""
        call = ManifestCall(self, plugin_id, loader_func)
        get = _loading.get if loader_func is not None else _loading.look_up
        return cast(Optional[Manifest], get(call.handle, call.encoded_id, call))

    def _new_decoded(self, encoded_id: bytes, revision: int) -> _Decoded:
        return _Decoded(encoded_id, revision, self._ttl_seconds)

    def _log_hit(self, plugin_id: str, decoded: _Decoded) -> None:
        if _is_logged(_DEBUG):
            logger.debug(f"Cache hit for manifest '{plugin_id}' ({decoded})")

    def _log_cached(self, plugin_id: str, decoded: _Decoded) -> None:
        if _is_logged(_DEBUG):
            logger.debug(f"Cached manifest '{plugin_id}' ({decoded})")


def keep_if_cached(
    kept: Kept[_Decoded], plugin_id: str, decoded: _Decoded, before: Optional[_Decoded]
) -> None:
    """Keeps what was decoded if C has cached its manifest; else removes ``before``.

    C does not cache an empty manifest, or one whose load was overtaken by a clear, for example.

    The caller holds the lock, so that no other thread clears after the revisions are compared. But
    a signal handler on this thread may clear or set at any instruction; what it sets is newer, and
    is kept.
    """
    outdated = kept.get(plugin_id)
    if _revision(kept.handle, decoded.encoded_id) == decoded.revision:
        kept.keep(plugin_id, decoded, outdated)
    else:
        kept.remove(plugin_id, before)


class ManifestCall(_loading.Call[Any]):
    """A call of ``get`` that found no dict of a fresh manifest."""

    decode: Optional[Decode] = None
    """What makes the result of the JSON text; ``None`` stands for a dict."""
    found_decoded: Optional[_Decoded] = None
    """What ``result`` is to return a value of, once the load of this call has ended."""
    has_loaded = False
    """Whether a load in Python has brought the manifest, and not C."""

    def __init__(
        self,
        service: ManifestCacheService,
        plugin_id: str,
        loader_func: Optional[Callable[[str], Any]],
    ) -> None:
        self.service = service
        self.plugin_id = plugin_id
        self.encoded_id = encode_id(plugin_id)
        self.kept = service._decoded
        self.handle = open_handle(self.kept.handle)
        self.loader_func = loader_func
        self.before = self.kept.get(plugin_id)
        """What the service had decoded of this plugin when the call began."""

    def answer(self, load: Load) -> None:
        self.log_load()
        assert self.loader_func is not None
        self.answer_with(load, self.loader_func(self.plugin_id))

    def log_load(self) -> None:
        if _is_logged(_DEBUG):
            if self.before is not None:
                logger.debug(f"Cache expired for manifest '{self.plugin_id}', reloading")
            logger.debug(f"Loading manifest '{self.plugin_id}' from disk")

    def answer_with(self, load: Load, manifest: object) -> None:
        """Answers with what the loader returned."""
        if manifest is None:
            _library.load_not_found(load)
            return
        text = encode_dict(self.plugin_id, manifest)
        if _library.load_json(load, text, len(text)) == Status.OK:
            load.value = manifest
            load.revision = _library.string_revision(_library.load_text(load))

    def ended(self, string: OwnedString, load: Load) -> None:
        if string:
            self.found_decoded = self.find_decoded(_library.string_revision(string), load)

    def result(
        self, string: OwnedString, error: ErrorRecord, load: Optional[Load] = None
    ) -> Any:
        if not string:
            self.forget()
            if error.status == Status.NOT_FOUND:
                return None
            raise error.as_exception()
        decoded = self.found_decoded
        if decoded is None:
            with _loading.lock:
                decoded = self.find_decoded(_library.string_revision(string), load)
        if _is_logged(_DEBUG):
            self.log_result(decoded)
        value = decoded.get(self.decode)
        if value is None:
            value = decoded.keep(self.decode, self.decoded(string.read()))
        return value

    def find_decoded(self, revision: int, load: Optional[Load]) -> _Decoded:
        """Returns what is decoded of a manifest, the same for all callers.

        It has the loader's dict if C returned the manifest that the loader answered with. C may
        have refused that and returned a stale one instead. The caller holds the lock.
        """
        kept = self.kept
        decoded = kept.get(self.plugin_id)
        is_new = decoded is None or decoded.revision != revision
        if decoded is None or is_new:
            decoded = self.service._new_decoded(self.encoded_id, revision)
        if load is not None and load.revision == revision:
            self.has_loaded = True
            decoded.cached_at = time.monotonic()
            if load.value is not None:
                decoded.keep(load.decode, load.value)
        if is_new:
            keep_if_cached(kept, self.plugin_id, decoded, self.before)
        return decoded

    def log_result(self, decoded: _Decoded) -> None:
        if not self.has_loaded:
            self.service._log_hit(self.plugin_id, decoded)
        elif self.kept.get(self.plugin_id) is decoded:
            self.service._log_cached(self.plugin_id, decoded)

    def decoded(self, text: bytes) -> Any:
        """Decodes the text of a manifest."""
        if self.decode is None:
            return json.loads(text)
        value = self.decode(text)
        if value is None:
            raise TypeError(
                f"the decode function for plugin {self.plugin_id!r} returned None, which stands "
                "for a plugin that does not exist; return a value, or raise an exception"
            )
        return value

    def forget(self) -> None:
        self.kept.remove(self.plugin_id, self.before)


class FileCall(ManifestCall):
    """A call of ``get_file`` or ``get_directory`` that found nothing that is decoded and fresh."""

    def __init__(
        self,
        service: ManifestCacheService,
        plugin_id: str,
        decode: Optional[Decode],
        load_path: Callable[..., int],
        *paths: Path,
    ) -> None:
        super().__init__(service, plugin_id, None)
        self.decode = decode
        self.load_path = load_path
        self.paths = [encode_path(path) for path in paths]

    def answer(self, load: Load) -> None:
        """C reads the file. A manifest that it found unchanged is not decoded again."""
        self.log_load()
        if self.load_path(load, *self.paths) != Status.OK:
            return
        text = _library.load_text(load)
        revision = _library.string_revision(text)
        decoded = self.kept.get(self.plugin_id)
        if decoded is None or decoded.revision != revision or decoded.get(self.decode) is None:
            load.decode = self.decode
            load.value = self.decoded(_library.read(text))
        load.revision = revision
