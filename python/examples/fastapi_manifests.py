"""Serves the manifests of a directory of plugins: PLUGINS=<directory> uvicorn fastapi_manifests:app

A client that sends the ETag of its copy gets 304 and no body if the manifest is the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from fastapi import FastAPI, HTTPException, Request, Response

from manifest_cache import AsyncManifestCacheService, ManifestCacheError


def etag_of(body: bytes) -> str:
    """Returns an ETag that is the same for the same bytes, on every server and after a restart."""
    return '"' + hashlib.sha256(body).hexdigest()[:32] + '"'


def is_known(etag: str, if_none_match: str) -> bool:
    """Whether If-None-Match contains this ETag, by the weak comparison of RFC 9110."""
    tags = (tag.strip() for tag in if_none_match.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == etag for tag in tags)


def is_plain(plugin_id: str) -> bool:
    """Whether an id names a folder in the directory of plugins, and nothing outside it."""
    return plugin_id not in ("", ".", "..") and not set(plugin_id) & set("/\\\0")


def make_app(plugins: Path, ttl_seconds: float = 300) -> FastAPI:
    """Returns an application for the plugins of a directory."""
    app = FastAPI()
    cache = AsyncManifestCacheService(ttl_seconds)
    answers: Dict[str, Tuple[Dict[str, Any], bytes, str]] = {}
    """For each plugin, its manifest, the same as JSON, and the ETag."""

    async def load(plugin_id: str) -> Optional[Dict[str, Any]]:
        # Reading a file blocks, so a thread does it. Requests for the same plugin wait for it, and
        # others are served meanwhile.
        path = plugins / plugin_id / "manifest.json"
        try:
            manifest: Dict[str, Any] = json.loads(await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            return None
        return manifest

    @app.get("/plugins/{plugin_id}/manifest")
    async def manifest(plugin_id: str, request: Request) -> Response:
        if not is_plain(plugin_id):
            raise HTTPException(404, f"{plugin_id!r} is no plugin")
        try:
            found = await cache.get(plugin_id, load)
        except (ManifestCacheError, OSError, TypeError, ValueError) as error:
            raise HTTPException(502, f"the manifest of {plugin_id!r}: {error}") from error
        if found is None:
            answers.pop(plugin_id, None)
            raise HTTPException(404, f"there is no plugin {plugin_id!r}")
        known, body, etag = answers.get(plugin_id, (None, b"", ""))
        if known is not found:  # while a manifest is fresh, it is the same dict
            body = json.dumps(found).encode()
            etag = etag_of(body)
            answers[plugin_id] = (found, body, etag)
        if is_known(etag, request.headers.get("If-None-Match", "")):
            return Response(status_code=304, headers={"ETag": etag})
        return Response(body, media_type="application/json", headers={"ETag": etag})

    @app.post("/plugins/{plugin_id}/reload", status_code=204)
    async def reload(plugin_id: str) -> None:
        if is_plain(plugin_id):
            cache.clear(plugin_id)

    return app


app = make_app(Path(os.environ.get("PLUGINS", "plugins")))
