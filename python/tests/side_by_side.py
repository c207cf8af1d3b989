"""Compares this package with the class that it replaces, with a clock that the test controls.

test_like_the_original.py runs this program and preloads the clock.
"""

from __future__ import annotations

import copy
import ctypes
import logging
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

sys.path.insert(0, str(Path(__file__).parent / "seed"))

import original  # noqa: E402

import manifest_cache  # noqa: E402

_stop_clock_at = ctypes.CDLL(None).clock_stop_at
_stop_clock_at.argtypes = [ctypes.c_longlong]

Service = Union[original.ManifestCacheService, manifest_cache.ManifestCacheService]
Loader = Callable[[str], Optional[Dict[str, Any]]]

ids = st.sampled_from(["weather", "mail", "", "ünï", "a/b"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
manifests = st.none() | st.dictionaries(st.text(), values, max_size=3)


class Broken(Exception):
    """Raised by a loader."""


class Logged(logging.Handler):
    """Collects the messages of one of the two."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.lines: List[str] = []
        logger = logging.getLogger(name)
        logger.handlers = [self]
        logger.setLevel(logging.DEBUG)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


class Side:
    """One of the two, and all that its user can observe."""

    def __init__(self, kind: Callable[..., Any], logger: str, ttl_seconds: float) -> None:
        self.log = Logged(logger)
        self.service = kind(ttl_seconds)
        self.loads: List[str] = []
        self.returned: Dict[int, Any] = {}
        """The dicts returned so far, each once: the index of a dict identifies the object."""

    def get(self, plugin_id: str, loader: Loader) -> object:
        def recording(asked_for: str) -> Optional[Dict[str, Any]]:
            self.loads.append(asked_for)
            return loader(asked_for)

        try:
            result = self.service.get(plugin_id, recording)
        except Broken as error:
            return type(error), error.args
        if result is None:
            return None
        self.returned.setdefault(id(result), result)
        return list(self.returned).index(id(result)), copy.deepcopy(result)

    def observed(self) -> object:
        return self.service.stats(), repr(self.service), self.loads, self.log.lines


class SideBySide(RuleBasedStateMachine):
    """Calls both in the same way and compares the results."""

    now = 1_000_000 * 10**9

    # Not 0: while the clock stands still the original then keeps manifests, and this package does
    # not.
    @initialize(ttl_seconds=st.sampled_from([0.25, 1, 2.5, 300]))
    def begin(self, ttl_seconds: float) -> None:
        self.now = SideBySide.now
        _stop_clock_at(self.now)
        self.original = Side(original.ManifestCacheService, "original", ttl_seconds)
        self.ours = Side(manifest_cache.ManifestCacheService, "manifest_cache", ttl_seconds)

    def both(self, action: Callable[[Side], object]) -> None:
        assert action(self.ours) == action(self.original)

    @rule(plugin_id=ids, manifest=manifests)
    def get(self, plugin_id: str, manifest: Optional[Dict[str, Any]]) -> None:
        self.both(lambda side: side.get(plugin_id, lambda _: copy.deepcopy(manifest)))

    @rule(plugin_id=ids)
    def get_with_a_broken_loader(self, plugin_id: str) -> None:
        def broken(asked_for: str) -> Optional[Dict[str, Any]]:
            raise Broken(asked_for)

        self.both(lambda side: side.get(plugin_id, broken))

    @rule(outer=ids, inner=ids, manifest=manifests, clears=st.booleans())
    def get_with_a_nested_get(
        self, outer: str, inner: str, manifest: Optional[Dict[str, Any]], clears: bool
    ) -> None:
        if inner == outer:  # the original recurses without end
            return

        def act(side: Side) -> object:
            def nested(asked_for: str) -> Optional[Dict[str, Any]]:
                if clears and inner:
                    side.service.clear(inner)
                side.get(inner, lambda _: {"inner": True})
                return copy.deepcopy(manifest)

            return side.get(outer, nested)

        self.both(act)

    @rule(plugin_id=st.none() | ids)
    def clear(self, plugin_id: Optional[str]) -> None:
        self.both(lambda side: side.service.clear(plugin_id))

    @rule(eighths=st.sampled_from([1, 2, 3, 8, 9, 20, 21, 2400]))
    def let_time_pass(self, eighths: int) -> None:
        self.now += eighths * 125_000_000
        _stop_clock_at(self.now)

    @rule(ttl_seconds=st.sampled_from([0.25, 1, 300]))
    def change_the_time_to_live(self, ttl_seconds: float) -> None:
        for side in (self.original, self.ours):
            side.service.ttl_seconds = ttl_seconds

    @invariant()
    def all_that_can_be_observed_is_the_same(self) -> None:
        if hasattr(self, "ours"):
            self.both(Side.observed)

    def teardown(self) -> None:
        _stop_clock_at(0)


if __name__ == "__main__":
    _stop_clock_at(SideBySide.now)
    assert time.time() == time.monotonic() == SideBySide.now / 1e9, "the clock is preloaded"
    _stop_clock_at(0)
    run_state_machine_as_test(
        SideBySide,
        settings=settings(
            max_examples=int(sys.argv[1]),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
