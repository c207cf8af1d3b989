"""Encodes manifests as JSON, and refuses what cannot be encoded."""

from __future__ import annotations

import inspect
import json
import os
from typing import Any, Dict, List, Union

Path = Union[str, "os.PathLike[str]"]

# ASCII output: it escapes a lone surrogate, which cannot be encoded as UTF-8.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def encode_path(path: Path) -> bytes:
    """Returns a path, or a part of one, as a C string."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError(f"a path cannot hold a NUL character: {path!r}")
    return encoded


def encode_text(plugin_id: str, manifest: object) -> bytes:
    """Returns a manifest that is JSON already as bytes."""
    if isinstance(manifest, bytes):
        return manifest
    if isinstance(manifest, str):
        return manifest.encode()
    raise _wrong_type(plugin_id, manifest, "JSON as bytes or str")


def encode_dict(plugin_id: str, manifest: object) -> bytes:
    """Returns a manifest as JSON.

    Raises ``TypeError`` or ``ValueError`` for what JSON cannot hold: for example a set, NaN, a dict
    that contains itself, or a key that is not a string (JSON would make it one).
    """
    if not isinstance(manifest, dict):
        raise _wrong_type(plugin_id, manifest, "a dict")
    try:
        text = _encode(manifest)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"the manifest of plugin {plugin_id!r} cannot be JSON: {error}") from error
    _refuse_other_keys(plugin_id, manifest)
    return text.encode("ascii")


def _refuse_other_keys(plugin_id: str, manifest: Dict[Any, Any]) -> None:
    rest: List[Any] = [manifest]
    for container in rest:  # it grows meanwhile
        if isinstance(container, dict):
            for key in container:
                if not isinstance(key, str):
                    raise TypeError(
                        f"the manifest of plugin {plugin_id!r} cannot be JSON: "
                        f"the key {key!r} is of type {type(key).__name__}, not str"
                    )
            container = container.values()
        for value in container:
            if isinstance(value, (dict, list, tuple)):
                rest.append(value)


def _wrong_type(plugin_id: str, manifest: object, expected: str) -> TypeError:
    """Returns the error for a manifest of a wrong type, which says what to do about it."""
    kind = type(manifest).__name__
    if not inspect.isawaitable(manifest):
        return TypeError(f"the manifest of plugin {plugin_id!r} must be {expected}, not {kind}")
    if inspect.iscoroutine(manifest):
        manifest.close()  # or Python warns that it was never awaited
    return TypeError(
        f"the manifest of plugin {plugin_id!r} is a {kind}, which this class does not await. "
        "A loader must be a plain function here, not a coroutine function (async def): use "
        "AsyncManifestCacheService, or await the manifest first and store it with set() or put()"
    )
