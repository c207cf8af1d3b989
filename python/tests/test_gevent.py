"""Greenlets of gevent that share a thread, with and without its monkey patching."""

from __future__ import annotations

from typing import Callable

import pytest

START = """
import gevent, threading, time
from gevent.event import Event
from manifest_cache import ManifestCacheError, ManifestCacheService, Option

cache = ManifestCacheService()
"""
PATCHED = "from gevent import monkey; monkey.patch_all()"
PROGRAMS = {
    "not patched": START,
    "patched before the import": PATCHED + START,
    "patched after the import": "import manifest_cache\n" + PATCHED + START,
}

both_ways = pytest.mark.parametrize("start", PROGRAMS.values(), ids=PROGRAMS)


@both_ways
def test_two_greenlets_share_one_load_and_others_run_meanwhile(
    start: str, run_python: Callable[[str], str]
) -> None:
    program = """
go_on, loads, ticks = Event(), [], []

def load(plugin_id):
    loads.append(plugin_id)
    go_on.wait()
    return {"a": 1}

def others():
    while not ticks or len(ticks) < 100:
        ticks.append(len(loads))
        gevent.sleep(0)
    go_on.set()

gets = [gevent.spawn(cache.get, "weather", load) for _ in range(2)]
gevent.joinall(gets + [gevent.spawn(others)], raise_error=True)
assert gets[0].value is gets[1].value
print(loads, len(ticks), gets[0].value)
"""
    assert run_python(start + program) == "['weather'] 100 {'a': 1}\n"


@both_ways
def test_a_circle_between_greenlets_is_told(start: str, run_python: Callable[[str], str]) -> None:
    program = """
begun = {"a": Event(), "b": Event()}
other = {"a": "b", "b": "a"}

def load(plugin_id):
    begun[plugin_id].set()
    begun[other[plugin_id]].wait()
    return {"inner": cache.get(other[plugin_id], load)}

def get(plugin_id):
    try:
        cache.get(plugin_id, load)
    except ManifestCacheError as error:
        return error.status.name
    return "no error"

gets = [gevent.spawn(get, plugin_id) for plugin_id in "ab"]
gevent.joinall(gets, raise_error=True)
print(sorted(greenlet.value for greenlet in gets))
"""
    assert run_python(start + program) == "['LOAD_CYCLE', 'LOAD_FAILED']\n"


@both_ways
def test_a_greenlet_is_not_taken_for_another_one_of_its_thread(
    start: str, run_python: Callable[[str], str]
) -> None:
    program = """
go_on = Event()

def outer(plugin_id):
    go_on.wait()
    return {"inner": cache.get("inner", lambda _: {"a": 1})}

def unrelated():
    go_on.set()
    return cache.get("outer", outer)  # which is in progress on this thread, but not within it

gets = [gevent.spawn(cache.get, "outer", outer), gevent.spawn(unrelated)]
gevent.joinall(gets, raise_error=True)
print([greenlet.value for greenlet in gets])
"""
    assert run_python(start + program) == "[{'inner': {'a': 1}}, {'inner': {'a': 1}}]\n"


@both_ways
def test_a_greenlet_waits_for_the_load_of_a_real_thread(
    start: str, run_python: Callable[[str], str]
) -> None:
    program = """
begun, ticks = [], []

def load(plugin_id):
    begun.append(True)
    real_sleep(0.2)
    return {"a": 1}

real_sleep = monkey.get_original("time", "sleep") if "monkey" in globals() else time.sleep
thread = gevent.get_hub().threadpool.spawn(cache.get, "weather", load)
while not begun:
    gevent.sleep(0.001)

def tick():
    while True:
        ticks.append(True)
        gevent.sleep(0.001)

ticking = gevent.spawn(tick)
manifest = cache.get("weather", lambda _: {"b": 1})
ticking.kill()
assert len(ticks) > 10, "this greenlet ran meanwhile"
print(manifest, thread.get() is manifest)
"""
    assert run_python(start + program) == "{'a': 1} True\n"


@both_ways
def test_the_wait_of_a_greenlet_ends_in_time(
    start: str, run_python: Callable[[str], str]
) -> None:
    program = """
cache.set_option(Option.WAIT_MS, 50)
go_on = Event()

def load(plugin_id):
    go_on.wait()
    return {"a": 1}

slow = gevent.spawn(cache.get, "weather", load)
gevent.sleep(0)
try:
    cache.get("weather", load)
except ManifestCacheError as error:
    print(error.status.name)
go_on.set()
print(slow.get(), cache.get("weather") is slow.value)
"""
    assert run_python(start + program) == "TIMEOUT\n{'a': 1} True\n"
