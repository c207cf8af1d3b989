"""``ManifestCacheService``: manifests as dicts, loaded by a function of the host."""

from __future__ import annotations

import json
import logging
import time
from ctypes import byref
from types import TracebackType
from typing import Any, Callable, Dict, NoReturn, Optional, Type

from . import _library, _loading
from ._encoding import encode_dict
from ._library import ErrorRecord, Handle, Load, OwnedString, encode_id, milliseconds
from .cache import Option, advance_time_of, open_handle, set_option_of
from .errors import Status

__all__ = ["ManifestCacheService"]

logger = logging.getLogger("manifest_cache")

Manifest = Dict[str, Any]
LoaderFunc = Callable[[str], Optional[Manifest]]

# Global names for what a hit uses: they cost less than attributes.
_revision = _library.revision
_is_logged = logger.isEnabledFor
_DEBUG = logging.DEBUG

_SWEEP_ABOVE = 64
"""With more dicts than this, a service looks for those whose entry was evicted in C."""


class _Decoded:
    """The dict of a manifest that is cached in C."""

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
    """Keeps plugin manifests as dicts in memory, each for its time to live.

    Any thread may call any method at any time; a loader may too. A cache can be neither copied nor
    pickled.
    """

    # C keeps the manifests as JSON text and decides which are fresh. ``_decoded`` has the dict of
    # each. A dict is used only if C names its revision at that moment, so that an outdated dict is
    # never returned; it only takes up memory until it is removed.

    def __init__(self, ttl_seconds: float = 300) -> None:
        """Make a new, empty cache.

        A manifest stays fresh for ``ttl_seconds`` after its load. With 0 nothing is kept;
        ``math.inf`` is for ever.
        """
        self._ttl_seconds = ttl_seconds
        self._handle: Handle = _library.new(milliseconds(ttl_seconds))
        self._decoded: Dict[str, _Decoded] = {}
        self._sweep_above = _SWEEP_ABOVE
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
        if decoded is not None and _revision(self._handle, decoded.encoded_id) == decoded.revision:
            if _is_logged(_DEBUG):
                self._log_hit(plugin_id, decoded)
            return decoded.manifest
        return self._get_from_c(plugin_id, loader_func)

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
            self._remove(plugin_id, before)
            string = _library.look_up(handle, encoded_id, None, None, None)
            # There may be none, with a short time to live; or a later one, of another thread.
            if string and string.read() == text:
                decoded = self._new_decoded(encoded_id, string, manifest)
                self._keep_if_cached(handle, plugin_id, decoded, None)
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
            self._decoded.clear()

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
        return get(call.handle, call.encoded_id, call)

    def _keep_if_cached(
        self, handle: Handle, plugin_id: str, decoded: _Decoded, before: Optional[_Decoded]
    ) -> None:
        """Keeps a dict if C has cached its manifest; else removes ``before``.

        C does not cache an empty manifest, or one whose load was overtaken by a clear, for example.

        The caller holds the lock, so that no other thread clears after the revisions are compared.
        But a signal handler on this thread may clear or set at any instruction; what it sets is
        newer and is kept.
        """
        outdated = self._decoded.get(plugin_id)
        if self._handle is not handle or _revision(handle, decoded.encoded_id) != decoded.revision:
            self._remove(plugin_id, before)
            return
        self._remove(plugin_id, outdated)
        self._decoded.setdefault(plugin_id, decoded)
        if len(self._decoded) > self._sweep_above:
            self._sweep(handle)

    def _sweep(self, handle: Handle) -> None:
        """Removes the dicts whose entry is gone in C, for example by ``Option.MAX_ENTRIES``."""
        all_decoded = list(self._decoded.items())
        cached = {entry["revision"] for entry in json.loads(_library.entries(handle).read())}
        for plugin_id, decoded in all_decoded:
            if decoded.revision not in cached:
                self._remove(plugin_id, decoded)
        self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._decoded))

    def _new_decoded(self, encoded_id: bytes, string: OwnedString, manifest: Manifest) -> _Decoded:
        revision = _library.string_revision(string)
        return _Decoded(encoded_id, revision, manifest, self._ttl_seconds)

    def _remove(self, plugin_id: str, decoded: Optional[_Decoded]) -> None:
        """Removes a dict, unless another one has replaced it.

        A signal handler may clear or set between any two steps, so each is one atomic operation.
        """
        if decoded is not None:
            with _loading.lock:
                removed = self._decoded.pop(plugin_id, None)
                if removed is not None and removed is not decoded:
                    self._decoded.setdefault(plugin_id, removed)

    def _log_hit(self, plugin_id: str, decoded: _Decoded) -> None:
        if _is_logged(_DEBUG):
            logger.debug(f"Cache hit for manifest '{plugin_id}' ({decoded})")

    def _log_cached(self, plugin_id: str, decoded: _Decoded) -> None:
        if _is_logged(_DEBUG):
            logger.debug(f"Cached manifest '{plugin_id}' ({decoded})")


class ManifestCall(_loading.Call[Optional[Manifest]]):
    """A call of ``get`` that found no dict of a fresh manifest."""

    def __init__(
        self,
        service: ManifestCacheService,
        plugin_id: str,
        loader_func: Optional[Callable[[str], Any]],
    ) -> None:
        self.service = service
        self.plugin_id = plugin_id
        self.encoded_id = encode_id(plugin_id)
        self.handle = service._open_handle()
        self.loader_func = loader_func
        self.before = service._decoded.get(plugin_id)
        """The dict that the service had of this plugin when the call began."""

    def answer(self, load: Load) -> None:
        self.log_load()
        assert self.loader_func is not None
        self.answer_with(load, self.loader_func(self.plugin_id))

    def log_load(self) -> None:
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
            load.manifest = manifest  # type: ignore[assignment] # or encode_dict had refused it
            load.text = text

    def result(
        self, string: OwnedString, error: ErrorRecord, load: Optional[Load] = None
    ) -> Optional[Manifest]:
        """All callers get the same dict of a manifest.

        It is the loader's if C returned the loader's text. C may have refused that text and
        returned a stale manifest instead.
        """
        if not string:
            self.forget()
            if error.status == Status.NOT_FOUND:
                return None
            raise error.as_exception()
        service = self.service
        revision, text = _library.string_revision(string), string.read()
        has_loaded = load is not None and load.text == text
        with _loading.lock:
            decoded = service._decoded.get(self.plugin_id)
            if decoded is None or decoded.revision != revision:
                manifest = load.manifest if load is not None and has_loaded else None
                manifest = json.loads(text) if manifest is None else manifest
                decoded = service._new_decoded(self.encoded_id, string, manifest)
                service._keep_if_cached(self.handle, self.plugin_id, decoded, self.before)
            is_kept = service._decoded.get(self.plugin_id) is decoded
        if not has_loaded:
            service._log_hit(self.plugin_id, decoded)
        elif is_kept:
            service._log_cached(self.plugin_id, decoded)
        return decoded.manifest

    def forget(self) -> None:
        self.service._remove(self.plugin_id, self.before)
