"""Loads the C library that is in this package, and declares its functions and types.

All functions are called through ``CDLL``, which releases the GIL.

An exception that a signal handler raises is lost if a finalizer, or a callback from C, runs
instructions of Python at that moment. So what a ``get`` uses has neither: functions in C finalize
strings and loads, and wake who waits.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from operator import methodcaller
from pathlib import Path
from typing import Any, Callable, Dict, NoReturn, Optional
from weakref import ref

from .errors import ManifestCacheError, Status

_NAMES = {"darwin": "libmanifest_cache.dylib", "win32": "manifest_cache.dll"}


def _load() -> ctypes.CDLL:
    path = Path(__file__).with_name(_NAMES.get(sys.platform, "libmanifest_cache.so"))
    try:
        if path.exists():
            return ctypes.CDLL(str(path))
        return _load_from_archive(path.name)
    except (OSError, KeyError) as error:  # KeyError: Python 3.9, not in the archive
        raise ImportError(
            f"manifest_cache cannot load its C library {path}: {error}. Install the package with "
            "pip. A zip archive (zipapp, pex) must hold the library beside the modules; it is "
            "unpacked into the temporary directory, where execution must be allowed (set TMPDIR)",
            name=__name__,
            path=str(path),
        ) from error


def _load_from_archive(name: str) -> ctypes.CDLL:
    """Loads the library for a package that was imported from a zip archive.

    The dynamic linker reads only files, so the library is unpacked into a temporary file. The file
    is removed as soon as the library is loaded.
    """
    from importlib import resources  # here, as most programs do not need it and it imports slowly

    package = __name__.rpartition(".")[0]  # Python 3.9 sets __package__ later
    with resources.as_file(resources.files(package) / name) as path:
        return ctypes.CDLL(str(path))


_library = _load()


def refuse_copy(owner: object) -> NoReturn:
    """Raises ``TypeError``, for ``copy`` and ``pickle`` of an object that owns memory in C.

    A copy would free the same memory a second time, and another process does not have that memory.
    """
    raise TypeError(
        f"cannot copy or pickle {type(owner).__name__!r} object: it owns memory of this process. "
        "Threads can share it; make one cache for each process, in that process"
    )


FOREVER = 2**64 - 1
"""A time to live that never ends, in milliseconds."""


_as_method = ctypes.pythonapi.PyInstanceMethod_New
_as_method.restype = ctypes.py_object
_as_method.argtypes = [ctypes.py_object]


class Handle(c_void_p):
    """A cache in C, freed when nothing refers to this object any more.

    A call in progress refers to its arguments, so closing a cache never frees it during a call.
    """

    wait_ms = 30_000
    """``Option.WAIT_MS``."""
    loads: Dict[bytes, ref[Load]]
    """The last load of each plugin that has one in progress, by the encoded id."""

    def __del__(self, _free: Any = _library.mc_free) -> None:
        _free(self)
        self.value = None  # finalizers of the same reference cycle may still use this object

    def __reduce__(self) -> NoReturn:
        refuse_copy(self)


class OwnedString(c_void_p):
    """A string that the library returned, freed when nothing refers to this object any more.

    False if it is NULL.
    """

    __del__ = _as_method(_library.mc_string_free)

    def __reduce__(self) -> NoReturn:
        refuse_copy(self)

    def read(self) -> bytes:
        """Returns a copy of its bytes."""
        return read(self)


class ErrorRecord(ctypes.Structure):
    """``mc_error``: why a call failed."""

    _fields_ = [
        ("status", c_int32),
        ("code", c_int32),
        ("line", c_uint32),
        ("column", c_uint32),
        ("message", c_char * 496),
    ]

    def text(self) -> str:
        """Returns the message, one line for a person."""
        message: bytes = self.message
        return message.decode("utf-8", "replace")

    def as_exception(self) -> ManifestCacheError:
        """Returns this error as an exception."""
        return ManifestCacheError(
            Status(self.status), self.text(), self.code, self.line, self.column
        )


class Outcome(ctypes.Structure):
    """``mc_outcome``: where C puts the outcome of a wait."""

    _fields_ = [
        ("manifest", c_void_p),
        ("wake", c_void_p),
        ("wake_data", c_void_p),
        ("error", ErrorRecord),
    ]


end = ctypes.CFUNCTYPE(OwnedString, POINTER(c_void_p), c_void_p)(
    ("mc_end", _library), ((1, "load"), (1, "error", None))
)
"""``mc_end(load, error=None)``. It makes ``load`` NULL, which is false."""


class Load(c_void_p):
    """A load that Python began and ends; false before and after that.

    If nothing refers to it any more, it ends as it is.
    """

    __del__ = _as_method(end)

    interested = 1
    """How many calls want its outcome: the one that began it and those that wait."""
    cancel: Optional[Callable[[], None]] = None
    """Called when no call wants it any more."""
    revision = 0
    """That of the manifest that it was answered with, once C has accepted it."""
    decode: Optional[Callable[[bytes], Any]] = None
    """What has decoded ``value``; ``None`` stands for a dict."""
    value: Any = None
    """That manifest decoded, if Python has done so."""


def read(string: Any) -> bytes:
    """Returns a copy of the bytes of a string, which may be borrowed."""
    return ctypes.string_at(string, string_len(string))


_wake = ctypes.CFUNCTYPE(None, ctypes.py_object)(methodcaller("wake"))
WAKE = ctypes.cast(_wake, c_void_p).value
"""For ``Outcome.wake``. ``wake_data`` is the ``id`` of an object whose ``wake`` is a function in
C."""
DONE = ctypes.cast(_library.mc_outcome_done, c_void_p)
"""The ``mc_done`` of all waits."""


def _function(name: str, restype: Any, *argtypes: Any) -> Any:
    function = getattr(_library, name)
    function.restype = restype
    function.argtypes = argtypes
    return function


# These may be called when the interpreter has already destroyed most objects, argument types among
# them, so they have none.
_library.mc_free.restype = None
_library.mc_string_free.restype = None

# A hit calls this function. Without argtypes the call takes two thirds of the time; the callers
# pass a Handle and bytes without a NUL.
revision = _library.mc_revision
revision.restype = c_uint64

# A miss calls these two. begin() gets a Handle, bytes, a Load or None, DONE, and the byref() of an
# Outcome, a Load, an OwnedString and an ErrorRecord; end_begun() gets the byref() of the Load and
# of the ErrorRecord.
begin = _library.mc_begin_async
begin.restype = c_int32
end_begun = _library.mc_end
end_begun.restype = OwnedString

_new = _function("mc_new", Handle, c_uint64)
look_up = _function(
    "mc_get", OwnedString, Handle, c_char_p, c_void_p, c_void_p, POINTER(ErrorRecord)
)
put = _function("mc_put", c_int32, Handle, c_char_p, c_char_p, c_size_t, POINTER(ErrorRecord))
clear = _function("mc_clear", c_size_t, Handle, c_char_p)
purge = _function("mc_purge", c_size_t, Handle)
stats = _function("mc_stats", OwnedString, Handle)
stat = _function("mc_stat", c_uint64, Handle, c_int32)
entries = _function("mc_entries", OwnedString, Handle)
advance = _function("mc_advance", None, Handle, c_uint64)
set_option = _function("mc_set_option", c_int32, Handle, c_int32, c_uint64)
version = _function("mc_version", c_char_p)

# The argument is an OwnedString, or what load_text() returned.
string_len = _function("mc_string_len", c_size_t, c_void_p)
string_revision = _function("mc_string_revision", c_uint64, c_void_p)

# The first argument is a Load.
load_text = _function("mc_load_text", c_void_p, c_void_p)
load_json = _function("mc_load_json", c_int32, c_void_p, c_char_p, c_size_t)
load_file = _function("mc_load_file", c_int32, c_void_p, c_char_p)
load_directory_file = _function("mc_load_directory_file", c_int32, c_void_p, c_char_p, c_char_p)
load_not_found = _function("mc_load_not_found", None, c_void_p)
load_ttl = _function("mc_load_ttl", None, c_void_p, c_uint64)
load_fail = _function("mc_load_fail", None, c_void_p, c_int32, c_char_p)


def new(ttl_ms: int) -> Handle:
    """Returns a new cache."""
    handle: Handle = _new(ttl_ms)
    handle.loads = {}
    return handle


TOTAL_ENTRIES = 1
"""``MC_STAT_TOTAL_ENTRIES``, for ``stat``: the number of entries, expired ones included."""


def encode_id(plugin_id: str) -> bytes:
    """Returns a plugin id as a C string: UTF-8 without a NUL.

    A NUL would end the C string early, and that would be another plugin's id.
    """
    if not isinstance(plugin_id, str):
        raise TypeError(f"a plugin id is a str, not {type(plugin_id).__name__}")
    if "\0" in plugin_id:
        raise ValueError(f"a plugin id cannot hold a NUL character: {plugin_id!r}")
    try:
        return plugin_id.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"a plugin id must be a string that UTF-8 can encode, and {plugin_id!r} is not. For a "
            "file or folder whose name is not UTF-8, use "
            "urllib.parse.quote(name, errors='surrogateescape') as the id, and "
            "urllib.parse.unquote(plugin_id, errors='surrogateescape') to get its name back"
        ) from None


def milliseconds(ttl_seconds: float | None) -> int:
    """Returns a time to live in whole milliseconds, rounded up, so that nothing expires early.

    ``None`` and infinity mean for ever.
    """
    if ttl_seconds is None:
        return FOREVER
    if not isinstance(ttl_seconds, (int, float)):
        raise TypeError(f"a time to live is a number of seconds, not {type(ttl_seconds).__name__}")
    if ttl_seconds != ttl_seconds:
        raise ValueError("a time to live is a number of seconds, not NaN")
    if ttl_seconds <= 0:
        return 0
    if ttl_seconds >= FOREVER // 1000:
        return FOREVER
    whole, rest = divmod(ttl_seconds * 1000, 1)
    return int(whole) + (rest > 0)
