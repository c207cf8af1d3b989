"""Keeps plugin manifests in memory, each for its time to live.

    from manifest_cache import ManifestCacheService

    cache = ManifestCacheService(ttl_seconds=300)
    manifest = cache.get_directory("weather", "plugins")

``ManifestCacheService`` keeps dicts, or what the host decodes, from files or from functions of the
host, and ``AsyncManifestCacheService`` is the same for asyncio. ``Cache`` keeps JSON text.
"""

from __future__ import annotations

from . import _library
from .asynchronous import AsyncManifestCacheService
from .cache import Cache, Entry, Manifest, Option, Syntax
from .errors import ManifestCacheError, Status
from .service import ManifestCacheService

__all__ = [
    "AsyncManifestCacheService",
    "Cache",
    "Entry",
    "Manifest",
    "ManifestCacheError",
    "ManifestCacheService",
    "Option",
    "Status",
    "Syntax",
]

__version__: str = _library.version().decode()
