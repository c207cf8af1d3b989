"""Serves the manifests of a directory of plugins: PLUGINS=<directory> uvicorn fastapi_manifests:app

A client that sends the ETag of its copy gets 304 and no body if the manifest is the same.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response

from manifest_cache import AsyncManifestCacheService, ManifestCacheError, Status


class Body(NamedTuple):
    """What is sent for a manifest."""

    text: bytes
    etag: str
    """The same for the same bytes, on every server and after a restart."""


def body_of(text: bytes) -> Body:
    """Runs once for each manifest that is loaded. Here a host can also check it, and raise."""
    return Body(text, '"' + hashlib.sha256(text).hexdigest()[:32] + '"')


def is_known(etag: str, if_none_match: str) -> bool:
    """Whether If-None-Match contains this ETag, by the weak comparison of RFC 9110."""
    tags = (tag.strip() for tag in if_none_match.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == etag for tag in tags)


def make_app(plugins: Path, ttl_seconds: float = 300) -> FastAPI:
    """Returns an application for the plugins of a directory."""
    app = FastAPI()
    cache = AsyncManifestCacheService(ttl_seconds)

    @app.get("/plugins/{plugin_id}/manifest")
    async def manifest(plugin_id: str, request: Request) -> Response:
        # A thread reads the file. Requests for the same plugin wait for it, and others are served
        # meanwhile.
        try:
            body = await cache.get_directory(plugin_id, plugins, decode=body_of)
        except ValueError as error:  # it contains a NUL
            raise HTTPException(404, f"{plugin_id!r} is no plugin") from error
        except ManifestCacheError as error:
            status = 404 if error.status == Status.INVALID_ARGUMENT else 502
            raise HTTPException(status, error.message) from error
        if body is None:
            raise HTTPException(404, f"there is no plugin {plugin_id!r}")
        if is_known(body.etag, request.headers.get("If-None-Match", "")):
            return Response(status_code=304, headers={"ETag": body.etag})
        headers = {"ETag": body.etag}
        return Response(body.text, media_type="application/json", headers=headers)

    @app.post("/plugins/{plugin_id}/reload", status_code=204)
    async def reload(plugin_id: str) -> None:
        if plugin_id and "\0" not in plugin_id:
            cache.clear(plugin_id)

    return app


app = make_app(Path(os.environ.get("PLUGINS", "plugins")))
