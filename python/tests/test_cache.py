"""``Cache``: JSON text, files and directories."""

from __future__ import annotations

import errno
import math
import os
import pickle
import re
from pathlib import Path
from typing import List

import pytest

import manifest_cache
from manifest_cache import Cache, Entry, Manifest, ManifestCacheError, Option, Status, Syntax

TEXT = '{ "id": "weather",\n"ü": 1.50 }'


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_a_manifest_comes_back_byte_for_byte(cache: Cache) -> None:
    asked_for: List[str] = []

    def load(plugin_id: str) -> bytes:
        asked_for.append(plugin_id)
        return TEXT.encode()

    manifest = cache.get("weather", load)
    assert manifest is not None
    assert (manifest.data, manifest.text, manifest.stale) == (TEXT.encode(), TEXT, "")
    assert cache.get("weather", load) == cache.get("weather") == manifest
    assert asked_for == ["weather"]
    text = cache.get("other", lambda _: TEXT)
    assert text is not None and text.text == TEXT


def test_none_is_not_found(cache: Cache) -> None:
    assert cache.get("weather", lambda _: None) is None
    assert cache.get("weather") is None


def test_a_file_is_loaded_and_a_missing_one_is_none(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "weather.json"
    assert cache.load_file("weather", path) is None
    path.write_text(TEXT, "utf-8")
    manifest = cache.load_file("weather", str(path))
    assert manifest is not None and manifest.text == TEXT
    path.unlink()
    assert cache.load_file("weather", path) == manifest


def test_a_manifest_is_found_in_a_directory(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "weather").mkdir()
    (tmp_path / "weather" / "manifest.json").write_text(TEXT, "utf-8")
    manifest = cache.load_directory("weather", tmp_path)
    assert manifest is not None and manifest.text == TEXT
    assert cache.load_directory("mail", tmp_path) is None
    with pytest.raises(ManifestCacheError) as caught:
        cache.load_directory("../weather", tmp_path)
    assert caught.value.status == Status.INVALID_ARGUMENT
    with pytest.raises(ValueError, match="NUL"):
        cache.load_directory("mail", "a\0b")


def test_a_directory_may_have_its_manifests_under_another_name(
    cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "@acme" / "weather").mkdir(parents=True)
    (tmp_path / "@acme" / "weather" / "plugin.json").write_text(TEXT, "utf-8")
    assert cache.load_directory("@acme/weather", tmp_path) is None
    manifest = cache.load_directory("@acme/weather", tmp_path, "plugin.json")
    assert manifest is not None and manifest.text == TEXT
    for name in ("../plugin.json", "", "a/b"):
        with pytest.raises(ManifestCacheError) as caught:
            cache.load_directory("mail", tmp_path, name)
        assert caught.value.status == Status.INVALID_ARGUMENT
    with pytest.raises(ValueError, match="NUL"):
        cache.load_directory("mail", tmp_path, "plugin.json\0")


def test_errors_say_what_and_where(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "weather").mkdir()
    (tmp_path / "weather" / "manifest.json").write_text('{\n  "a": oops}', "utf-8")
    with pytest.raises(ManifestCacheError) as caught:
        cache.load_directory("weather", tmp_path)
    error = caught.value
    assert error.status is Status.INVALID_MANIFEST
    assert error.line == 2 and error.column > 0
    assert "weather" in error.message and str(error) == error.message
    with pytest.raises(ManifestCacheError) as caught:
        cache.load_file("weather", tmp_path)
    assert caught.value.status == Status.LOAD_FAILED and str(tmp_path) in caught.value.message
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ManifestCacheError) as caught:
        cache.load_file("weather", tmp_path / "loop")
    assert (caught.value.status, caught.value.code) == (Status.LOAD_FAILED, errno.ELOOP)
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error) and str(again) == str(error)


@pytest.mark.parametrize("manifest", ["[]", "", b"\xff", "{", '{"a": NaN}'])
def test_an_invalid_manifest_is_refused(cache: Cache, manifest: bytes) -> None:
    with pytest.raises(ManifestCacheError) as caught:
        cache.put("weather", manifest)
    assert caught.value.status == Status.INVALID_MANIFEST
    with pytest.raises(ManifestCacheError) as caught:
        cache.get("weather", lambda _: manifest)
    assert caught.value.status == Status.INVALID_MANIFEST


def test_a_loader_that_returns_something_else_raises(cache: Cache) -> None:
    with pytest.raises(TypeError, match="dict"):
        cache.get("weather", lambda _: {"a": 1})  # type: ignore[arg-type, return-value]
    with pytest.raises(ZeroDivisionError):
        cache.get("weather", lambda _: str(1 / 0))


def test_put_replaces_a_manifest_and_its_revision(cache: Cache) -> None:
    assert cache.revision("weather") == 0
    cache.put("weather", '{"version": 1}')
    first = cache.revision("weather")
    assert cache.get("weather") == Manifest(b'{"version": 1}', first, "")
    cache.put("weather", b'{"version": 2}')
    assert cache.revision("weather") not in (0, first)
    with pytest.raises(ValueError, match="NUL"):
        cache.revision("weather\0")
    with pytest.raises(TypeError):
        cache.revision(b"weather")  # type: ignore[arg-type]


def test_clear_counts_and_the_empty_id_is_an_ordinary_one(cache: Cache) -> None:
    for plugin_id in ("", "weather", "mail"):
        cache.put(plugin_id, '{"a": 1}')
    assert cache.clear("") == 1
    assert cache.clear("") == 0
    assert cache.clear() == 2


