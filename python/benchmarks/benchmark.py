"""Measures this package, the class that it replaces, and cachetools' TTLCache; and each method.

    python benchmark.py [--check]

Each round measures all three, one after the other. A ratio is between figures of the same round, so
that a busy machine slows both; the median of all rounds is printed. With --check the program fails
if a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import cachetools

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "seed"))

import original  # noqa: E402

from manifest_cache import AsyncManifestCacheService, Cache, ManifestCacheService  # noqa: E402

Loader = Callable[[str], Optional[Dict[str, Any]]]
MANIFEST = {"id": "weather", "name": "Weather", "permissions": ["network", "location"]}
PLUGINS = [f"plugin-{i}" for i in range(100)]


class CachetoolsService:
    """A TTLCache of cachetools with a lock, as a host would write it; loaders run outside it."""

    def __init__(self, ttl_seconds: float = 300) -> None:
        self.cache: cachetools.TTLCache[str, Dict[str, Any]] = cachetools.TTLCache(
            1000, ttl_seconds
        )
        self.lock = threading.Lock()

    def get(self, plugin_id: str, loader_func: Loader) -> Optional[Dict[str, Any]]:
        with self.lock:
            manifest = self.cache.get(plugin_id)
        if manifest is None:
            manifest = loader_func(plugin_id)
            if manifest:
                with self.lock:
                    self.cache[plugin_id] = manifest
        return manifest


KINDS: List[Tuple[str, Callable[[], Any]]] = [
    ("this package", ManifestCacheService),
    ("the original", original.ManifestCacheService),
    ("cachetools", CachetoolsService),
]


def slow(plugin_id: str) -> Dict[str, Any]:
    time.sleep(0.005)
    return dict(MANIFEST)


def hit(kind: Callable[[], Any]) -> float:
    """A hit on one thread."""
    service = kind()
    for plugin_id in PLUGINS:
        service.get(plugin_id, lambda _: MANIFEST)
    ids = PLUGINS * 200
    get = service.get
    start = time.perf_counter()
    for plugin_id in ids:
        get(plugin_id, None)
    return (time.perf_counter() - start) / len(ids)


def async_hit(kind: Callable[[], Any]) -> float:
    """The ratio of a hit of the asynchronous service to one of the plain service, on one cache."""
    service = kind()
    asynchronous = AsyncManifestCacheService(service=service)
    for plugin_id in PLUGINS:
        service.get(plugin_id, lambda _: MANIFEST)
    ids = PLUGINS * 20

    async def get_all() -> float:
        get = asynchronous.get
        start = time.perf_counter()
        for plugin_id in ids:
            await get(plugin_id, None)
        return time.perf_counter() - start

    start = time.perf_counter()
    for plugin_id in ids:
        service.get(plugin_id, None)
    taken = time.perf_counter() - start
    return asyncio.run(get_all()) / taken


def ways_to_hit(root: Path) -> Dict[str, float]:
    """The time of a hit of each method on manifests of files, one after the other."""
    service, cache = ManifestCacheService(), Cache()
    for plugin_id in PLUGINS:
        service.get_directory(plugin_id, root)
        service.get_directory(plugin_id, root, decode=json.loads)
        for _ in range(2):  # the Manifest is kept from the first hit on
            cache.load_directory(plugin_id, root)
    ids = PLUGINS * 20

    def timed(get: Callable[[str], object]) -> float:
        start = time.perf_counter()
        for plugin_id in ids:
            get(plugin_id)
        return (time.perf_counter() - start) / len(ids)

    return {
        "ManifestCacheService.get": timed(lambda id: service.get(id, None)),
        "get_directory": timed(lambda id: service.get_directory(id, root)),
        "get_directory, decode": timed(
            lambda id: service.get_directory(id, root, decode=json.loads)
        ),
        "Cache.load_directory": timed(lambda id: cache.load_directory(id, root)),
        "a call of nothing": timed(lambda id: None),
    }


def ways_to_miss(root: Path) -> Dict[str, float]:
    """The same for a miss, of caches that keep nothing; and for reading and decoding a file."""
    service, cache = ManifestCacheService(0), Cache(0)
    text = json.dumps(MANIFEST)

    def timed(get: Callable[[str], object]) -> float:
        start = time.perf_counter()
        for plugin_id in PLUGINS:
            get(plugin_id)
        return (time.perf_counter() - start) / len(PLUGINS)

    return {
        "ManifestCacheService.get": timed(lambda id: service.get(id, lambda _: MANIFEST)),
        "get_directory": timed(lambda id: service.get_directory(id, root)),
        "Cache.get": timed(lambda id: cache.get(id, lambda _: text)),
        "Cache.load_directory": timed(lambda id: cache.load_directory(id, root)),
        "read_text and json.loads": timed(
            lambda id: json.loads((root / id / "manifest.json").read_text())
        ),
    }


def medians_of(measure: Callable[[Path], Dict[str, float]], rounds: int) -> Dict[str, float]:
    """Prints the median of each; returns the median ratios to the first of the same round."""
    with tempfile.TemporaryDirectory() as name:
        for plugin_id in PLUGINS:
            folder = Path(name) / plugin_id
            folder.mkdir()
            (folder / "manifest.json").write_text(json.dumps(MANIFEST))
        taken = [measure(Path(name)) for _ in range(rounds)]
    ratios = {}
    for way in taken[0]:
        ratios[way] = statistics.median(one[way] / next(iter(one.values())) for one in taken)
        median = statistics.median(one[way] for one in taken)
        print(f"{way:32}{shown(median):>14}{ratios[way]:>8.2f} x")
    return ratios


def together(count: int, act: Callable[[int], object]) -> float:
    """Runs ``act`` on ``count`` threads at once; returns the time until the last has ended."""
    barrier = threading.Barrier(count + 1)

    def run(number: int) -> None:
        barrier.wait()
        act(number)

    with ThreadPoolExecutor(count) as pool:
        runs = [pool.submit(run, number) for number in range(count)]
        barrier.wait()
        start = time.perf_counter()
        for done in runs:
            done.result()
        return time.perf_counter() - start


def hit_on_four_threads(kind: Callable[[], Any]) -> float:
    """Hits on four threads at once: the time passed, divided by the number of hits."""
    service = kind()
    for plugin_id in PLUGINS:
        service.get(plugin_id, lambda _: MANIFEST)
    ids = PLUGINS * 50

    def get_all(_: int) -> None:
        for plugin_id in ids:
            service.get(plugin_id, None)

    return together(4, get_all) / (4 * len(ids))


def eight_cold_plugins(kind: Callable[[], Any]) -> float:
    """Eight threads, each with another plugin, whose loader takes 5 ms."""
    service = kind()
    return together(8, lambda number: service.get(PLUGINS[number], slow))


def one_cold_plugin(kind: Callable[[], Any]) -> float:
    """Eight threads on one plugin whose loader takes 5 ms."""
    service = kind()
    return together(8, lambda _: service.get("weather", slow))


def hit_beside_a_load(kind: Callable[[], Any]) -> float:
    """A hit while another plugin's loader takes 100 ms."""
    service = kind()
    service.get("weather", lambda _: MANIFEST)
    begun = threading.Event()

    def very_slow(plugin_id: str) -> Dict[str, Any]:
        begun.set()
        time.sleep(0.1)
        return MANIFEST

    thread = threading.Thread(target=service.get, args=("mail", very_slow))
    thread.start()
    begun.wait()
    start = time.perf_counter()
    service.get("weather", None)
    taken = time.perf_counter() - start
    thread.join()
    return taken


