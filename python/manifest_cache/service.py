"""Manifests as dicts, loaded by a function of the host's."""

from __future__ import annotations

import json
import logging
import time
from ctypes import byref
from types import TracebackType
from typing import Any, Callable, Dict, NoReturn, Optional, Type

from . import _library, _loading
from ._encoding import encode_dict
from ._library import ErrorRecord, Handle, OwnedString, encode_id, milliseconds
from .cache import Option, open_handle, set_option_of
from .errors import Status

__all__ = ["ManifestCacheService"]

logger = logging.getLogger("manifest_cache")

Manifest = Dict[str, Any]
LoaderFunc = Callable[[str], Optional[Manifest]]

# At hand for a hit.
_revision = _library.revision
_is_logged = logger.isEnabledFor
_DEBUG = logging.DEBUG


_SWEEP_ABOVE = 64


class _Known:
    """A manifest whose dict is at hand."""

    __slots__ = ("encoded_id", "revision", "manifest", "ttl_seconds", "cached_at")

    def __init__(
        self, encoded_id: bytes, revision: int, manifest: Manifest, ttl_seconds: float
    ) -> None:
        self.encoded_id = encoded_id
        self.revision = revision
        self.manifest = manifest
        self.ttl_seconds = ttl_seconds
        self.cached_at = time.monotonic()

    def __repr__(self) -> str:
        age = time.monotonic() - self.cached_at
        return f"CacheEntry(age={age:.1f}s, ttl={self.ttl_seconds}s)"


