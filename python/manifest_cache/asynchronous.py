"""``AsyncManifestCacheService``: the same cache for asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from functools import partial
from types import TracebackType
from typing import Any, Awaitable, Callable, Dict, NoReturn, Optional, Type, Union, cast, overload

from . import _library, _loading
from ._encoding import Path
from .cache import Option
from .service import Decode, FileCall, Manifest, ManifestCacheService, ManifestCall, Value

__all__ = ["AsyncManifestCacheService"]

AsyncLoaderFunc = Callable[[str], Union[Optional[Manifest], Awaitable[Optional[Manifest]]]]

# As in service.py: a hit uses these.
_revision = _library.revision
_is_logged = logging.getLogger("manifest_cache").isEnabledFor
_DEBUG = logging.DEBUG


class AsyncManifestCacheService:
    """Keeps plugin manifests as dicts in memory, for tasks of any event loop.

    It is a ``ManifestCacheService`` whose ``get`` is awaited. Its attribute ``service`` is that
    one: threads may use it at the same time, and both share their loads. On the event loop's own
    thread, do not call ``service.get``: it would wait for a load that this thread is to run.
    """

    def __init__(
        self, ttl_seconds: float = 300, *, service: Optional[ManifestCacheService] = None
    ) -> None:
        """Make a new, empty cache, or use that of ``service``; then its time to live holds."""
        self.service = ManifestCacheService(ttl_seconds) if service is None else service

    async def get(
        self, plugin_id: str, loader_func: Optional[AsyncLoaderFunc] = None
    ) -> Optional[Manifest]:
        """Return the manifest of a plugin; call ``loader_func(plugin_id)`` if none is fresh.

        While a manifest is fresh, this returns the same dict each time, and awaits nothing. A
        coroutine function (``async def``) runs in a task of its own; any other function runs in a
        thread (``asyncio.to_thread``), and what it returns is awaited if it can be. For everything
        else see ``ManifestCacheService.get``.

        All who ask for a plugin at the same time share one load, threads too. If a task that waits
        is cancelled, the load goes on for the others. If all are, the load is cancelled.
        """
        service = self.service
        decoded = service._decoded.get(plugin_id)
        if decoded is not None:
            manifest = decoded.manifest
            if (
                manifest is not None
                and _revision(service._handle, decoded.encoded_id) == decoded.revision
            ):
                if _is_logged(_DEBUG):
                    service._log_hit(plugin_id, decoded)
                return manifest
        if loader_func is None:
            return service.get(plugin_id)
        manifest = await _get_missed(ManifestCall(service, plugin_id, loader_func))
        return cast(Optional[Manifest], manifest)

    @overload
    async def get_file(self, plugin_id: str, path: Path) -> Optional[Any]: ...

    @overload
    async def get_file(
        self, plugin_id: str, path: Path, *, decode: Callable[[bytes], Value]
    ) -> Optional[Value]: ...

    async def get_file(
        self, plugin_id: str, path: Path, *, decode: Optional[Decode] = None
    ) -> Any:
        """The same as ``ManifestCacheService.get_file``; a hit awaits nothing.

        Otherwise a thread looks at the file, reads and decodes it, since a disk or a network may
        take long. That thread ends the load even if all who wait for it are cancelled.
        """
        value = _hit(self.service, plugin_id, decode)
        if value is not None:
            return value
        load_path = _library.load_file
        return await _get_missed(FileCall(self.service, plugin_id, decode, load_path, path))

    @overload
    async def get_directory(
        self, plugin_id: str, root: Path, name: str = "manifest.json"
    ) -> Optional[Any]: ...

    @overload
    async def get_directory(
        self,
        plugin_id: str,
        root: Path,
        name: str = "manifest.json",
        *,
        decode: Callable[[bytes], Value],
    ) -> Optional[Value]: ...

    async def get_directory(
        self,
        plugin_id: str,
        root: Path,
        name: str = "manifest.json",
        *,
        decode: Optional[Decode] = None,
    ) -> Any:
        """The same as ``get_file`` with the path ``root/plugin_id/name``."""
        value = _hit(self.service, plugin_id, decode)
        if value is not None:
            return value
        load_path = _library.load_directory_file
        return await _get_missed(FileCall(self.service, plugin_id, decode, load_path, root, name))

    def set(self, plugin_id: str, manifest: Manifest) -> None:
        """Cache a manifest that the caller already has, as ``ManifestCacheService.set`` does."""
        self.service.set(plugin_id, manifest)

    def clear(self, plugin_id: Optional[str] = None) -> None:
        """Remove the manifest of one plugin, or all if ``plugin_id`` is ``None`` or empty.

        A ``get`` that begins after this returned does not see the result of a load that began
        before.
        """
        self.service.clear(plugin_id)

    def stats(self) -> Dict[str, Any]:
        """Return ``total_entries``, ``expired_entries`` and ``ttl_seconds``."""
        return self.service.stats()

    def set_option(self, option: Option, value: int) -> None:
        """Set an option. Entries beyond a new limit are removed before this returns."""
        self.service.set_option(option, value)

    def advance(self, seconds: float) -> None:
        """Make the cache behave as if ``seconds`` had passed, for tests of expiry."""
        self.service.advance(seconds)

    @property
    def ttl_seconds(self) -> float:
        """The time to live of manifests that are cached from now on."""
        return self.service.ttl_seconds

    @ttl_seconds.setter
    def ttl_seconds(self, ttl_seconds: float) -> None:
        self.service.ttl_seconds = ttl_seconds

    def close(self) -> None:
        """Free the cache. Calls in progress end normally; new ones raise ``ManifestCacheError``."""
        self.service.close()

    def __enter__(self) -> AsyncManifestCacheService:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Async{self.service!r}"

    def __getstate__(self) -> NoReturn:
        _library.refuse_copy(self)


def _hit(service: ManifestCacheService, plugin_id: str, decode: Optional[Decode]) -> Any:
    """Returns what is decoded and fresh; else ``None``."""
    decoded = service._decoded.get(plugin_id)
    if decoded is not None:
        value = decoded.manifest if decode is None else decoded.values.get(decode)
        if value is not None and _revision(service._handle, decoded.encoded_id) == decoded.revision:
            if _is_logged(_DEBUG):
                service._log_hit(plugin_id, decoded)
            return value
    return None


async def _get_missed(call: ManifestCall) -> Any:
    """The rest of ``get``, if the service has no dict of a fresh manifest.

    Each call asks C, so each knows what was cleared before it. A dict of tasks in Python would hand
    out a load that was cleared since it began.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    notify = partial(_notify, loop, told)
    turn = _loading.Turn(call.handle, call.encoded_id, partial(_loading.deliver_later, notify))
    load = turn.load
    try:
        status = turn.begin()
        if status == _loading.BEGUN and isinstance(call, FileCall):
            # The thread owns the load from now on. If it cannot start, the load ends with the turn.
            turn.joined = load
            run = partial(contextvars.copy_context().run, _load_on_thread, call, turn)
            future = loop.run_in_executor(None, run)
            await asyncio.wait((future,))
            return future.result()
        if status == _loading.BEGUN:
            task = loop.create_task(_load(call, turn))
            task.add_done_callback(partial(_finish, load))
            load.cancel = partial(_on_loop, loop, _cancel, load, task)
            turn.joined = load  # whose outcome this call wants like those that join it
            await asyncio.wait((task,))
            return task.result()
        if status == _loading.PENDING:
            await _wait(call, told)
            return turn.waited(call)
        return call.found(turn.string, turn.error)
    finally:
        if load and turn.joined is not load:  # an exception came before it had its task
            _end(load)
        turn.close()
        _loading.deliver()