MEASURES: List[Tuple[str, Callable[[Callable[[], Any]], float], int]] = [
    ("hit, one thread", hit, 41),
    ("hit, four threads", hit_on_four_threads, 11),
    ("eight cold plugins, 5 ms each", eight_cold_plugins, 15),
    ("eight threads, one cold plugin", one_cold_plugin, 15),
    ("hit while another loads 100 ms", hit_beside_a_load, 9),
]


def shown(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a figure is missed")
    check = parser.parse_args().check
    medians: Dict[str, List[float]] = {}
    ratios: Dict[str, float] = {}
    names = [name for name, _ in KINDS]
    print(f"{'median':32}" + "".join(f"{name:>14}" for name in names) + "   of the original")
    for title, measure, rounds in MEASURES:
        taken = [[measure(kind) for _, kind in KINDS] for _ in range(rounds)]
        medians[title] = [statistics.median(column) for column in zip(*taken)]
        ratios[title] = statistics.median(ours / theirs for ours, theirs, _ in taken)
        columns = "".join(f"{shown(median):>14}" for median in medians[title])
        print(f"{title:32}{columns}{ratios[title]:>15.3f} x")

    print("\na hit of each method, with the call of a lambda")
    hits = medians_of(ways_to_hit, 101)
    print("\na miss of each method")
    medians_of(ways_to_miss, 101)

    ratio = statistics.median(async_hit(ManifestCacheService) for _ in range(101))
    figures = [
        ("async hit: of a plain hit", ratio, 1.5),
        ("get_directory hit: of a plain hit", hits["get_directory"], 1.1),
        ("Cache.load_directory hit: the same", hits["Cache.load_directory"], 1.5),
        ("hit, one thread: of the original", ratios["hit, one thread"], 0.4),
        ("eight cold plugins: of the original", ratios["eight cold plugins, 5 ms each"], 0.25),
        ("hit while another loads, in ms", medians["hit while another loads 100 ms"][0] * 1e3, 1.0),
    ]
    print()
    missed = [figure for figure in figures if figure[1] > figure[2]]
    for figure in figures:
        name, value, at_most = figure
        print(f"{name:40}{value:8.3f}, at most {at_most}{'  MISSED' if figure in missed else ''}")
    return 1 if check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