class ManifestCacheService:
    """Cache plugin manifests with a time to live.

    All methods may be called from any thread at any time, from within a loader too.
    """

    def __init__(self, ttl_seconds: float = 300) -> None:
        """Make a new, empty cache.

        ``ttl_seconds`` is how long a manifest stays fresh after its load; with 0 nothing is kept, and ``math.inf`` is for ever.
        """
        self._ttl_seconds = ttl_seconds
        self._handle: Handle = _library.new(milliseconds(ttl_seconds))
        self._known: Dict[str, _Known] = {}
        self._sweep_above = _SWEEP_ABOVE
        logger.info(f"Initialized ManifestCacheService (TTL={ttl_seconds}s)")

    def get(self, plugin_id: str, loader_func: Optional[LoaderFunc] = None) -> Optional[Manifest]:
        """Get the manifest of a plugin, loaded by ``loader_func(plugin_id)`` if there is no fresh one.

        Returns the same dict each time while the entry lives: the one that the loader returned, so do not change it. Returns
        ``None`` if the loader does, which is not cached, or if there is no loader and no fresh manifest. An empty dict is
        returned but not cached.

        The loader runs on this thread. If another thread is loading this plugin already, this call waits and shares that
        load's outcome. An exception of the loader passes through; threads that waited get a ``ManifestCacheError`` instead.
        """
        known = self._known.get(plugin_id)
        if known is not None and _revision(self._handle, known.encoded_id) == known.revision:
            if _is_logged(_DEBUG):
                self._log_hit(plugin_id, known)
            return known.manifest
        return self._get_unknown(plugin_id, loader_func)

    def set(self, plugin_id: str, manifest: Manifest) -> None:
        """Cache a manifest that is already there. It is newer than any load in progress; ``{}`` clears the plugin."""
        encoded_id = encode_id(plugin_id)
        text = encode_dict(plugin_id, manifest)
        handle = self._open_handle()
        error = ErrorRecord()
        with _loading.lock:
            before = self._known.get(plugin_id)
            if _library.put(handle, encoded_id, text, len(text), byref(error)) != Status.OK:
                raise error.as_exception()
            self._forget(plugin_id, before)
            string, _ = _loading.get(handle, encoded_id, None)
            known = None
            # Another thread's load may have come after it already, or nothing be kept for long enough to be seen.
            if string and string.read() == text:
                known = self._known_now(encoded_id, _library.string_revision(string), manifest)
                self._keep_if_cached(handle, plugin_id, known, None)
        if known is not None:
            self._log_cached(plugin_id, known)

    def clear(self, plugin_id: Optional[str] = None) -> None:
        """Forget the manifest of one plugin, or of all plugins if ``plugin_id`` is ``None`` or empty.

        A ``get`` that begins after this returned sees nothing of a load that began before.
        """
        if not plugin_id:
            handle = self._open_handle()
            with _loading.lock:
                count = _library.clear(handle, None)
                self._known.clear()
            logger.info(f"Cleared entire manifest cache ({count} entries)")
            return
        encoded_id = encode_id(plugin_id)
        handle = self._open_handle()
        with _loading.lock:
            count = _library.clear(handle, encoded_id)
            self._known.pop(plugin_id, None)
        if count:
            logger.info(f"Cleared cache for plugin '{plugin_id}'")

    def stats(self) -> Dict[str, Any]:
        """Get cache statistics: ``total_entries``, ``expired_entries`` and ``ttl_seconds``."""
        stats = json.loads(_library.stats(self._open_handle()).read())
        return {
            "total_entries": stats["total_entries"],
            "expired_entries": stats["expired_entries"],
            "ttl_seconds": self._ttl_seconds,
        }

    def set_option(self, option: Option, value: int) -> None:
        """Set an option, from now on. A bound holds when this returns."""
        if option == Option.TTL_MS:
            raise ValueError("set the time to live through the attribute ttl_seconds")
        set_option_of(self._open_handle(), option, value)

    @property
    def ttl_seconds(self) -> float:
        """The time to live of what is cached from now on."""
        return self._ttl_seconds

    @ttl_seconds.setter
    def ttl_seconds(self, ttl_seconds: float) -> None:
        set_option_of(self._open_handle(), Option.TTL_MS, milliseconds(ttl_seconds))
        self._ttl_seconds = ttl_seconds

    def close(self) -> None:
        """Let go of everything. Calls in progress end normally; new ones raise ``ManifestCacheError``."""
        with _loading.lock:
            self._handle = Handle()
            self._known.clear()

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

    def _get_unknown(self, plugin_id: str, loader_func: Optional[LoaderFunc]) -> Optional[Manifest]:
        """The rest of ``get``, when no fresh dict is at hand."""
        encoded_id = encode_id(plugin_id)
        handle = self._open_handle()
        if loader_func is None:
            string, error = _loading.get(handle, encoded_id, None)
            if string:
                return self._settle(handle, plugin_id, encoded_id, string, None)
            if error.status == Status.NOT_FOUND:
                return None
            raise error.as_exception()
        with _ManifestCall(self, plugin_id, loader_func, self._known.get(plugin_id)) as call:
            string, error = _loading.get(handle, encoded_id, call)
            if not string:
                self._forget(plugin_id, call.before)
            call.raise_if_failed(string)
            if string:
                return self._settle(handle, plugin_id, encoded_id, string, call)
            if error.status == Status.NOT_FOUND:
                return None
            raise error.as_exception()

    def _settle(
        self,
        handle: Handle,
        plugin_id: str,
        encoded_id: bytes,
        string: OwnedString,
        call: Optional[_ManifestCall],
    ) -> Manifest:
        """The dict of a manifest that C returned: one for each revision, that of the loader if it can be had.

        The loader's dict is taken only if C returned its very text: C may have refused it and have
        returned a stale manifest instead.
        """
        revision: int = _library.string_revision(string)
        text = string.read()
        is_own = call is not None and call.text == text
        manifest = call.manifest if call is not None and is_own else None
        if manifest is None:
            manifest = self._dict_at_hand(plugin_id, revision, text)
        if manifest is None:
            manifest = json.loads(text)
        with _loading.lock:
            known = self._known.get(plugin_id)
            if known is None or known.revision != revision:
                known = self._known_now(encoded_id, revision, manifest)
                self._keep_if_cached(handle, plugin_id, known, call.before if call else None)
            is_kept = self._known.get(plugin_id) is known
        if not is_own:
            self._log_hit(plugin_id, known)
        elif is_kept:
            self._log_cached(plugin_id, known)
        return known.manifest

    def _dict_at_hand(self, plugin_id: str, revision: int, text: bytes) -> Optional[Manifest]:
        """The dict of this revision, or that of another thread whose load has brought this text and has not settled yet."""
        known = self._known.get(plugin_id)
        if known is not None and known.revision == revision:
            return known.manifest
        for call in _loading.in_progress():
            if isinstance(call, _ManifestCall) and call.brought(self, plugin_id, text):
                return call.manifest
        return None

    def _keep_if_cached(
        self, handle: Handle, plugin_id: str, known: _Known, before: Optional[_Known]
    ) -> None:
        """Keeps a dict as long as C keeps its manifest, which it does not if that is empty, overtaken by a clear, and so on.

        The lock must be held, so that no clear of another thread comes between the question and the
        answer. A signal handler of this thread may clear or set at any instruction: what it has
        stored meanwhile stays.
        """
        outdated = self._known.get(plugin_id)
        if self._handle is not handle or _revision(handle, known.encoded_id) != known.revision:
            self._forget(plugin_id, before)
            return
        self._forget(plugin_id, outdated)
        self._known.setdefault(plugin_id, known)
        if len(self._known) > self._sweep_above:
            # C lets go of entries without a word, because of Option.MAX_ENTRIES for instance.
            all_known = list(self._known.items())
            held = {entry["revision"] for entry in json.loads(_library.entries(handle).read())}
            for other_id, other in all_known:
                if other.revision not in held:
                    self._forget(other_id, other)
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._known))

    def _known_now(self, encoded_id: bytes, revision: int, manifest: Manifest) -> _Known:
        return _Known(encoded_id, revision, manifest, self._ttl_seconds)

    def _forget(self, plugin_id: str, known: Optional[_Known]) -> None:
        """Removes a dict, unless another one has replaced it.

        Each step is one operation of the dict, as a signal handler may clear or set between two.
        """
        if known is not None:
            with _loading.lock:
                removed = self._known.pop(plugin_id, None)
                if removed is not None and removed is not known:
                    self._known.setdefault(plugin_id, removed)

    def _log_hit(self, plugin_id: str, known: _Known) -> None:
        if _is_logged(_DEBUG):
            logger.debug(f"Cache hit for manifest '{plugin_id}' ({known})")

    def _log_cached(self, plugin_id: str, known: _Known) -> None:
        if _is_logged(_DEBUG):
            logger.debug(f"Cached manifest '{plugin_id}' ({known})")


