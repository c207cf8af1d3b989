"""Calls of ``mc_get`` with a loader in Python.

C is given one callback that lives as long as this module, and the number of a call, under which the callback finds what
belongs to it: a loader may get other plugins, so that several calls are in progress on one thread.
"""

from __future__ import annotations

import os
import threading
from ctypes import byref
from typing import Dict, List, Optional, Tuple, TypeVar

from . import _library
from ._library import ErrorRecord, Handle, OwnedString

lock = threading.RLock()
"""Guards what services know, on misses only, never while a loader runs.

There is one for the process, and a fork waits for it, so that a child finds it free and what it guards whole. It is reentrant
for the sake of signal handlers and destructors.
"""


_SomeCall = TypeVar("_SomeCall", bound="Call")


class Call:
    """A call of ``mc_get`` that may have to load; in progress from the beginning to the end of its ``with``."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.exception: Optional[BaseException] = None

    def __enter__(self: _SomeCall) -> _SomeCall:
        _calls[id(self)] = self
        return self

    def __exit__(self, *_: object) -> None:
        _calls.pop(id(self), None)
        self.exception = None  # its traceback refers to frames that refer to this call

    def raise_if_failed(self, string: OwnedString) -> None:
        """Raises what the loader raised, given what ``mc_get`` returned.

        With a stale manifest C has answered an ordinary exception. ``KeyboardInterrupt``,
        ``SystemExit``, ``GeneratorExit`` and ``asyncio.CancelledError`` tell this thread or task to
        stop; they are raised whatever C returned.
        """
        # No local name for the exception: its traceback would refer to this frame, and so to it.
        if self.exception is not None and not (string and isinstance(self.exception, Exception)):
            raise self.exception

    def answer(self, load: int) -> None:
        """Answers ``load`` through the ``load_`` functions, or raises what the caller of ``mc_get`` shall be told."""
        raise NotImplementedError


_calls: Dict[int, Call] = {}
"""Those in progress, by the number that C is given. Changed and copied by single operations, which are atomic."""


def in_progress() -> List[Call]:
    """The calls that may be loading now."""
    return list(_calls.values())


def _run(_plugin_id: bytes, load: int, number: int) -> None:
    call = _calls[number]
    try:
        call.answer(load)
    except BaseException as exception:
        # No exception can pass through C. It is kept for the caller; others who wait for this load are told of it.
        call.exception = exception
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
    """Calls ``mc_get``, only to look if there is no ``call``, which must be in progress."""
    error = ErrorRecord()
    if call is None:
        return _library.get(handle, plugin_id, _library.NO_LOADER, None, byref(error)), error
    return _library.get(handle, plugin_id, _callback, id(call), byref(error)), error


def _after_fork_in_child() -> None:
    here = threading.get_ident()
    for number, call in list(_calls.items()):
        if call.thread != here:  # it is in progress in the parent only
            _calls.pop(number, None)
    lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=_after_fork_in_child
    )
