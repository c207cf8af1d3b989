"""Plugin ids that are no text in UTF-8, and folders whose names are not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List
from urllib.parse import quote, unquote

import pytest

from manifest_cache import Cache, ManifestCacheService

NOT_UTF8 = ["caf" + os.fsdecode(b"\xe9"), "\ud800", "a\udcffb"]


@pytest.mark.parametrize("plugin_id", NOT_UTF8, ids=ascii)
def test_an_id_that_is_not_utf8_is_an_error_that_names_the_remedy(plugin_id: str) -> None:
    service, cache = ManifestCacheService(), Cache()
    calls: List[Callable[[], object]] = [
        lambda: service.get(plugin_id),
        lambda: service.get(plugin_id, lambda _: {"a": 1}),
        lambda: service.set(plugin_id, {"a": 1}),
        lambda: service.clear(plugin_id),
        lambda: cache.get(plugin_id),
        lambda: cache.put(plugin_id, "{}"),
        lambda: cache.load_directory(plugin_id, "."),
        lambda: cache.revision(plugin_id),
        lambda: cache.clear(plugin_id),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"UTF-8.*urllib\.parse\.quote\(name") as caught:
            call()
        assert ascii(plugin_id) in str(caught.value), "escaped, so that it can be printed"
        str(caught.value).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_the_remedy_works_for_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9%")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9%") / "manifest.json").write_text('{"a": 1}')
    (name,) = os.listdir(tmp_path)
    plugin_id = quote(name, errors="surrogateescape")
    assert plugin_id == "caf%E9%25"

    def path_of(plugin_id: str) -> Path:
        return tmp_path / unquote(plugin_id, errors="surrogateescape") / "manifest.json"

    def load(plugin_id: str) -> Dict[str, Any]:
        manifest: Dict[str, Any] = json.loads(path_of(plugin_id).read_text("utf-8"))
        return manifest

    assert ManifestCacheService().get(plugin_id, load) == {"a": 1}
    manifest = Cache().load_file(plugin_id, path_of(plugin_id))
    assert manifest is not None and manifest.text == '{"a": 1}'
