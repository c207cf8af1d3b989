"""``ManifestCacheService`` on one thread."""

from __future__ import annotations

import gc
import json
import logging
import math
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Type

import pytest

from manifest_cache import ManifestCacheError, ManifestCacheService, Option, Status, _loading
from manifest_cache._library import Load
from manifest_cache.service import ManifestCall


class Watched(Dict[str, Any]):
    """A dict that a weak reference can refer to."""


def fail(plugin_id: str) -> Dict[str, Any]:
    raise AssertionError(f"{plugin_id} should not have been loaded")


def test_a_hit_returns_the_very_dict_that_the_loader_returned(
    service: ManifestCacheService,
) -> None:
    manifest = {"id": "weather", "nested": {"list": [1, 2.5, None, True, "ü\ud800"]}}
    assert service.get("weather", lambda plugin_id: manifest) is manifest
    assert service.get("weather", fail) is manifest
    assert service.get("weather", loader_func=fail) is manifest
    assert service.get("weather") is manifest


def test_the_loader_is_given_the_plugin_id(service: ManifestCacheService) -> None:
    asked_for: List[str] = []
    service.get("ünï/😀", lambda plugin_id: asked_for.append(plugin_id))
    assert asked_for == ["ünï/😀"]


@pytest.mark.parametrize("nothing", [None, {}])
def test_none_and_an_empty_dict_are_returned_and_not_cached(
    service: ManifestCacheService, nothing: Optional[Dict[str, Any]]
) -> None:
    for _ in range(2):
        loads: List[str] = []

        def load(plugin_id: str, loads: List[str] = loads) -> Optional[Dict[str, Any]]:
            loads.append(plugin_id)
            return nothing

        assert service.get("weather", load) is nothing
        assert loads == ["weather"]
    assert service.stats()["total_entries"] == 0


def test_without_a_loader_get_only_looks(service: ManifestCacheService) -> None:
    assert service.get("weather") is None
    assert service.get("weather", None) is None


def test_set_caches_and_get_returns_the_very_dict(service: ManifestCacheService) -> None:
    first, second = {"version": 1}, {"version": 1}
    service.set("weather", first)
    assert service.get("weather") is first
    service.set("weather", second)
    assert service.get("weather", fail) is second
    service.set("weather", {})
    assert service.get("weather") is None


def test_a_load_is_overtaken_by_a_set_within_its_loader(service: ManifestCacheService) -> None:
    newer = {"version": 2}

    def load(plugin_id: str) -> Dict[str, Any]:
        service.set(plugin_id, newer)
        return {"version": 1}

    assert service.get("weather", load) == {"version": 1}
    assert service.get("weather", fail) is newer


def test_a_load_is_overtaken_by_a_clear_within_its_loader(service: ManifestCacheService) -> None:
    references: List[weakref.ref[Watched]] = []

    def load(plugin_id: str) -> Dict[str, Any]:
        service.clear(plugin_id)
        manifest = Watched(version=1)
        references.append(weakref.ref(manifest))
        return manifest

    assert service.get("weather", load) == {"version": 1}
    assert service.get("weather") is None
    assert references[0]() is None


def test_stats_are_the_three_and_the_time_to_live_is_as_given() -> None:
    for ttl_seconds in (300, 2.5, 1, 0.001, math.inf):
        service = ManifestCacheService(ttl_seconds)
        service.set("weather", {"a": 1})
        stats = service.stats()
        assert stats == {"total_entries": 1, "expired_entries": 0, "ttl_seconds": ttl_seconds}
        assert type(stats["ttl_seconds"]) is type(ttl_seconds)
        assert repr(service) == f"ManifestCacheService(entries=1, ttl={ttl_seconds}s)"


@pytest.mark.parametrize("ttl_seconds", [0, -1, 0.0])
def test_with_no_time_to_live_nothing_is_kept(ttl_seconds: float) -> None:
    service = ManifestCacheService(ttl_seconds)
    reference = weakref.ref(service.get("weather", lambda _: Watched(a=1)))
    assert reference() is None
    service.set("weather", {"a": 1})
    assert service.get("weather") is None


def test_a_time_to_live_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(TypeError):
        ManifestCacheService("300")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        ManifestCacheService(math.nan)


@pytest.mark.parametrize("everything", [None, ""])
def test_clear_with_nothing_clears_everything(
    service: ManifestCacheService, everything: Optional[str]
) -> None:
    for plugin_id in ("weather", "mail", ""):
        service.set(plugin_id, {"a": 1})
    service.clear("mail")
    assert service.stats()["total_entries"] == 2
    service.clear(everything)
    assert service.stats()["total_entries"] == 0
    assert service.get("") is None


