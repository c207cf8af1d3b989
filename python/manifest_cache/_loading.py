"""Calls ``mc_get`` with a loader in Python.

C calls one callback for all loads; it lives as long as this module. ``user_data`` is the number of
the call, by which the callback finds the loader. A thread can have several calls in progress, as a
loader may get other plugins.
"""

from __future__ import annotations

import os
import threading
from ctypes import byref
from typing import Dict, List, Optional, Tuple, TypeVar

from . import _library
from ._library import ErrorRecord, Handle, OwnedString

lock = threading.RLock()
"""Guards the dicts of all services. Misses take it, hits do not, and no loader runs under it.

There is one lock for the process. A fork waits for it, so that in the child it is free and the
dicts are consistent. It is reentrant, as signal handlers and destructors may run while it is held.
"""

_SomeCall = TypeVar("_SomeCall", bound="Call")


class Call:
    """A call of ``mc_get`` that may load; it is in progress during its ``with`` statement."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.exception: Optional[BaseException] = None

    def __enter__(self: _SomeCall) -> _SomeCall:
        _calls[id(self)] = self
        return self

    def __exit__(self, *_: object) -> None:
        _calls.pop(id(self), None)
        self.exception = None  # breaks a reference cycle: its traceback refers to this call

    def raise_if_failed(self, string: OwnedString) -> None:
        """Raises the loader's exception. ``string`` is what ``mc_get`` returned.

        If that is a stale manifest, it takes the place of an ordinary exception.
        ``KeyboardInterrupt``, ``SystemExit``, ``GeneratorExit`` and ``asyncio.CancelledError`` tell
        this thread or task to stop, so they are raised in any case.
        """
        # A local variable for the exception would make a reference cycle through its traceback.
        if self.exception is not None and not (string and isinstance(self.exception, Exception)):
            raise self.exception

    def answer(self, load: int) -> None:
        """Loads the manifest and answers ``load`` with one of the ``load_`` functions.

        An exception is raised again in the caller of ``mc_get``.
        """
        raise NotImplementedError


_calls: Dict[int, Call] = {}
"""The calls in progress, by the number that C is given. Each access is one atomic operation."""


def in_progress() -> List[Call]:
    """Returns the calls in progress."""
    return list(_calls.values())


def _run(_plugin_id: bytes, load: int, number: int) -> None:
    call = _calls[number]
    try:
        call.answer(load)
    except BaseException as exception:
        # No exception can pass through C. The caller of mc_get raises it again; threads that wait
        # for this load get its text.
        call.exception = exception
        if not isinstance(exception, Exception):
            # An interrupt says nothing about the plugin, so the cache must not remember it.
            _library.load_ttl(load, 0)
        _library.load_fail(load, 0, _describe(exception))


def _describe(exception: BaseException) -> bytes:
    try:
        text = str(exception)
    except Exception:
        text = ""
    name = type(exception).__name__
    return (f"{name}: {text}" if text else name).replace("\0", "").encode("utf-8", "replace")


_callback = _library.Loader(_run)


def get(handle: Handle, plugin_id: bytes, call: Optional[Call]) -> Tuple[OwnedString, ErrorRecord]:
    """Calls ``mc_get``. Without a ``call`` it loads nothing; a ``call`` must be in progress."""
    error = ErrorRecord()
    if call is None:
        return _library.get(handle, plugin_id, _library.NO_LOADER, None, byref(error)), error
    return _library.get(handle, plugin_id, _callback, id(call), byref(error)), error


def _after_fork_in_child() -> None:
    here = threading.get_ident()
    for number, call in list(_calls.items()):
        if call.thread != here:  # that thread exists only in the parent
            _calls.pop(number, None)
    lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=_after_fork_in_child
    )
