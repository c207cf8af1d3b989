"""Serves the manifests of a directory of plugins: PLUGINS=<directory> uvicorn fastapi_manifests:app

A client that sends the ETag of its copy gets 304 and no body if the manifest is the same.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Dict, Tuple

from fastapi import FastAPI, HTTPException, Request, Response

from manifest_cache import Cache, ManifestCacheError, Status


def etag_of(data: bytes) -> str:
    """Returns an ETag that is the same for the same bytes, on every server and after a restart."""
    return '"' + hashlib.sha256(data).hexdigest()[:32] + '"'


def is_known(etag: str, if_none_match: str) -> bool:
    """Whether If-None-Match contains this ETag, by the weak comparison of RFC 9110."""
    tags = (tag.strip() for tag in if_none_match.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == etag for tag in tags)


def make_app(plugins: Path, ttl_seconds: float = 300) -> FastAPI:
    """Returns an application for the plugins of a directory."""
    app = FastAPI()
    cache = Cache(ttl_seconds)
    etags: Dict[str, Tuple[int, str]] = {}
    """For each plugin, the revision of its manifest and the ETag."""

    # Not async: FastAPI runs a plain function on a thread pool, so that reading a file does not
    # block other requests.
    @app.get("/plugins/{plugin_id}/manifest")
    def manifest(plugin_id: str, request: Request) -> Response:
        if_none_match = request.headers.get("If-None-Match", "")
        revision, etag = etags.get(plugin_id, (0, ""))
        if revision and "\0" not in plugin_id and cache.revision(plugin_id) == revision:
            if is_known(etag, if_none_match):
                return Response(status_code=304, headers={"ETag": etag})
        try:
            found = cache.load_directory(plugin_id, plugins)
        except ManifestCacheError as error:
            status = 404 if error.status == Status.INVALID_ARGUMENT else 502
            raise HTTPException(status, error.message) from error
        except ValueError as error:
            raise HTTPException(404, str(error)) from error
        if found is None:
            etags.pop(plugin_id, None)
            raise HTTPException(404, f"there is no plugin {plugin_id!r}")
        if found.revision != revision:
            etag = etag_of(found.data)
            etags[plugin_id] = (found.revision, etag)
        if is_known(etag, if_none_match):
            return Response(status_code=304, headers={"ETag": etag})
        return Response(found.data, media_type="application/json", headers={"ETag": etag})

    @app.post("/plugins/{plugin_id}/reload", status_code=204)
    def reload(plugin_id: str) -> None:
        if "\0" not in plugin_id:
            cache.clear(plugin_id)

    return app


app = make_app(Path(os.environ.get("PLUGINS", "plugins")))
