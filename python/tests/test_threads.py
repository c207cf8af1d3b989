"""Several threads, children of a fork, asyncio, and the end of the interpreter."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List

import pytest

from manifest_cache import ManifestCacheError, ManifestCacheService, Option, Status, _loading

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def in_child(check: Callable[[], bool]) -> bool:
    """Forks a child now; returns whether ``check`` is true in it."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.001)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def test_threads_that_miss_one_plugin_share_one_load_and_one_dict(
    service: ManifestCacheService,
) -> None:
    for round_ in range(30):
        loads: List[str] = []

        def load(plugin_id: str, loads: List[str] = loads) -> Dict[str, Any]:
            loads.append(plugin_id)
            time.sleep(0.005)
            return {"id": plugin_id}

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: service.get(str(round_), load), range(8)))
        assert loads == [str(round_)]
        assert all(result is results[0] for result in results)
        assert service.get(str(round_)) is results[0]


def test_a_hit_before_the_loading_thread_has_returned_gets_its_dict(
    service: ManifestCacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = {"a": 1}
    cached, go_on = threading.Event(), threading.Event()
    end = _loading.Turn._end

    def end_slowly(turn: _loading.Turn) -> Any:
        string = end(turn)
        cached.set()
        go_on.wait(20)
        return string

    monkeypatch.setattr(_loading.Turn, "_end", end_slowly)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(service.get, "weather", lambda _: manifest)
        cached.wait(20)
        other = pool.submit(service.get, "weather", lambda _: {"a": 2})
        go_on.set()
        assert other.result() is manifest
        assert leader.result() is manifest


def test_threads_that_wait_for_a_loader_that_raises_get_an_error(
    service: ManifestCacheService,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(plugin_id: str) -> Dict[str, Any]:
        begun.set()
        go_on.wait(20)
        raise KeyError("no such file")

    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(service.get, "weather", load)
        begun.wait(20)
        others = [pool.submit(service.get, "weather", load) for _ in range(3)]
        time.sleep(0.1)
        go_on.set()
        assert isinstance(leader.exception(), KeyError)
        for other in others:
            error = other.exception()
            assert isinstance(error, ManifestCacheError)
            assert error.status == Status.LOAD_FAILED
            assert "weather" in error.message and "KeyError: 'no such file'" in error.message
    assert service.get("weather", lambda _: {"a": 1}) == {"a": 1}


def test_a_hit_does_not_wait_for_a_load(service: ManifestCacheService) -> None:
    service.set("weather", {"a": 1})
    begun, go_on = threading.Event(), threading.Event()

    def load(plugin_id: str) -> None:
        begun.set()
        go_on.wait(20)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(service.get, "mail", load)
        begun.wait(20)
        assert service.get("weather") == {"a": 1}
        assert service.get("news", lambda _: {"b": 1}) == {"b": 1}
        assert not slow.done()
        go_on.set()


def test_a_wait_that_takes_too_long_ends_and_the_load_goes_on(
    service: ManifestCacheService,
) -> None:
    service.set_option(Option.WAIT_MS, 20)
    begun, go_on = threading.Event(), threading.Event()

    def load(plugin_id: str) -> Dict[str, Any]:
        begun.set()
        go_on.wait(20)
        return {"a": 1}

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(service.get, "mail", load)
        begun.wait(20)
        with pytest.raises(ManifestCacheError) as caught:
            service.get("mail", load)
        assert caught.value.status == Status.TIMEOUT
        go_on.set()
        assert slow.result() == {"a": 1}
    assert service.get("mail") is slow.result()


def test_advancing_the_time_ends_waits(service: ManifestCacheService) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(plugin_id: str) -> Dict[str, Any]:
        begun.set()
        go_on.wait(20)
        return {"a": 1}

    def advance_until_it_ends() -> bool:
        service.advance(31)
        return waiting.done()

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(service.get, "mail", load)
        begun.wait(20)
        waiting = pool.submit(service.get, "mail", lambda _: {"a": 2})
        until(advance_until_it_ends)
        go_on.set()
        error = waiting.exception()
        assert isinstance(error, ManifestCacheError) and error.status == Status.TIMEOUT
        assert slow.result() == {"a": 1}


def test_everything_at_once_from_many_threads(service: ManifestCacheService) -> None:
    """A cleared manifest is never returned again, and one entry has one dict."""
    stop = time.monotonic() + 1.5
    versions = [0] * 4
    failures: List[str] = []

    def load(plugin_id: str) -> Dict[str, Any]:
        return {"id": plugin_id, "version": versions[int(plugin_id)]}

    def get() -> None:
        i = 0
        while time.monotonic() < stop:
            i = (i + 1) % 4
            at_least = versions[i]
            manifest = service.get(str(i), load)
            if not manifest or manifest["id"] != str(i) or manifest["version"] < at_least - 1:
                failures.append(f"{manifest} but at least {at_least - 1}")

    def clear() -> None:
        i = 0
        while time.monotonic() < stop:
            i = (i + 1) % 4
            versions[i] += 1
            service.clear(str(i)) if i else service.clear()

    def set_and_look() -> None:
        while time.monotonic() < stop:
            service.set("set", {"a": 1})
            service.stats()
            repr(service)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=act) for act in (get, get, get, clear, set_and_look)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures, failures[:3]
    service.clear()
    assert service._decoded == {}
    first = service.get("0", load)
    assert service.get("0") is first


def test_closing_a_cache_ends_the_calls_of_other_threads_with_errors() -> None:
    for _ in range(20):
        service = ManifestCacheService()
        errors: List[ManifestCacheError] = []

        def use(
            service: ManifestCacheService = service, errors: List[ManifestCacheError] = errors
        ) -> None:
            try:
                while True:
                    service.get("weather", lambda _: {"a": 1})
                    service.clear("weather")
            except ManifestCacheError as error:
                errors.append(error)

        workers = [threading.Thread(target=use) for _ in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(0.005)
        service.close()
        for worker in workers:
            worker.join(20)
        assert [error.message for error in errors] == ["this cache is closed"] * 4


def test_asyncio_to_thread(service: ManifestCacheService) -> None:
    def load(plugin_id: str) -> Dict[str, Any]:
        time.sleep(0.005)
        return {"id": plugin_id}

    async def get_all() -> List[Any]:
        gets = (asyncio.to_thread(service.get, str(i % 4), load) for i in range(32))
        return await asyncio.gather(*gets)

    results = asyncio.run(get_all())
    assert [result["id"] for result in results] == [str(i % 4) for i in range(32)]
    assert len({id(result) for result in results}) == 4


@needs_fork
def test_a_child_has_the_same_dicts_and_can_load(service: ManifestCacheService) -> None:
    manifest = {"a": 1}
    service.set("weather", manifest)

    def check() -> bool:
        loaded = service.get("mail", lambda _: {"b": 1})
        service.clear("mail")
        with ThreadPoolExecutor(2) as pool:
            others = list(pool.map(lambda _: service.get("news", lambda _: {"c": 1}), range(4)))
        is_right = service.get("weather") is manifest and loaded == {"b": 1}
        return is_right and others == [{"c": 1}] * 4

    assert in_child(check)


@needs_fork
def test_a_child_forked_within_a_loader_ends_the_load_and_caches_the_next_one(
    service: ManifestCacheService,
) -> None:
    def load(plugin_id: str) -> Dict[str, Any]:
        return {"pid": os.getpid(), "child": os.fork()}

    manifest = service.get("weather", load)
    assert manifest is not None
    if manifest["child"] == 0:
        try:
            is_right = manifest["pid"] == os.getppid() and service.get("weather") is None
            again = service.get("weather", lambda _: {"a": 1})
            is_right = is_right and again == {"a": 1} and service.get("weather") is again
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    assert os.waitpid(manifest["child"], 0)[1] == 0
    assert service.get("weather") is manifest, "the parent caches it"


@needs_fork
def test_children_forked_beside_busy_threads_work(service: ManifestCacheService) -> None:
    stop = threading.Event()

    def use() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            service.get(str(i % 8), lambda plugin_id: {"id": plugin_id})
            service.clear(str(i % 8)) if i % 3 else service.set("set", {"a": 1})

    def check() -> bool:
        service.clear()
        loaded = service.get("0", lambda plugin_id: {"id": plugin_id})
        with ThreadPoolExecutor(2) as pool:
            others = list(pool.map(lambda i: service.get(str(i), lambda _: {"c": 1}), range(1, 4)))
        return loaded == {"id": "0"} and others == [{"c": 1}] * 3

    workers = [threading.Thread(target=use) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(60):
            assert in_child(check)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def answer_from_child(service: ManifestCacheService, queue: Any) -> None:
    queue.put((service.get("weather"), service.get("mail", lambda _: {"b": 1})))


@needs_fork
def test_multiprocessing_with_fork(service: ManifestCacheService) -> None:
    service.set("weather", {"a": 1})
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=answer_from_child, args=(service, queue))
    process.start()
    assert queue.get(timeout=20) == ({"a": 1}, {"b": 1})
    process.join(20)
    assert process.exitcode == 0


def test_the_interpreter_ends_while_threads_load_wait_and_hit(
    run_python: Callable[[str], str],
) -> None:
    program = """
import threading, time
from manifest_cache import Cache, ManifestCacheService

service, cache = ManifestCacheService(), Cache()
service.set("weather", {"a": 1})

def slow(plugin_id):
    time.sleep(0.05)
    while plugin_id == "busy":
        pass
    return {"a": 1}

def use(act):
    while True:
        act()

acts = [
    lambda: service.get("weather"),
    lambda: (service.get("mail", slow), service.clear("mail")),
    lambda: (service.get("mail", slow), service.clear("mail")),
    lambda: service.get("busy", slow),
    lambda: service.get("busy", slow),
    lambda: (cache.get("a", lambda _: "{}")),
]
for act in acts:
    threading.Thread(target=use, args=(act,), daemon=True).start()
time.sleep(0.03)

class Late:
    def __del__(self, sleep=time.sleep):
        sleep(0.2)  # in which the other threads return to an interpreter that is ending

late = Late()
"""
    for _ in range(5):
        run_python(program)


def test_a_cache_may_be_used_until_the_end(run_python: Callable[[str], str]) -> None:
    program = """
import atexit
from manifest_cache import ManifestCacheService

service = ManifestCacheService()
service.get("weather", lambda _: {"a": 1})
atexit.register(lambda: print(service.get("weather"), service.get("mail", lambda _: {"b": 1})))
"""
    assert run_python(program) == "{'a': 1} {'b': 1}\n"


def test_a_finalizer_may_use_a_cache_of_the_same_reference_cycle() -> None:
    outcomes: List[object] = []

    class Plugin:
        def __init__(self) -> None:
            self.cycle = self
            self.service = ManifestCacheService()
            self.service.set("weather", {"a": 1})

        def __del__(self) -> None:
            try:
                outcomes.append(self.service.get("weather"))
            except ManifestCacheError as error:
                outcomes.append(error.message)

    for _ in range(20):
        Plugin()
        gc.collect()
    assert len(outcomes) == 20
    assert all(outcome in ({"a": 1}, "this cache is closed") for outcome in outcomes)


def test_finalizers_at_the_very_end_do_no_harm(run_python: Callable[[str], str]) -> None:
    program = """
from manifest_cache import ManifestCacheError, ManifestCacheService

service = ManifestCacheService()
service.get("weather", lambda _: {"a": 1})

class Late:
    def __del__(self, service=service, Closed=ManifestCacheError):
        try:
            service.get("weather")
        except Closed:
            pass

late = Late()
"""
    run_python(program)