class _ManifestCall(_loading.Call):
    """A call of ``get`` that may have to load."""

    def __init__(
        self,
        service: ManifestCacheService,
        plugin_id: str,
        loader_func: LoaderFunc,
        before: Optional[_Known],
    ) -> None:
        super().__init__()
        self.service = service
        self.plugin_id = plugin_id
        self.loader_func = loader_func
        self.before = before
        """What was known of the plugin when the call began."""
        self.manifest: Optional[Manifest] = None
        """What the loader returned, once C has accepted it."""
        self.text: Optional[bytes] = None
        """The same as JSON."""

    def answer(self, load: int) -> None:
        if self.before is not None:
            logger.debug(f"Cache expired for manifest '{self.plugin_id}', reloading")
        logger.debug(f"Loading manifest '{self.plugin_id}' from disk")
        manifest = self.loader_func(self.plugin_id)
        if manifest is None:
            _library.load_not_found(load)
            return
        text = encode_dict(self.plugin_id, manifest)
        if _library.load_json(load, text, len(text)) == Status.OK:
            self.manifest = manifest
            self.text = text

    def brought(self, service: ManifestCacheService, plugin_id: str, text: bytes) -> bool:
        """Whether this text is from its loader."""
        return self.service is service and self.plugin_id == plugin_id and self.text == text
