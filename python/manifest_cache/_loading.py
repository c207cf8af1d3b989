"""Begins loads, calls their loaders, and ends them; waits for the loads of others.

A load that begins is the innermost one of its context (``contextvars``) until it ends, so C knows
which load waits for which. All that C writes, it writes into a ``Turn`` that the caller already
holds, so a signal handler may raise an exception at any instruction, and nothing gets lost.
"""

from __future__ import annotations

import _thread
import importlib
import os
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar, Token
from ctypes import byref
from functools import partial
from operator import methodcaller
from typing import Any, Callable, Deque, Dict, Generic, Optional, TypeVar
from weakref import ref

from . import _library
from ._library import ErrorRecord, Handle, Load, Outcome, OwnedString
from .errors import ManifestCacheError, Status

Result = TypeVar("Result")

lock = threading.RLock()
"""Guards the dicts of all services, and is held to end a load and to begin one within another.
Misses take it, hits do not, and no loader runs under it.

There is one lock for the process. A fork waits for it, so that in the child it is free and the
dicts are consistent. It is reentrant, as signal handlers and destructors may run while it is held.
"""

BEGUN = 9
PENDING = 10

_UNKNOWN = -1
"""The status of an ``ErrorRecord`` that C has not written."""

_innermost: ContextVar[Optional[ref[Load]]] = ContextVar("manifest_cache_load", default=None)
"""The innermost load in progress."""


class Call(Generic[Result]):
    """What is special about a call of ``get`` that may load."""

    def answer(self, load: Load) -> None:
        """Calls the loader and answers ``load`` with one of the ``load_`` functions."""
        raise NotImplementedError

    def result(
        self, string: OwnedString, error: ErrorRecord, load: Optional[Load] = None
    ) -> Result:
        """Returns what ``get`` returns, or raises ``error``, for what C returned.

        ``load`` is the load that it came from, if that is known.
        """
        raise NotImplementedError

    def found(self, string: OwnedString, error: ErrorRecord) -> Result:
        """The same for what C had: a fresh manifest, a stale one, or a remembered failure."""
        return self.result(string, error)

    def ended(self, string: OwnedString, load: Load) -> None:
        """This call's load has ended with ``string``. Called before ``result``, under the lock, so
        that no other thread finds in C what this call has not kept yet."""

    def forget(self) -> None:
        """The load has failed, and nothing is cached."""


class Turn:
    """A call of ``mc_begin_async``, and the wait that it begins if another caller loads."""

    __slots__ = (
        "handle",
        "plugin_id",
        "status",
        "load",
        "string",
        "error",
        "outcome",
        "told",
        "joined",
        "wake",
    )

    def __init__(self, handle: Handle, plugin_id: bytes, tell: Callable[[], object]) -> None:
        """``tell`` is called when C has told the outcome. It must be a function in C."""
        self.handle = handle
        self.plugin_id = plugin_id
        self.status: Optional[int] = None
        """What ``mc_begin_async`` returned."""
        self.load = Load()
        self.string = OwnedString()
        self.error = ErrorRecord(_UNKNOWN)
        self.outcome = Outcome(None, _library.WAKE, id(self))
        self.told: Optional[OwnedString] = None
        """The manifest of ``outcome``; it owns it from the moment that C writes it there."""
        self.joined: Optional[Load] = None
        """The load that this turn waits for, if Python began it."""
        done = (partial(_turns.pop, id(self), None), tell)
        self.wake = partial(_nowhere.extend, map(_call, done))
        """C calls this when it has told the outcome. It calls both functions, within C."""

    def begin(self) -> int:
        """Calls ``mc_begin_async`` and returns its status."""
        loads, load = self.handle.loads, self.load
        _turns[id(self)] = self
        with lock:
            innermost = _innermost.get()
            self.status = status = _library.begin(
                self.handle,
                self.plugin_id,
                None if innermost is None else innermost(),  # nobody ends it meanwhile
                _library.DONE,
                byref(self.outcome),
                byref(load),
                byref(self.string),
                byref(self.error),
            )
            if status == PENDING:
                self.told = OwnedString.from_buffer(self.outcome)
                reference = loads.get(self.plugin_id)
                joined = None if reference is None else reference()
                if joined is not None:
                    joined.interested += 1
                    self.joined = joined
            else:
                _turns.pop(id(self), None)
                if status == BEGUN:
                    loads[self.plugin_id] = ref(load)
        if _to_deliver:
            deliver()
        return int(status)

    def run(self, call: Call[Result]) -> Result:
        """Answers the load that this turn began, ends it, and returns the result."""
        token = enter(self.load)
        try:
            call.answer(self.load)
        except BaseException as exception:
            stale = self.failed(call, exception)
            if stale is None:
                raise
            return stale
        finally:
            _innermost.reset(token)
        return self.answered(call)

    def waited(self, call: Call[Result]) -> Result:
        """Returns the result, when C has told the outcome of the load that this turn waited for."""
        assert self.told is not None
        return call.result(self.told, self.outcome.error, self.joined)

    def answered(self, call: Call[Result]) -> Result:
        """Ends the load that this turn began, and returns the result."""
        with lock:
            string = self._end()
            call.ended(string, self.load)
        return call.result(string, self.error, self.load)

    def failed(self, call: Call[Result], exception: BaseException) -> Optional[Result]:
        """Ends the load, because ``exception`` was raised.

        Returns a stale manifest, if there is one that takes the place of the exception.
        ``KeyboardInterrupt``, ``SystemExit``, ``GeneratorExit`` and ``asyncio.CancelledError`` tell
        this thread or task to stop, so nothing takes their place.
        """
        with lock:
            fail(self.load, exception)
            string = self._end()
            if not string:
                call.forget()
            else:
                call.ended(string, self.load)
        if string and isinstance(exception, Exception):
            return call.result(string, self.error, self.load)
        return None

    def _end(self) -> OwnedString:
        string: OwnedString = _library.end_begun(byref(self.load), byref(self.error))
        reference = self.handle.loads.get(self.plugin_id)
        if reference is not None and reference() is self.load:
            self.handle.loads.pop(self.plugin_id, None)
        return string

    def close(self) -> None:
        """What is left to do when a call ends that waited, or may wait for all it knows."""
        joined, self.joined = self.joined, None
        if joined is not None:
            lose_interest(joined)
        # An exception may have come before the status was known; then what C has written tells it.
        is_pending = self.status is None and self.error.status == Status.OK
        is_pending = is_pending and not self.load and not self.string
        if is_pending and self.told is None:
            self.told = OwnedString.from_buffer(self.outcome)
        if not is_pending and self.status != PENDING:
            _turns.pop(id(self), None)


