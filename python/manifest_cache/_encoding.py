"""Manifests as JSON, and what cannot be one."""

from __future__ import annotations

import json
from typing import Any, Dict, List


def encode(plugin_id: str, manifest: object) -> bytes:
    """A manifest as JSON.

    Raises ``TypeError`` or ``ValueError`` for what JSON cannot hold, such as a set, NaN, a circle, or a key that is no string,
    which would come back as another one.
    """
    if not isinstance(manifest, dict):
        raise TypeError(
            f"the manifest of plugin {plugin_id!r} must be a dict, not {type(manifest).__name__}"
        )
    try:
        # ASCII: half a surrogate pair is then escaped, and not refused by UTF-8.
        text = json.dumps(manifest, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        kind = ValueError if isinstance(error, RecursionError) else type(error)
        kind = kind if kind in (TypeError, ValueError) else ValueError
        raise kind(f"the manifest of plugin {plugin_id!r} cannot be JSON: {error}") from error
    _refuse_other_keys(plugin_id, manifest)
    return text.encode("ascii")


def _refuse_other_keys(plugin_id: str, manifest: Dict[Any, Any]) -> None:
    rest: List[Any] = [manifest]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(
                        f"the manifest of plugin {plugin_id!r} cannot be JSON: "
                        f"the key {key!r} is a {type(key).__name__}, not a str"
                    )
            rest.extend(value.values())
        elif isinstance(value, (list, tuple)):
            rest.extend(value)
