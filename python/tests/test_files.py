"""``get_file`` and ``get_directory``: dicts and decoded values from files."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypedDict

import pydantic
import pytest

from manifest_cache import (
    AsyncManifestCacheService,
    Cache,
    ManifestCacheError,
    ManifestCacheService,
    Option,
    Status,
    _loading,
)


def write(root: Path, text: str, plugin_id: str = "weather") -> Path:
    """Replaces a manifest by renaming, and returns its path."""
    folder = root / plugin_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new").write_text(text, "utf-8")
    return (folder / "new").rename(folder / "manifest.json")


@dataclasses.dataclass
class Weather:
    id: str
    version: int = 1


class Counted:
    """A ``decode`` function that counts its calls."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self.decode = decode
        self.texts: List[bytes] = []

    def __call__(self, text: bytes) -> Any:
        self.texts.append(text)
        return self.decode(text)


def as_weather(text: bytes) -> Weather:
    return Weather(**json.loads(text))


def test_a_file_is_a_dict_and_a_hit_returns_the_very_dict(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    path = write(tmp_path, '{"id": "weather", "ü": [1.5, null]}')
    manifest = service.get_directory("weather", tmp_path)
    assert type(manifest) is dict and manifest == {"id": "weather", "ü": [1.5, None]}
    path.unlink()
    assert service.get_directory("weather", str(tmp_path)) is manifest
    assert service.get_file("weather", path) is manifest
    assert service.get("weather") is manifest
    write(tmp_path, '{"id": "@acme/mail"}', "@acme/mail")
    assert service.get_directory("@acme/mail", tmp_path) == {"id": "@acme/mail"}


def test_a_missing_file_is_none_and_an_empty_manifest_is_not_cached(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    assert service.get_directory("weather", tmp_path) is None
    assert service.get_file("weather", tmp_path / "weather.json") is None
    write(tmp_path, "{}")
    assert service.get_directory("weather", tmp_path) == {}
    assert service.get_directory("weather", tmp_path, decode=len) == 2
    assert service.stats()["total_entries"] == 0


def test_another_file_name_can_be_given_and_a_wrong_one_is_refused(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    write(tmp_path, '{"a": 1}').rename(tmp_path / "weather" / "plugin.json")
    assert service.get_directory("weather", tmp_path, "plugin.json") == {"a": 1}
    for plugin_id, name in (("mail", "../plugin.json"), ("../weather", "plugin.json")):
        with pytest.raises(ManifestCacheError) as caught:
            service.get_directory(plugin_id, tmp_path, name)
        assert caught.value.status == Status.INVALID_ARGUMENT
    with pytest.raises(ValueError, match="NUL"):
        service.get_directory("mail", tmp_path, "a\0b")
    with pytest.raises(ManifestCacheError, match="weather.*JSON"):
        service.get_file("weather 2", write(tmp_path, '{"a": oops}'))


def test_an_unchanged_file_is_looked_at_once_and_its_dict_stays(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    path = write(tmp_path, '{"version": 1}')
    hour_ago = path.stat().st_mtime - 3600  # or the cache reads a file that has just changed again
    os.utime(path, (hour_ago, hour_ago))
    decode = Counted(as_version)
    first = service.get_directory("weather", tmp_path)
    assert service.get_directory("weather", tmp_path, decode=decode) == 1
    service.advance(301)
    assert service.get_directory("weather", tmp_path) is first
    service.advance(301)
    assert service.get_directory("weather", tmp_path, decode=decode) == 1
    assert len(decode.texts) == 1
    service.advance(301)
    write(tmp_path, '{"version": 2}')
    assert service.get_directory("weather", tmp_path, decode=decode) == 2
    assert service.get_directory("weather", tmp_path) == {"version": 2}
    assert len(decode.texts) == 2


def as_version(text: bytes) -> Any:
    return json.loads(text)["version"]


def test_decode_runs_once_for_each_revision_and_all_get_the_same_value(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    path = write(tmp_path, '{"id": "weather"}')
    decode = Counted(as_weather)
    weather: Optional[Weather] = service.get_directory("weather", tmp_path, decode=decode)
    assert weather == Weather("weather") and decode.texts == [b'{"id": "weather"}']
    assert service.get_file("weather", path, decode=decode) is weather
    assert service.get_directory("weather", tmp_path) == {"id": "weather"}, "beside the value"
    assert service.get_directory("weather", tmp_path, decode=decode) is weather
    write(tmp_path, '{"id": "weather", "version": 2}')
    service.clear("weather")
    assert service.get_file("weather", path, decode=decode) == Weather("weather", 2)
    service.set("weather", {"id": "set"})
    assert service.get_file("weather", path, decode=decode) == Weather("set")
    assert service.get_file("weather", path, decode=decode) == Weather("set")
    assert len(decode.texts) == 3


def test_a_pydantic_model_is_validated_once_and_a_typed_dict_needs_no_cast(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    class Model(pydantic.BaseModel):
        id: str

    class Typed(TypedDict):
        id: str

    write(tmp_path, '{"id": "weather"}')
    model = service.get_directory("weather", tmp_path, decode=Model.model_validate_json)
    assert model is not None and model.id == "weather"
    assert service.get_directory("weather", tmp_path, decode=Model.model_validate_json) is model
    typed: Optional[Typed] = service.get_directory("weather", tmp_path)
    assert typed is not None and typed["id"] == "weather"
    write(tmp_path, '{"id": 7}', "mail")
    with pytest.raises(pydantic.ValidationError):
        service.get_directory("mail", tmp_path, decode=Model.model_validate_json)
    assert service.get("mail") is None


def test_decoders_without_end_do_not_fill_the_memory(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    write(tmp_path, '{"id": "weather"}')
    references: List[weakref.ref[Weather]] = []
    for _ in range(100):
        weather = service.get_directory("weather", tmp_path, decode=lambda text: as_weather(text))
        assert weather is not None
        references.append(weakref.ref(weather))
    del weather
    assert sum(reference() is not None for reference in references) <= 8


def test_what_decode_raises_reaches_the_caller_and_nothing_is_cached(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    def refuse(text: bytes) -> Weather:
        raise ZeroDivisionError("a rule of the host")

    write(tmp_path, '{"id": "weather"}')
    with pytest.raises(ZeroDivisionError, match="a rule of the host"):
        service.get_directory("weather", tmp_path, decode=refuse)
    assert service.stats()["total_entries"] == 0
    with pytest.raises(TypeError, match="weather.*None"):
        service.get_directory("weather", tmp_path, decode=lambda text: None)
    service.set_option(Option.FAILURE_TTL_MS, 60_000)
    with pytest.raises(ZeroDivisionError):
        service.get_directory("weather", tmp_path, decode=refuse)
    with pytest.raises(ManifestCacheError, match="a rule of the host"):
        service.get_directory("weather", tmp_path, decode=as_weather)


def test_the_last_good_value_stays_if_decode_refuses_the_next_one(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    service.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    write(tmp_path, '{"id": "weather"}')
    good = service.get_directory("weather", tmp_path, decode=as_weather)
    service.advance(301)
    write(tmp_path, '{"unknown": "field"}')
    assert service.get_directory("weather", tmp_path, decode=as_weather) is good


def test_a_get_after_a_clear_never_sees_the_value_of_a_load_that_began_before(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    def decode_and_clear(text: bytes) -> Weather:
        service.clear("weather")
        return as_weather(text)

    write(tmp_path, '{"id": "old"}')
    assert service.get_directory("weather", tmp_path, decode=decode_and_clear) == Weather("old")
    write(tmp_path, '{"id": "new"}')
    assert service.get_directory("weather", tmp_path, decode=as_weather) == Weather("new")


def test_a_value_goes_with_its_manifest(service: ManifestCacheService, tmp_path: Path) -> None:
    write(tmp_path, '{"id": "weather"}')
    removes: List[Callable[[], object]] = [
        lambda: service.clear("weather"),
        lambda: service.set("weather", {"a": 1}),
        service.clear,
        service.close,
    ]
    for remove in removes:
        weather = service.get_directory("weather", tmp_path, decode=as_weather)
        reference = weakref.ref(weather)
        del weather
        assert isinstance(reference(), Weather)
        remove()
        gc.collect()
        assert reference() is None
        if service._handle:
            service.clear()


def test_threads_that_miss_share_one_decode(service: ManifestCacheService, tmp_path: Path) -> None:
    write(tmp_path, '{"id": "weather"}')

    def as_weather_when_three_wait(text: bytes) -> Weather:
        while len(_loading._turns) < 3:
            time.sleep(0.001)
        return as_weather(text)

    decode = Counted(as_weather_when_three_wait)
    both = threading.Barrier(4)

    def get(_: int) -> Optional[Weather]:
        both.wait(20)
        return service.get_directory("weather", tmp_path, decode=decode)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(get, range(4))
    assert first == Weather("weather") and all(other is first for other in others)
    assert len(decode.texts) == 1


def test_decode_may_get_other_plugins_and_a_cycle_is_an_error(
    service: ManifestCacheService, tmp_path: Path
) -> None:
    def with_parent(text: bytes) -> Dict[str, Any]:
        manifest: Dict[str, Any] = json.loads(text)
        if "extends" in manifest:
            manifest["parent"] = service.get_directory(
                manifest["extends"], tmp_path, decode=with_parent
            )
        return manifest

    write(tmp_path, '{"extends": "base"}', "child")
    write(tmp_path, '{"id": "base"}', "base")
    child = service.get_directory("child", tmp_path, decode=with_parent)
    assert child == {"extends": "base", "parent": {"id": "base"}}
    write(tmp_path, '{"extends": "self"}', "self")
    with pytest.raises(ManifestCacheError) as caught:
        service.get_directory("self", tmp_path, decode=with_parent)
    assert caught.value.status == Status.LOAD_CYCLE


def test_a_hit_in_asyncio_awaits_nothing_and_a_miss_reads_on_another_thread(
    tmp_path: Path,
) -> None:
    threads: List[int] = []

    def decode(text: bytes) -> Weather:
        threads.append(threading.get_ident())
        return as_weather(text)

    path = write(tmp_path, '{"id": "weather"}')
    cache = AsyncManifestCacheService()

    async def main() -> None:
        first = await cache.get_directory("weather", tmp_path, decode=decode)
        assert first == Weather("weather")
        for hit in (
            cache.get_directory("weather", tmp_path, decode=decode),
            cache.get_file("weather", path, decode=decode),
        ):
            with pytest.raises(StopIteration) as stopped:
                hit.send(None)
            assert stopped.value.value is first
        assert await cache.get_file("weather", path) == {"id": "weather"}
        assert await cache.get_directory("absent", tmp_path) is None
        with pytest.raises(ManifestCacheError):
            await cache.get_directory("..", tmp_path)

    asyncio.run(main())
    assert len(threads) == 1 and threads[0] != threading.get_ident()


def test_tasks_that_miss_share_one_decode_and_the_load_outlives_those_that_are_cancelled(
    tmp_path: Path,
) -> None:
    write(tmp_path, '{"id": "weather"}')
    begun, go_on = threading.Event(), threading.Event()

    def wait(text: bytes) -> Weather:
        begun.set()
        assert go_on.wait(20)
        return as_weather(text)

    decode = Counted(wait)
    cache = AsyncManifestCacheService()

    async def main() -> None:
        tasks = [
            asyncio.create_task(cache.get_directory("weather", tmp_path, decode=decode))
            for _ in range(10)
        ]
        await asyncio.to_thread(begun.wait, 20)
        for task in tasks[:9]:
            task.cancel()
        cancelled = await asyncio.gather(*tasks[:9], return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in cancelled)
        go_on.set()
        assert await tasks[9] == Weather("weather")
        assert await cache.get_directory("weather", tmp_path, decode=decode) is tasks[9].result()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert len(decode.texts) == 1 and not _loading._turns


def test_an_event_loop_that_ends_leaves_the_load_to_its_thread(tmp_path: Path) -> None:
    write(tmp_path, '{"id": "weather"}')
    begun, go_on = threading.Event(), threading.Event()

    def wait(text: bytes) -> Weather:
        begun.set()
        assert go_on.wait(20)
        return as_weather(text)

    cache = AsyncManifestCacheService()

    async def main() -> None:
        asyncio.get_running_loop().create_task(
            cache.get_directory("weather", tmp_path, decode=wait)
        )
        await asyncio.to_thread(begun.wait, 20)
        asyncio.get_running_loop().call_soon(go_on.set)

    asyncio.run(main())
    assert cache.service.get_directory("weather", tmp_path, decode=wait) == Weather("weather")
    assert not _loading._turns


def test_a_cache_keeps_one_manifest_object_for_each_revision(tmp_path: Path) -> None:
    cache = Cache()
    path = write(tmp_path, '{"version": 1}')
    loaded = cache.load_directory("weather", tmp_path)
    first = cache.load_directory("weather", tmp_path)
    assert loaded == first is not None
    for again in (cache.load_file("weather", path), cache.get("weather"), cache.get("weather")):
        assert again is first
    hits = cache.stats()["hits"]
    cache.get("weather")
    assert cache.stats()["hits"] == hits + 1 == 5, "each hit counts once, and the load as none"
    cache.put("weather", '{"version": 2}')
    second = cache.get("weather")
    assert second is not None and second.data == b'{"version": 2}'
    cache.clear("weather")
    assert cache.get("weather") is None
    cache.get("weather", lambda _: '{"version": 3}')
    cache.get("weather")
    cache.advance(301)
    assert cache.get("weather") is None


def test_a_cache_lets_go_of_what_it_kept() -> None:
    cache = Cache()
    cache.set_option(Option.MAX_ENTRIES, 10)
    for number in range(1000):
        cache.put(str(number), '{"a": 1}')
        cache.get(str(number))
    assert len(cache._kept) <= 65, "of the entries that are evicted in C"
    removes: List[Callable[[], object]] = [
        cache.clear,
        lambda: cache.clear("w"),
        lambda: cache.put("w", "{}"),
    ]
    for remove in removes:
        cache.put("w", '{"a": 1}')
        assert cache.get("w") is cache.get("w")
        assert "w" in cache._kept
        remove()
        assert "w" not in cache._kept
    cache.put("w", '{"a": 1}')
    cache.get("w")
    cache.advance(301)
    with pytest.raises(ZeroDivisionError):
        cache.get("w", lambda _: str(1 / 0))
    assert "w" not in cache._kept


def test_a_stale_manifest_says_why_and_the_renewed_one_does_not(tmp_path: Path) -> None:
    cache = Cache()
    cache.set_option(Option.STALE_IF_ERROR_MS, 600_000)
    path = write(tmp_path, '{"a": 1}')
    hour_ago = path.stat().st_mtime - 3600
    os.utime(path, (hour_ago, hour_ago))
    fresh = cache.load_file("weather", path)
    cache.advance(301)

    def broken(plugin_id: str) -> str:
        raise ZeroDivisionError("no disk")

    for _ in range(3):  # the second one finds that the load has just failed
        stale = cache.get("weather", broken)
        assert stale is not None and fresh is not None and "no disk" in stale.stale
        assert (stale.data, stale.revision) == (fresh.data, fresh.revision)
    cache.advance(2)
    for _ in range(3):
        assert cache.load_file("weather", path) == fresh, "renewed, with the same revision"