_turns: Dict[int, Turn] = {}
"""The turns that C may write to. Each stays here until it is told, even if its call has ended."""

_call = methodcaller("__call__")
_nowhere: Deque[object] = deque(maxlen=0)

_to_deliver: Deque[Callable[[], object]] = deque()
"""What is to be called, in Python, because C has told an outcome."""

deliver_later = _to_deliver.append


def deliver() -> None:
    """Calls what is in ``_to_deliver``.

    This follows each call of C that can tell outcomes. If a signal handler raises an exception
    here, the next call delivers the rest.
    """
    while True:
        notify = next(iter(_to_deliver), None)
        if notify is None:
            return
        notify()
        with lock:
            if _to_deliver and _to_deliver[0] is notify:
                _to_deliver.popleft()


def enter(load: Load) -> Token[Optional[ref[Load]]]:
    """Makes ``load`` the innermost one of this context."""
    return _innermost.set(ref(load))


def fail(load: Load, exception: BaseException) -> None:
    """Answers that ``exception`` was raised; those who wait for the load get its text."""
    if not isinstance(exception, Exception):
        # An interrupt says nothing about the plugin, so the cache must not remember it.
        _library.load_ttl(load, 0)
    _library.load_fail(load, 0, _describe(exception))


def _describe(exception: BaseException) -> bytes:
    try:
        text = str(exception)
    except Exception as first:
        # Either its __str__ fails, or a signal handler raised this. Only the former happens again.
        try:
            str(exception)
        except type(first):
            text = ""
        else:
            raise
    name = type(exception).__name__
    return (f"{name}: {text}" if text else name).replace("\0", "").encode("utf-8", "replace")


def lose_interest(load: Load) -> None:
    """One call less wants the outcome of a load. If none does, the load is cancelled."""
    with lock:
        load.interested -= 1
        cancel = None if load.interested else load.cancel
    if cancel is not None:
        cancel()


def look_up(handle: Handle, plugin_id: bytes, call: Call[Result]) -> Result:
    """Gets a manifest without loading."""
    error = ErrorRecord()
    return call.found(_library.look_up(handle, plugin_id, None, None, byref(error)), error)


def get(handle: Handle, plugin_id: bytes, call: Call[Result]) -> Result:
    """Gets a manifest; loads it on this thread, or waits for the load of another caller."""
    told = _new_lock()
    told.acquire()
    turn = Turn(handle, plugin_id, told.release)
    load, error = turn.load, byref(turn.error)
    try:
        status = turn.begin()
        if status == PENDING:
            _wait(handle, told)
            return turn.waited(call)
        if status != BEGUN:
            return call.found(turn.string, turn.error)
        return turn.run(call)
    finally:
        if load:  # another exception came on the way to its end
            with lock:
                _library.end(load, error)
        if turn.status is None or turn.status == PENDING:
            turn.close()
        else:  # begin() may have been interrupted before it did this
            _turns.pop(id(turn), None)
        if _to_deliver:
            deliver()


def _wait(handle: Handle, told: Any) -> None:
    """Waits until the lock ``told`` is released. An exception of a signal handler ends the wait."""
    limit_ms, pid = handle.wait_ms, os.getpid()
    until = time.monotonic() + limit_ms / 1000 if limit_ms else float("inf")
    while not told.acquire(True, min(max(until - time.monotonic(), 0.001), 1.0)):
        if os.getpid() != pid:  # the load goes on in the parent only
            raise ManifestCacheError(Status.TIMEOUT, "the process was forked during this wait")
        if time.monotonic() >= until:
            end_overdue_waits(handle)


def end_overdue_waits(handle: Handle) -> None:
    """Ends the waits whose time is over."""
    _library.purge(handle)
    deliver()


def is_waited_for(handle: Handle) -> bool:
    """Whether a call waits for a load of this cache."""
    return any(turn.handle is handle for turn in list(_turns.values()))


def _new_lock() -> Any:
    """Returns a lock that lets greenlets run while it is waited for, if this thread has any."""
    hubs = sys.modules.get("gevent._hub_local")
    if hubs is not None and hubs.get_hub_if_exists() is not None:
        return importlib.import_module("gevent.thread").allocate_lock()
    return _thread.allocate_lock()  # looked up now, as a framework may have replaced it


def _after_fork_in_child() -> None:
    _to_deliver.clear()  # they are for threads that exist only in the parent
    lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=_after_fork_in_child
    )
