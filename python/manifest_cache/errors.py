"""Status codes, and the exception of a call that returns no manifest."""

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
    """The call was wrong: the cache is closed, or the id cannot be a file name."""
    INVALID_MANIFEST = 3
    """The manifest is not a JSON object (RFC 8259) in UTF-8, or is too large."""
    LOAD_FAILED = 4
    """The loader failed, here or on the thread whose load this call waited for, or its file could
    not be read."""
    LOAD_CYCLE = 5
    """The load would have waited for itself; the message names the cycle (a -> b -> a)."""
    TIMEOUT = 6
    """Another caller's load of this plugin did not end within ``Option.WAIT_MS``."""
    INTERNAL = 7
    """A bug in the library."""
    STALE = 8
    """There is a manifest, but an expired one, as ``Option.STALE_IF_ERROR_MS`` allows."""


class ManifestCacheError(RuntimeError):
    """A call failed, and not because its own loader raised an exception."""

    def __init__(
        self, status: Status, message: str, code: int = 0, line: int = 0, column: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        """The kind of error."""
        self.message = message
        """One line for a person; it names the plugin and the file."""
        self.code = code
        """``errno`` of a file operation; 0 if there is none."""
        self.line = line
        """Line in the manifest, from 1; 0 if the error is not at a place in it."""
        self.column = column
        """Column in that line, in bytes from 1; 0 if the error is not at a place in it."""

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.status, self.message, self.code, self.line, self.column)
