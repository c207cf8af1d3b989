"""What owns memory of the C library can be neither copied nor pickled, as a ``threading.Lock``."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
from typing import Any, Callable, Dict, List

import pytest

from manifest_cache import Cache, Manifest, ManifestCacheService, _library


@dataclasses.dataclass
class Host:
    """A configuration that holds a cache."""

    cache: object


def send_to_a_spawned_process(owner: object) -> None:
    multiprocessing.get_context("spawn").Process(target=print, args=(owner,)).start()


COPIES: List[Callable[[Any], object]] = [
    copy.copy,
    copy.deepcopy,
    *(lambda owner, protocol=protocol: pickle.dumps(owner, protocol) for protocol in range(6)),
    lambda owner: dataclasses.asdict(Host(owner)),
    lambda owner: copy.deepcopy({"settings": [owner]}),
    send_to_a_spawned_process,
]
OWNERS: Dict[str, Callable[[], Any]] = {
    "ManifestCacheService": ManifestCacheService,
    "Cache": Cache,
    "Handle": lambda: _library.new(1000),
    "OwnedString": lambda: _library.stats(_library.new(1000)),
}


@pytest.mark.parametrize("name", OWNERS)
@pytest.mark.parametrize("make_copy", COPIES, ids=range(len(COPIES)))
def test_a_copy_is_refused_and_the_error_says_what_to_do(
    name: str, make_copy: Callable[[Any], object]
) -> None:
    owner = OWNERS[name]()
    with pytest.raises(TypeError, match=f"'{name}' object.* make one cache for each process"):
        make_copy(owner)


def test_a_refused_copy_leaves_the_cache_as_it_was() -> None:
    service = ManifestCacheService()
    manifest = {"a": 1}
    service.set("weather", manifest)
    with pytest.raises(TypeError):
        copy.deepcopy(service)
    assert service.get("weather") is manifest


def test_a_subclass_can_say_how_it_is_pickled() -> None:
    service = pickle.loads(pickle.dumps(Remade(2.5)))
    assert service.stats() == {"total_entries": 0, "expired_entries": 0, "ttl_seconds": 2.5}


class Remade(ManifestCacheService):
    """A cache whose copy is an empty one with the same time to live."""

    def __getstate__(self) -> float:  # type: ignore[override]
        return self.ttl_seconds

    def __setstate__(self, ttl_seconds: float) -> None:
        self.__init__(ttl_seconds)  # type: ignore[misc]


def test_a_manifest_can_be_copied_and_pickled() -> None:
    cache = Cache()
    cache.put("weather", '{"a": 1}')
    manifest = cache.get("weather")
    assert isinstance(manifest, Manifest)
    assert manifest == copy.deepcopy(manifest) == pickle.loads(pickle.dumps(manifest))