def _load_on_thread(call: FileCall, turn: _loading.Turn) -> Any:
    try:
        return turn.run(call)
    finally:
        if turn.load:  # an exception came on the way to its end
            _end(turn.load)
        _loading.deliver()


async def _load(call: ManifestCall, turn: _loading.Turn) -> Any:
    """Runs the loader, in a task of its own, so that no caller's end takes it from the others."""
    _loading.enter(turn.load)
    try:
        call.log_load()
        call.answer_with(turn.load, await _run(call))
    except BaseException as exception:
        stale = turn.failed(call, exception)
        if stale is None:
            raise
        return stale
    return turn.answered(call)


async def _run(call: ManifestCall) -> object:
    assert call.loader_func is not None
    if inspect.iscoroutinefunction(call.loader_func):
        return await call.loader_func(call.plugin_id)
    manifest = await asyncio.to_thread(call.loader_func, call.plugin_id)
    return await manifest if inspect.isawaitable(manifest) else manifest


async def _wait(call: ManifestCall, told: asyncio.Future[None]) -> None:
    """Waits until C has told the outcome."""
    loop, limit_ms = asyncio.get_running_loop(), call.handle.wait_ms
    until = loop.time() + limit_ms / 1000 if limit_ms else float("inf")
    while not told.done():
        await asyncio.wait((told,), timeout=min(max(until - loop.time(), 0.001), 5.0))
        _loading.deliver()  # what a signal handler may have kept another thread from delivering
        if loop.time() >= until and not told.done():
            _loading.end_overdue_waits(call.handle)


def _notify(loop: asyncio.AbstractEventLoop, told: asyncio.Future[None]) -> None:
    def notify() -> None:
        if not told.done():
            told.set_result(None)

    _on_loop(loop, notify)


def _cancel(load: _library.Load, task: asyncio.Task[Any]) -> None:
    """Ends a load and cancels its task, unless a call has joined it meanwhile."""
    with _loading.lock:
        if load.interested or not load:
            return
        # It ends now, so that nobody joins a load that is about to fail.
        _loading.fail(load, asyncio.CancelledError("all who waited for it were cancelled"))
        _end(load)
    task.cancel()


def _end(load: _library.Load) -> None:
    with _loading.lock:
        _library.end(load)
    _loading.deliver()


def _on_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any
) -> None:
    """Calls ``function`` on the thread of ``loop``, soon if this is another thread."""
    if asyncio._get_running_loop() is loop:
        function(*arguments)
        return
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _finish(load: _library.Load, task: asyncio.Task[Any]) -> None:
    """The task of a load has ended, perhaps before it began to run."""
    load.cancel = None
    if load:
        _end(load)
    _loading.deliver()  # the call that began the load may have been cancelled long ago
    if not task.cancelled():
        task.exception()  # asyncio would report it if no caller is left to receive it
