"""``AsyncManifestCacheService``: asyncio, on one event loop, on several, and beside threads."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Coroutine, Dict, List

import pytest

from manifest_cache import (
    AsyncManifestCacheService,
    ManifestCacheError,
    ManifestCacheService,
    Option,
    Status,
    _loading,
)

Manifest = Dict[str, Any]
Main = Callable[[], Coroutine[Any, Any, None]]


def in_loop(main: Main) -> Callable[[], None]:
    """Runs a test in an event loop, and checks that it leaves no wait behind."""

    @functools.wraps(main)
    def test() -> None:
        asyncio.run(asyncio.wait_for(main(), 30))
        gc.collect()
        assert not _loading._turns and not _loading._to_deliver

    return test


async def fail(plugin_id: str) -> Manifest:
    raise AssertionError(f"{plugin_id} should not have been loaded")


class Gate:
    """A loader that says when it has begun, and goes on when it is told to."""

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest
        self.loads = 0
        self.is_cancelled = False
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def load(self, plugin_id: str) -> Any:
        self.loads += 1
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if isinstance(self.manifest, BaseException):
            raise self.manifest
        return self.manifest


async def waits(cache: AsyncManifestCacheService, count: int) -> None:
    """Returns when so many calls wait for a load."""
    while sum(turn.status == _loading.PENDING for turn in _loading._turns.values()) != count:
        await asyncio.sleep(0)


@in_loop
async def test_a_loader_may_be_a_coroutine_function_or_a_plain_one() -> None:
    async def load(plugin_id: str) -> Manifest:
        await asyncio.sleep(0)
        return {"id": plugin_id}

    loaders: List[Any] = [
        load,
        functools.partial(load),
        lambda plugin_id: {"id": plugin_id},
        lambda plugin_id: load(plugin_id),
    ]
    for number, loader in enumerate(loaders):
        cache = AsyncManifestCacheService()
        manifest = await cache.get(str(number), loader)
        assert manifest == {"id": str(number)}
        assert await cache.get(str(number), fail) is manifest
        assert await cache.get("none") is None
        assert await cache.get("none", lambda _: None) is None


@in_loop
async def test_a_hit_awaits_nothing() -> None:
    cache = AsyncManifestCacheService()
    cache.set("weather", {"a": 1})
    with pytest.raises(StopIteration) as returned:
        cache.get("weather", fail).send(None)
    assert returned.value.value == {"a": 1}


@in_loop
async def test_a_thousand_tasks_share_one_load_and_one_dict() -> None:
    cache, gate = AsyncManifestCacheService(), Gate({"a": 1})
    tasks = [asyncio.create_task(cache.get("weather", gate.load)) for _ in range(1000)]
    await waits(cache, 999)
    gate.go_on.set()
    results = await asyncio.gather(*tasks)
    assert gate.loads == 1
    assert all(result is gate.manifest for result in results)


@in_loop
async def test_a_get_after_a_clear_never_sees_what_was_loaded_before() -> None:
    cache, old, new = AsyncManifestCacheService(), Gate({"old": 1}), Gate({"new": 1})
    first = asyncio.create_task(cache.get("weather", old.load))
    await old.begun.wait()
    joined = asyncio.create_task(cache.get("weather", fail))
    await waits(cache, 1)
    cache.clear("weather")
    second = asyncio.create_task(cache.get("weather", new.load))
    await new.begun.wait()
    old.go_on.set()
    assert await first == await joined == {"old": 1}, "they asked before the clear"
    third = asyncio.create_task(cache.get("weather", fail))
    await waits(cache, 1)
    new.go_on.set()
    assert await second == await third == {"new": 1}
    assert await cache.get("weather", fail) == {"new": 1}


@in_loop
async def test_the_loaders_exception_reaches_its_caller_and_the_others_get_an_error() -> None:
    exception = KeyError("no such file")
    cache, gate = AsyncManifestCacheService(), Gate(exception)
    leader = asyncio.create_task(cache.get("weather", gate.load))
    await gate.begun.wait()
    others = [asyncio.create_task(cache.get("weather", fail)) for _ in range(3)]
    await waits(cache, 3)
    gate.go_on.set()
    with pytest.raises(KeyError) as caught:
        await leader
    assert caught.value is exception
    for other in others:
        with pytest.raises(ManifestCacheError, match="weather.*KeyError: 'no such file'") as error:
            await other
        assert error.value.status == Status.LOAD_FAILED


@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_cancelled_task_does_not_take_the_load_from_the_others(cancelled: int) -> None:
    @in_loop
    async def main() -> None:
        cache, gate = AsyncManifestCacheService(), Gate({"a": 1})
        tasks = [asyncio.create_task(cache.get("weather", gate.load))]
        await gate.begun.wait()
        tasks += [asyncio.create_task(cache.get("weather", gate.load)) for _ in range(2)]
        await waits(cache, 2)
        tasks[cancelled].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks.pop(cancelled)
        gate.go_on.set()
        # At once, not only when the others look for themselves.
        assert await asyncio.wait_for(asyncio.gather(*tasks), 3) == [{"a": 1}] * 2
        assert gate.loads == 1

    main()


@in_loop
async def test_if_all_tasks_are_cancelled_so_is_the_load() -> None:
    cache, gate = AsyncManifestCacheService(), Gate({"a": 1})
    tasks = [asyncio.create_task(cache.get("weather", gate.load)) for _ in range(3)]
    await waits(cache, 2)
    for task in tasks:
        task.cancel()
    assert all(isinstance(e, asyncio.CancelledError) for e in await gathered(tasks))
    assert await cache.get("weather", lambda _: {"b": 1}) == {"b": 1}, "nobody joins it any more"
    assert gate.is_cancelled and cache.service._handle.loads == {}


async def gathered(tasks: List[Any]) -> List[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


@in_loop
async def test_cancelling_a_task_cancels_the_loads_within_its_load() -> None:
    cache, inner = AsyncManifestCacheService(), Gate({"a": 1})

    async def outer(plugin_id: str) -> Any:
        return await cache.get("inner", inner.load)

    task = asyncio.create_task(cache.get("outer", outer))
    await inner.begun.wait()
    task.cancel()
    await gathered([task])
    while not inner.is_cancelled:
        await asyncio.sleep(0)


@in_loop
async def test_a_load_goes_on_for_a_thread_when_all_tasks_are_cancelled() -> None:
    cache, gate = AsyncManifestCacheService(), Gate({"a": 1})
    task = asyncio.create_task(cache.get("weather", gate.load))
    await gate.begun.wait()
    thread = asyncio.create_task(asyncio.to_thread(cache.service.get, "weather", lambda _: None))
    await waits(cache, 1)
    task.cancel()
    await gathered([task])
    gate.go_on.set()
    assert await thread == {"a": 1} and not gate.is_cancelled


@in_loop
async def test_tasks_wait_for_the_load_of_a_thread_on_the_same_cache() -> None:
    service = ManifestCacheService()
    cache = AsyncManifestCacheService(service=service)
    begun, go_on = threading.Event(), threading.Event()

    def load(plugin_id: str) -> Manifest:
        begun.set()
        go_on.wait(20)
        return {"a": 1}

    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(service.get, "weather", load)
        begun.wait(20)
        tasks = [asyncio.create_task(cache.get("weather", fail)) for _ in range(3)]
        await waits(cache, 3)
        go_on.set()
        assert await asyncio.gather(*tasks) == [{"a": 1}] * 3
        assert service.get("weather") is thread.result() is tasks[0].result()


def test_event_loops_of_several_threads_share_one_cache() -> None:
    cache = AsyncManifestCacheService()
    loads: List[str] = []

    async def load(plugin_id: str) -> Manifest:
        loads.append(plugin_id)
        await asyncio.sleep(0.01)
        return {"id": plugin_id}

    async def main() -> List[Any]:
        return [await cache.get(str(number), load) for number in range(50)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: asyncio.run(main()), range(4)))
    assert sorted(loads, key=int) == [str(number) for number in range(50)]
    assert all(a is b for result in results for a, b in zip(result, results[0]))


@in_loop
async def test_a_circle_of_tasks_is_told() -> None:
    cache = AsyncManifestCacheService()
    both = {"a": asyncio.Event(), "b": asyncio.Event()}
    other = {"a": "b", "b": "a"}

    async def load(plugin_id: str) -> Any:
        both[plugin_id].set()
        await both[other[plugin_id]].wait()
        return {"inner": await cache.get(other[plugin_id], fail)}

    outcomes = await gathered([cache.get("a", load), cache.get("b", load)])
    told = [error for error in outcomes if isinstance(error, ManifestCacheError)]
    assert told and "-> a" in str(told[0]) and "-> b" in str(told[0])
    assert any(error.status == Status.LOAD_CYCLE for error in told)


@in_loop
async def test_a_loader_may_get_several_plugins_at_once_and_a_circle_through_one_is_told() -> None:
    cache = AsyncManifestCacheService()

    async def load(plugin_id: str) -> Any:
        if plugin_id == "leaf":
            return {"a": 1}
        return {"all": await asyncio.gather(cache.get("leaf", load), cache.get("middle", middle))}

    def middle(plugin_id: str) -> Any:  # in a thread, but within the load of "top" all the same
        return {"top": cache.service.get("top", lambda _: {"a": 1})}

    with pytest.raises(ManifestCacheError, match="top -> middle -> top") as caught:
        await cache.get("top", load)
    assert caught.value.status == Status.LOAD_CYCLE


@in_loop
async def test_a_task_that_outlives_the_load_it_was_made_in_is_no_longer_within_it() -> None:
    cache = AsyncManifestCacheService()
    tasks: List[Any] = []
    go_on = asyncio.Event()

    async def later() -> Any:
        await go_on.wait()
        return await cache.get("weather", lambda _: {"b": 1})

    async def load(plugin_id: str) -> Any:
        tasks.append(asyncio.create_task(later()))
        return {"a": 1}

    assert await cache.get("weather", load) == {"a": 1}
    cache.clear()
    go_on.set()
    assert await tasks[0] == {"b": 1}


@in_loop
async def test_a_wait_that_takes_too_long_ends_and_the_load_goes_on() -> None:
    cache, gate = AsyncManifestCacheService(), Gate({"a": 1})
    cache.set_option(Option.WAIT_MS, 20)
    leader = asyncio.create_task(cache.get("weather", gate.load))
    await gate.begun.wait()
    with pytest.raises(ManifestCacheError) as caught:
        await cache.get("weather", fail)
    assert caught.value.status == Status.TIMEOUT
    gate.go_on.set()
    assert await leader == {"a": 1} and await cache.get("weather", fail) == {"a": 1}


@in_loop
async def test_advancing_the_time_ends_waits() -> None:
    cache, gate = AsyncManifestCacheService(), Gate({"a": 1})
    leader = asyncio.create_task(cache.get("weather", gate.load))
    await gate.begun.wait()
    other = asyncio.create_task(cache.get("weather", fail))
    await waits(cache, 1)
    cache.advance(31)
    with pytest.raises(ManifestCacheError, match="WAIT_MS"):
        await other
    gate.go_on.set()
    assert await leader == {"a": 1}


@in_loop
async def test_a_stale_manifest_takes_the_place_of_an_exception_but_not_of_a_cancellation() -> None:
    cache = AsyncManifestCacheService()
    cache.set_option(Option.STALE_IF_ERROR_MS, 60_000)
    cache.set_option(Option.RETRY_MS, 0)
    cache.set("weather", {"a": 1})
    cache.advance(301)

    async def stop(plugin_id: str) -> Any:
        raise asyncio.CancelledError

    assert await cache.get("weather", lambda _: 1 / 0) == {"a": 1}  # type: ignore[arg-type, return-value]
    with pytest.raises(asyncio.CancelledError):
        await cache.get("weather", stop)


def test_an_event_loop_that_ends_during_a_load_ends_the_load() -> None:
    cache = AsyncManifestCacheService()

    async def main() -> None:
        gate = Gate({"a": 1})
        asyncio.create_task(cache.get("begun", gate.load))
        await gate.begun.wait()
        asyncio.create_task(cache.get("begun", gate.load))
        asyncio.create_task(cache.get("about to begin", gate.load))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert cache.service.get("begun", lambda _: {"b": 1}) == {"b": 1}
    assert cache.service.get("about to begin", lambda _: {"b": 1}) == {"b": 1}


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_a_load_of_500_ms_never_pauses_the_event_loop_for_20_ms(is_coroutine: bool) -> None:
    cache = AsyncManifestCacheService()

    def load(plugin_id: str) -> Manifest:
        time.sleep(0.5)
        return {"a": 1}

    async def load_async(plugin_id: str) -> Manifest:
        await asyncio.sleep(0.5)
        return {"a": 1}

    async def longest_pause_during(loading: asyncio.Future[Any]) -> float:
        longest, before = 0.0, time.perf_counter()
        while not loading.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        return longest

    async def main() -> float:
        loader = load_async if is_coroutine else load
        gets = (cache.get("weather", loader) for _ in range(20))
        loading = asyncio.gather(*gets)
        longest = await longest_pause_during(loading)
        assert await loading == [{"a": 1}] * 20
        cache.clear()
        return longest

    # Another program can stop this one for a while; it does not do so in each of three loads.
    pauses = [asyncio.run(main()) for _ in range(3)]
    print("longest pauses in ms:", *(f"{pause * 1000:.1f}" for pause in pauses))
    assert min(pauses) < 0.02
