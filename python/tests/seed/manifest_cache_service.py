"""What test_manifest_cache_service.py imports: the one line that a host changes."""

from manifest_cache import ManifestCacheService

__all__ = ["ManifestCacheService"]
