"""A signal handler that uses the cache while a call of the same thread is in progress.

Python runs a handler between two instructions of its own. So these tests run it at every single
instruction of the package in turn, through the interpreter's tracing, and once as a real signal.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, List, Optional

import pytest

import manifest_cache
from manifest_cache import ManifestCacheService, Option

PACKAGE = str(Path(manifest_cache.__file__).parent) + os.sep

Handler = Callable[[], object]


class Tracer:
    """Runs ``handler`` before one instruction of the package, counted from the last ``arm``."""

    def __init__(self) -> None:
        self.handler: Optional[Handler] = None
        self.left = 0

    def arm(self, number: int, handler: Handler) -> None:
        self.left = number
        self.handler = handler

    def disarm(self) -> bool:
        """Returns whether the handler has run."""
        has_run = self.handler is None
        self.handler = None
        return has_run

    def __enter__(self) -> Tracer:
        self.outer = sys.gettrace()
        sys.settrace(self.enter_frame)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.outer)

    def enter_frame(self, frame: FrameType, event: str, argument: object) -> Optional[Any]:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        return self.step

    def step(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode" and self.handler is not None:
            self.left -= 1
            if self.left < 0:
                handler, self.handler = self.handler, None
                handler()
        return self.step


def at_every_instruction(
    make: Callable[[], ManifestCacheService],
    act: Callable[[ManifestCacheService], None],
    handler: Callable[[ManifestCacheService], object],
) -> int:
    """Runs ``act`` once for each of its instructions, with the handler there; returns how many."""
    with Tracer():
        act(make())  # since Python 3.12 the first call of a function has no instruction traced
    with Tracer() as tracer:
        number = 0
        while True:
            service = make()
            tracer.arm(number, lambda: handler(service))
            act(service)
            if not tracer.disarm():
                return number
            assert service.get("later", lambda _: {"b": 1}) == {"b": 1}
            number += 1


def fresh() -> ManifestCacheService:
    service = ManifestCacheService()
    service.set("weather", {"a": 1})
    return service


def expired() -> ManifestCacheService:
    service = fresh()
    service.advance(301)
    return service


def crowded() -> ManifestCacheService:
    """A cache whose next dict makes it look for those whose entries were evicted."""
    service = ManifestCacheService()
    service.set_option(Option.MAX_ENTRIES, 1)
    for plugin_id in "abc":
        service.set(plugin_id, {"id": plugin_id})
    service._decoded.sweep_above = 3
    return service


OURS: Dict[str, Any] = {"set by": "the call"}
THEIRS: Dict[str, Any] = {"set by": "the handler"}


def get(service: ManifestCacheService) -> None:
    assert service.get("weather", lambda _: OURS) in ({"a": 1}, OURS, THEIRS)


def get_uninstalled(service: ManifestCacheService) -> None:
    assert service.get("weather", lambda _: None) in (None, THEIRS)


def get_broken(service: ManifestCacheService) -> None:
    def broken(plugin_id: str) -> Dict[str, Any]:
        raise KeyError("a")

    try:
        service.get("weather", broken)
    except KeyError as error:
        assert error.args == ("a",), "it is the loader's"


def set_(service: ManifestCacheService) -> None:
    service.set("weather", OURS)


@pytest.mark.parametrize(
    ("make", "act"),
    [
        (fresh, get),
        (fresh, set_),
        (ManifestCacheService, get),
        (expired, get_uninstalled),
        (expired, get_broken),
        (crowded, get),
        (crowded, set_),
    ],
    ids=lambda function: function.__name__,
)
def test_a_handler_may_clear_at_any_instruction_of_a_call(
    make: Callable[[], ManifestCacheService], act: Callable[[ManifestCacheService], None]
) -> None:
    assert at_every_instruction(make, act, ManifestCacheService.clear) > 10


@pytest.mark.parametrize(
    ("make", "act"),
    [(ManifestCacheService, get), (expired, get_uninstalled), (crowded, set_)],
    ids=lambda function: function.__name__,
)
def test_a_handler_may_set_at_any_instruction_and_the_very_dict_is_cached(
    make: Callable[[], ManifestCacheService], act: Callable[[ManifestCacheService], None]
) -> None:
    has_set: List[bool] = []

    def handler(service: ManifestCacheService) -> None:
        service.set("weather", THEIRS)
        has_set.append(True)

    def act_and_look(service: ManifestCacheService) -> None:
        has_set.clear()
        act(service)
        if has_set:
            cached = service.get("weather")
            assert cached is THEIRS or cached is OURS

    assert at_every_instruction(make, act_and_look, handler) > 10


def test_a_real_signal_during_a_load_may_clear_the_cache() -> None:
    service = expired()
    signals: List[int] = []

    def handler(number: int, frame: Optional[FrameType]) -> None:
        signals.append(number)
        service.clear()

    def load(plugin_id: str) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert service.get("weather", load) is None
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert signals == [signal.SIGUSR1]
