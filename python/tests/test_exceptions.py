"""What a loader raises beside a stale manifest, and loaders that are not plain functions."""

from __future__ import annotations

import asyncio
import functools
import gc
from typing import Any, Callable, Dict, Generator, List, Type, Union

import pytest

from manifest_cache import Cache, ManifestCacheService, Option

TELLS_TO_STOP: List[Type[BaseException]] = [
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    asyncio.CancelledError,
]


def fail(plugin_id: str) -> Any:
    raise ZeroDivisionError(plugin_id)


def expired_service() -> ManifestCacheService:
    """A cache with a manifest that has expired and may be served stale."""
    service = ManifestCacheService()
    service.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    service.set_option(Option.RETRY_MS, 0)
    service.set("weather", {"a": 1})
    service.advance(301)
    return service


def expired_cache() -> Cache:
    """The same as JSON."""
    cache = Cache()
    cache.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    cache.set_option(Option.RETRY_MS, 0)
    cache.put("weather", '{"a": 1}')
    cache.advance(301)
    return cache


@pytest.mark.parametrize("make", [expired_service, expired_cache])
@pytest.mark.parametrize("kind", TELLS_TO_STOP)
def test_what_tells_the_caller_to_stop_is_raised_though_there_is_a_stale_manifest(
    make: Callable[[], Union[ManifestCacheService, Cache]], kind: Type[BaseException]
) -> None:
    cache: Any = make()
    exception = kind()

    def stop(plugin_id: str) -> Any:
        raise exception

    with pytest.raises(kind) as caught:
        cache.get("weather", stop)
    assert caught.value is exception
    stale = cache.get("weather", fail)
    assert stale == {"a": 1} or stale.text == '{"a": 1}', "an ordinary exception is answered so"


def test_the_stale_dict_is_the_same_one_after_an_interrupt() -> None:
    service = ManifestCacheService()
    service.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    service.set_option(Option.RETRY_MS, 0)
    manifest = service.get("weather", lambda _: {"a": 1})
    service.advance(301)

    def stop(plugin_id: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        service.get("weather", stop)
    assert service.get("weather", fail) is manifest


async def coroutine_function(plugin_id: str) -> Any:
    return {"id": plugin_id}


class Awaitable:
    def __await__(self) -> Generator[Any, None, Any]:
        yield


AWAITABLE_LOADERS: Dict[str, Callable[[str], Any]] = {
    "coroutine": coroutine_function,
    "coroutine from a plain function": lambda plugin_id: coroutine_function(plugin_id),
    "coroutine from a partial": functools.partial(coroutine_function),
    "Awaitable": lambda _: Awaitable(),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", AWAITABLE_LOADERS)
@pytest.mark.parametrize("make", [ManifestCacheService, Cache])
def test_a_loader_that_must_be_awaited_is_an_error_that_names_the_remedy(
    make: Callable[[], Any], name: str
) -> None:
    cache = make()
    store = cache.set if isinstance(cache, ManifestCacheService) else cache.put
    load = AWAITABLE_LOADERS[name]
    calls: List[Callable[[], object]] = [
        lambda: cache.get("weather", load),
        lambda: store("weather", load("weather")),
    ]
    for call in calls:
        with pytest.raises(TypeError) as caught:
            call()
        for said in ("'weather'", name.split()[0], "async def", "await the manifest first"):
            assert said in str(caught.value)
    gc.collect()  # Python warns of a coroutine that was never awaited when it is freed
    assert cache.stats()["total_entries"] == 0


def test_the_remedies_for_a_coroutine_function_work() -> None:
    async def main() -> None:
        service = ManifestCacheService()
        service.set("weather", await coroutine_function("weather"))
        assert service.get("weather") == {"id": "weather"}

        def load(plugin_id: str) -> Any:
            return asyncio.run(coroutine_function(plugin_id))

        assert await asyncio.to_thread(service.get, "mail", load) == {"id": "mail"}

    asyncio.run(main())