def test_an_id_with_a_nul_is_refused(service: ManifestCacheService) -> None:
    service.set("weather", {"a": 1})
    for call in (service.get, service.clear):
        with pytest.raises(ValueError, match="NUL"):
            call("weather\0")
    with pytest.raises(ValueError, match="NUL"):
        service.set("weather\0", {"a": 1})
    assert service.stats()["total_entries"] == 1


@pytest.mark.parametrize("plugin_id", [b"weather", 7, None, ["weather"]])
def test_an_id_that_is_no_string_is_refused(
    service: ManifestCacheService, plugin_id: object
) -> None:
    with pytest.raises(TypeError):
        service.get(plugin_id, fail)  # type: ignore[arg-type]


class Odd(Exception):
    """An exception whose ``str()`` fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "exception",
    [KeyError("a"), OSError(2, "no"), Odd(), KeyboardInterrupt(), SystemExit(3), GeneratorExit()]
    + [
        ManifestCacheError(Status.TIMEOUT, "mine"),
        RecursionError("deep"),
        ValueError("a\0b\ud800"),
    ],
    ids=lambda exception: type(exception).__name__,
)
def test_the_loaders_exception_reaches_the_caller_unchanged(
    service: ManifestCacheService, exception: BaseException
) -> None:
    def load_from_disk(plugin_id: str) -> Dict[str, Any]:
        raise exception

    with pytest.raises(type(exception)) as caught:
        service.get("weather", load_from_disk)
    assert caught.value is exception
    assert exception.__context__ is None and exception.__cause__ is None
    assert traceback.extract_tb(exception.__traceback__)[-1].name == "load_from_disk"
    manifest = {"a": 1}
    assert service.get("weather", lambda _: manifest) is manifest


def test_an_exception_leaves_nothing_behind(service: ManifestCacheService) -> None:
    def load(plugin_id: str) -> Dict[str, Any]:
        watched = Watched()
        references.append(weakref.ref(watched))
        raise KeyError(plugin_id)

    references: List[weakref.ref[Watched]] = []
    gc.collect()
    gc.disable()
    try:
        try:
            service.get("weather", load)
        except KeyError:
            pass
        assert references[0]() is None, "freed without the garbage collector"
    finally:
        gc.enable()


CYCLE: Dict[str, Any] = {}
CYCLE["self"] = [CYCLE]
DEEP: Dict[str, Any] = {}
for _ in range(200_000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("manifest", "error", "says"),
    [
        ([], TypeError, "list"),
        ("", TypeError, "str"),
        (0, TypeError, "int"),
        ([1], TypeError, "list"),
        ({"a": {1, 2}}, TypeError, "set"),
        ({"a": Path("a")}, TypeError, "Path"),
        ({1: "a"}, TypeError, "key 1 is of type int"),
        ({"a": [({None: 1},)]}, TypeError, "key None is of type NoneType"),
        ({("a",): 1}, TypeError, "keys must be"),
        ({"a": math.nan}, ValueError, "Out of range"),
        ({"a": [-math.inf]}, ValueError, "Out of range"),
        ({"a": 10**5000}, ValueError, "digits"),
        (CYCLE, ValueError, "Circular"),
        (DEEP, ValueError, "recursion"),
    ],
    ids=range(14),
)
def test_a_manifest_that_json_cannot_hold_is_refused_and_not_cached(
    service: ManifestCacheService, manifest: Any, error: Type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        service.get("weather", lambda _: manifest)
    assert "'weather'" in str(caught.value)
    with pytest.raises(error, match=says):
        service.set("weather", manifest)
    assert service.stats()["total_entries"] == 0


def test_a_manifest_that_is_too_long_is_an_error(service: ManifestCacheService) -> None:
    service.set_option(Option.MAX_MANIFEST_BYTES, 10)
    attempts: List[Callable[[], object]] = [
        lambda: service.get("a", lambda _: {"long": "text"}),
        lambda: service.set("a", {"long": "text"}),
    ]
    for attempt in attempts:
        with pytest.raises(ManifestCacheError) as caught:
            attempt()
        assert caught.value.status == Status.INVALID_MANIFEST


def service_with_a_stale_manifest(monkeypatch: pytest.MonkeyPatch) -> ManifestCacheService:
    """A cache with the expired manifest {"version": 1}, whose limit of length is now 20 bytes.

    The manifest expires before its ``get`` has returned from C, so that the service has no dict of
    it.
    """
    service = ManifestCacheService()
    service.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    service.set_option(Option.RETRY_MS, 0)
    end = _loading.Turn._end

    def end_slowly(turn: _loading.Turn) -> Any:
        string = end(turn)
        service.advance(301)
        return string

    with monkeypatch.context() as patch:
        patch.setattr(_loading.Turn, "_end", end_slowly)
        service.get("weather", lambda _: {"version": 1})
    service.set_option(Option.MAX_MANIFEST_BYTES, 20)
    return service


def test_a_manifest_that_the_cache_refuses_is_never_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = service_with_a_stale_manifest(monkeypatch)
    refused = {"version": 2, "long": "x" * 20}
    for _ in range(2):
        assert service.get("weather", lambda _: refused) == {"version": 1}
    service.clear()
    with pytest.raises(ManifestCacheError, match="20"):
        service.get("weather", lambda _: refused)


def test_threads_never_get_a_manifest_that_the_cache_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = service_with_a_stale_manifest(monkeypatch)
    both = threading.Barrier(2)

    def get(version: int) -> object:
        both.wait(20)
        return service.get("weather", lambda _: {"version": version, "long": "x" * 20})

    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            assert list(pool.map(get, (2, 3))) == [{"version": 1}] * 2


def test_a_manifest_whose_load_fails_after_the_answer_is_not_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = service_with_a_stale_manifest(monkeypatch)
    answer = ManifestCall.answer

    def answer_and_raise(call: ManifestCall, load: Load) -> None:
        answer(call, load)
        assert load.revision and load.value == {"version": 2}
        raise ZeroDivisionError  # as a signal handler may

    monkeypatch.setattr(ManifestCall, "answer", answer_and_raise)
    assert service.get("weather", lambda _: {"version": 2}) == {"version": 1}


def test_a_loader_may_get_other_plugins_and_a_cycle_is_an_error(
    service: ManifestCacheService,
) -> None:
    def load(plugin_id: str) -> Dict[str, Any]:
        depth = int(plugin_id)
        return {"inner": service.get(str(depth - 1), load) if depth else None}

    assert service.get("3", load) == {"inner": {"inner": {"inner": {"inner": None}}}}
    assert service.stats()["total_entries"] == 4

    def cycle(plugin_id: str) -> Optional[Dict[str, Any]]:
        return service.get("b" if plugin_id == "a" else "a", cycle)

    with pytest.raises(ManifestCacheError, match="a.*->.*b.*->.*a") as caught:
        service.get("a", cycle)
    assert caught.value.status == Status.LOAD_CYCLE


def test_the_dict_of_a_cleared_or_replaced_manifest_is_freed(service: ManifestCacheService) -> None:
    def load(plugin_id: str) -> Dict[str, Any]:
        manifest = Watched(id=plugin_id)
        references[plugin_id] = weakref.ref(manifest)
        return manifest

    references: Dict[str, weakref.ref[Watched]] = {}
    for plugin_id in ("cleared", "replaced", "all"):
        service.get(plugin_id, load)
    assert all(references[plugin_id]() is not None for plugin_id in references)
    service.clear("cleared")
    assert references["cleared"]() is None
    service.set("replaced", {"a": 1})
    assert references["replaced"]() is None
    service.clear()
    assert references["all"]() is None


def test_the_dict_of_an_expired_manifest_is_freed_if_its_reload_returns_none() -> None:
    reloads: List[Callable[[str], Any]] = [lambda _: None, lambda _: {}, lambda _: 1 / 0]
    for reload in reloads:
        service = ManifestCacheService()
        reference = weakref.ref(service.get("weather", lambda _: Watched(a=1)))
        service.advance(301)
        try:
            service.get("weather", reload)
        except ZeroDivisionError:
            pass
        assert reference() is None


def test_the_dicts_of_evicted_manifests_are_freed_before_long(
    service: ManifestCacheService,
) -> None:
    service.set_option(Option.MAX_ENTRIES, 10)
    references = [weakref.ref(service.get(str(i), lambda _: Watched(a=1))) for i in range(1000)]
    assert sum(reference() is not None for reference in references) <= 65
    assert service.stats()["total_entries"] == 10


def broken(plugin_id: str) -> Dict[str, Any]:
    raise ZeroDivisionError(f"{plugin_id} is broken")


def test_a_stale_manifest_is_returned_as_the_option_allows(service: ManifestCacheService) -> None:
    service.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    service.set_option(Option.RETRY_MS, 0)
    manifest = service.get("weather", lambda _: {"a": 1})
    service.advance(301)
    assert service.get("weather", broken) == manifest


def test_a_failure_is_remembered_as_the_option_says(service: ManifestCacheService) -> None:
    service.set_option(Option.FAILURE_TTL_MS, 60_000)
    with pytest.raises(ZeroDivisionError):
        service.get("weather", broken)
    gets: List[Callable[[], object]] = [
        lambda: service.get("weather", fail),
        lambda: service.get("weather"),
    ]
    for get in gets:
        with pytest.raises(ManifestCacheError) as caught:
            get()
        assert caught.value.status == Status.LOAD_FAILED
        assert "ZeroDivisionError: weather is broken" in caught.value.message
    service.clear("weather")
    assert service.get("weather", lambda _: {"a": 1}) == {"a": 1}, "a clear forgets it"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_is_not_remembered_as_a_failure(
    service: ManifestCacheService, interrupt: Type[BaseException]
) -> None:
    def interrupted(_: str) -> None:
        raise interrupt

    service.set_option(Option.FAILURE_TTL_MS, 60_000)
    with pytest.raises(interrupt):
        service.get("weather", interrupted)
    assert service.get("weather", lambda _: {"a": 1}) == {"a": 1}


def test_a_remembered_failure_is_forgotten_in_time(service: ManifestCacheService) -> None:
    service.set_option(Option.FAILURE_TTL_MS, 60_000)
    service.set_option(Option.MAX_MANIFEST_BYTES, 10)
    for manifest in ({"long": "text"}, {"a": 1}):
        with pytest.raises(ManifestCacheError) as caught:
            service.get("weather", lambda _: manifest)
        assert caught.value.status == Status.INVALID_MANIFEST
    service.advance(61)
    assert service.get("weather", lambda _: manifest) == {"a": 1}


def test_time_can_be_advanced_for_tests_of_expiry(
    service: ManifestCacheService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="manifest_cache")
    manifest = {"a": 1}
    service.set("weather", manifest)
    service.advance(200)
    assert service.get("weather", fail) is manifest
    assert "age=2" in caplog.messages[-1], "the age that is logged follows"
    service.advance(101)
    assert service.stats()["expired_entries"] == 1
    assert service.get("weather") is None
    assert service.get("weather", lambda _: {"a": 2}) == {"a": 2}
    with pytest.raises(ValueError, match="advanced by 0 seconds or more"):
        service.advance(-1)


def test_the_log_messages_are_those_of_the_original(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="manifest_cache")
    service = ManifestCacheService(ttl_seconds=300)
    service.get("weather", lambda _: {"a": 1})
    service.get("weather", fail)
    service.advance(301)
    service.get("weather", lambda _: {"a": 1})
    service.clear("weather")
    service.clear("weather")
    service.clear()
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [
        ("INFO", "Initialized ManifestCacheService (TTL=300s)"),
        ("DEBUG", "Loading manifest 'weather' from disk"),
        ("DEBUG", "Cached manifest 'weather' (CacheEntry(age=0.0s, ttl=300s))"),
        ("DEBUG", "Cache hit for manifest 'weather' (CacheEntry(age=0.0s, ttl=300s))"),
        ("DEBUG", "Cache expired for manifest 'weather', reloading"),
        ("DEBUG", "Loading manifest 'weather' from disk"),
        ("DEBUG", "Cached manifest 'weather' (CacheEntry(age=0.0s, ttl=300s))"),
        ("INFO", "Cleared cache for plugin 'weather'"),
        ("INFO", "Cleared entire manifest cache (0 entries)"),
    ]


def test_a_closed_cache_raises_and_closing_twice_is_fine() -> None:
    with ManifestCacheService() as service:
        reference = weakref.ref(service.get("weather", lambda _: Watched(a=1)))
    assert reference() is None
    service.close()
    assert repr(service) == "ManifestCacheService(closed)"
    calls: List[Callable[[], object]] = [
        service.stats,
        service.clear,
        lambda: service.get("weather", fail),
        lambda: service.advance(1),
    ]
    for call in calls:
        with pytest.raises(ManifestCacheError, match="closed"):
            call()
    with pytest.raises(ManifestCacheError, match="closed"):
        service.set("weather", {"a": 1})


def test_closing_within_a_loader_lets_the_call_end(service: ManifestCacheService) -> None:
    def load(plugin_id: str) -> Dict[str, Any]:
        service.close()
        return {"a": 1}

    assert service.get("weather", load) == {"a": 1}
    with pytest.raises(ManifestCacheError, match="closed"):
        service.get("weather", fail)


def test_callbacks_outlive_the_garbage_collector(service: ManifestCacheService) -> None:
    for i in range(200):
        manifest = service.get(
            str(i), lambda plugin_id: gc.collect(0) and None or {"id": plugin_id}
        )
        assert manifest == {"id": str(i)}


def test_a_cached_dict_is_returned_as_it_was_not_as_json(service: ManifestCacheService) -> None:
    manifest = {"tuple": (1, 2), "text": "ü"}
    service.set("weather", manifest)
    assert json.loads(json.dumps(manifest)) == {"tuple": [1, 2], "text": "ü"}
    assert service.get("weather") is manifest
