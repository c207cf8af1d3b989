"""How a call can end otherwise than with a manifest."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ManifestCacheError", "Status"]


class Status(IntEnum):
    """How a call ended."""

    OK = 0
    """There is a manifest."""
    NOT_FOUND = 1
    """There is no such plugin, or no such file."""
    INVALID_ARGUMENT = 2
    """The call was wrong: a closed cache, or an id that cannot be a file name."""
    INVALID_MANIFEST = 3
    """The manifest is not a JSON object (RFC 8259) in UTF-8, or is too large."""
    LOAD_FAILED = 4
    """The loader failed, here or in the thread whose load this call shared, or its file could not be read."""
    LOAD_CYCLE = 5
    """The load would have waited for itself; the message names the circle (a -> b -> a)."""
    TIMEOUT = 6
    """Another thread's load of this plugin did not end within ``Option.WAIT_MS``."""
    INTERNAL = 7
    """A bug in the library."""
    STALE = 8
    """There is a manifest, but an expired one, as ``Option.STALE_IF_ERROR_MS`` allows."""


class ManifestCacheError(RuntimeError):
    """A call brought no manifest, for a reason that is not an exception of the caller's own loader."""

    def __init__(
        self, status: Status, message: str, code: int = 0, line: int = 0, column: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        """What kind of error it is."""
        self.message = message
        """One line for a person, naming the plugin and the file."""
        self.code = code
        """``errno`` of a file operation; 0 if there is none."""
        self.line = line
        """Line of the manifest, from 1; 0 if the error has no place in it."""
        self.column = column
        """Column in that line in bytes, from 1; 0 if the error has no place in the manifest."""

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.status, self.message, self.code, self.line, self.column)