def test_entries_and_stats(cache: Cache) -> None:
    cache.put("weather", '{"a": 1}')
    (entry,) = cache.entries()
    revision = cache.revision("weather")
    assert entry == Entry("weather", entry.age_ms, 300_000, 8, revision, False)
    assert Cache(None).stats()["ttl_seconds"] is None
    stats = cache.stats()
    assert (stats["total_entries"], stats["hits"]) == (1, 1)
    assert stats["bytes"] == len('{"a": 1}') + len("weather") + 384, "as Option.MAX_BYTES says"


def test_time_can_be_advanced_for_tests_of_expiry(cache: Cache) -> None:
    other = Cache()
    for each in (cache, other):
        each.put("weather", '{"a": 1}')
    cache.advance(200)
    assert 200_000 <= cache.entries()[0].age_ms < 300_000
    assert cache.get("weather") is not None
    cache.advance(101)
    assert cache.entries()[0].expired
    assert cache.get("weather") is None and other.get("weather") is not None


def test_time_is_advanced_by_no_less_than_nothing(cache: Cache) -> None:
    for seconds in (-1, math.nan):
        with pytest.raises(ValueError, match="advanced by 0 seconds or more"):
            cache.advance(seconds)
    with pytest.raises(TypeError):
        cache.advance("1")  # type: ignore[arg-type]
    cache.set_option(Option.TTL_MS, Cache.FOREVER)
    cache.put("weather", '{"a": 1}')
    cache.advance(math.inf)
    assert cache.get("weather") is not None, "its time to live is for ever"


def test_purge_removes_expired_entries(cache: Cache) -> None:
    cache.put("weather", '{"a": 1}')
    cache.advance(301)
    assert cache.purge() == 1
    assert cache.entries() == []


def test_options(cache: Cache) -> None:
    cache.set_option(Option.MAX_ENTRIES, 1)
    cache.set_option(Option.TTL_MS, Cache.FOREVER)
    cache.put("a", '{"a": 1}')
    cache.put("b", '{"a": 1}')
    assert [(entry.plugin_id, entry.ttl_ms) for entry in cache.entries()] == [("b", None)]
    with pytest.raises(ManifestCacheError) as caught:
        cache.set_option(Option.MAX_MANIFEST_BYTES, 0)
    assert caught.value.status == Status.INVALID_ARGUMENT
    for value in (-1, 2**64):
        with pytest.raises(ValueError):
            cache.set_option(Option.MAX_ENTRIES, value)
    with pytest.raises(ValueError):
        cache.set_option(99, 1)  # type: ignore[arg-type]


def test_jsonc_is_returned_as_it_is(cache: Cache) -> None:
    text = '{"a": [1,], /* one */}'
    with pytest.raises(ManifestCacheError, match="MC_OPT_SYNTAX"):
        cache.put("weather", text)
    cache.set_option(Option.SYNTAX, Syntax.JSONC)
    cache.put("weather", text)
    manifest = cache.get("weather")
    assert manifest is not None and manifest.text == text
    with pytest.raises(ManifestCacheError):
        cache.set_option(Option.SYNTAX, 2)


def test_a_stale_manifest_says_why(cache: Cache) -> None:
    cache.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    cache.put("weather", '{"a": 1}')
    cache.advance(301)
    manifest = cache.get("weather", lambda _: str(1 / 0))
    assert manifest is not None and manifest.text == '{"a": 1}'
    assert "ZeroDivisionError" in manifest.stale


def test_a_failure_is_remembered_as_the_option_says(cache: Cache, tmp_path: Path) -> None:
    cache.set_option(Option.FAILURE_TTL_MS, 60_000)
    path = tmp_path / "weather.json"
    path.write_text("{", "utf-8")
    with pytest.raises(ManifestCacheError) as first:
        cache.load_file("weather", path)
    path.write_text(TEXT, "utf-8")
    with pytest.raises(ManifestCacheError) as second:
        cache.load_file("weather", path)
    assert vars(second.value) == vars(first.value)
    assert second.value.status == Status.INVALID_MANIFEST and second.value.line == 1
    (entry,) = cache.entries()
    assert (entry.plugin_id, entry.bytes, entry.revision) == ("weather", 0, 0)
    cache.advance(61)
    manifest = cache.load_file("weather", path)
    assert manifest is not None and manifest.text == TEXT


def test_a_closed_cache_raises() -> None:
    with Cache() as cache:
        cache.put("weather", '{"a": 1}')
        assert repr(cache) == "Cache(entries=1)"
    cache.close()
    assert repr(cache) == "Cache(closed)"
    for call in (cache.clear, cache.entries, cache.stats, cache.purge, lambda: cache.advance(1)):
        with pytest.raises(ManifestCacheError, match="closed"):
            call()


def test_strings_are_freed(cache: Cache) -> None:
    """A leak of 500 strings of a megabyte would show in the size of the process."""

    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    cache.put("warm", '{"a": "%s"}' % ("x" * 1_000_000))
    before = resident_pages()
    for _ in range(500):
        cache.put("weather", '{"a": "%s"}' % ("x" * 1_000_000))
        assert cache.get("weather") is not None
    grown = (resident_pages() - before) * os.sysconf("SC_PAGE_SIZE")
    assert grown < 50_000_000


HEADER = Path(__file__).parents[2] / "include" / "manifest_cache.h"


@pytest.mark.skipif(not HEADER.exists(), reason="the header is not beside the package")
def test_numbers_are_those_of_the_header() -> None:
    defined = dict(re.findall(r"^#define MC_(\w+) (\d+)$", HEADER.read_text("utf-8"), re.MULTILINE))
    for prefix, enum in (("OPT_", Option), ("", Status), ("SYNTAX_", Syntax)):
        for member in enum:
            assert int(defined[prefix + member.name]) == member.value
    version = ".".join(defined[f"VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH"))
    assert manifest_cache.__version__ == version
    assert Cache.FOREVER == 2**64 - 1
