"""Exceptions that a signal handler raises within ``get``, and Ctrl-C in a call that waits."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import pytest

from manifest_cache import Cache, ManifestCacheService, Option, _loading


@pytest.mark.skipif(sys.platform == "win32", reason="needs setitimer")
@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 can leave a with without exit")
def test_each_exception_of_a_signal_handler_reaches_the_caller_and_no_load_is_left_over() -> None:
    program = Path(__file__).with_name("signals.py")
    done = subprocess.run(
        [sys.executable, str(program), "10000"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


class Interrupted(BaseException):
    pass


def interrupt(*_: object) -> None:
    raise Interrupted


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs pthread_kill")
@pytest.mark.parametrize("make", [ManifestCacheService, Cache])
def test_a_call_that_waits_can_be_interrupted_and_the_load_goes_on(make: Any) -> None:
    cache = make()
    begun, go_on = threading.Event(), threading.Event()
    manifest: Any = {"a": 1} if make is ManifestCacheService else b'{"a": 1}'

    def load(plugin_id: str) -> Any:
        begun.set()
        go_on.wait(20)
        return manifest

    def interrupt_when_it_waits() -> None:
        while not _loading.is_waited_for(cache._handle):
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(cache.get, "weather", load)
            begun.wait(20)
            pool.submit(interrupt_when_it_waits)
            with pytest.raises(Interrupted):
                cache.get("weather", load)
            assert not leader.done()
            go_on.set()
            assert leader.result() == cache.get("weather")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not _loading.is_waited_for(cache._handle), "the end of the load has ended the wait"


def test_an_exception_whose_text_fails_by_itself_is_raised_but_a_signal_comes_first(
    service: ManifestCacheService,
) -> None:
    raised: List[bool] = []

    class Odd(Exception):
        def __str__(self) -> str:
            if not raised:
                raised.append(True)
                raise Interruption  # as a signal handler may, at this moment
            return "text"

    class Interruption(Exception):
        pass

    def load(plugin_id: str) -> Dict[str, Any]:
        raise Odd

    with pytest.raises(Interruption):
        service.get("weather", load)
    assert service.get("weather", lambda _: {"a": 1}) == {"a": 1}


def test_a_load_that_nobody_ends_any_more_ends_with_its_objects(
    service: ManifestCacheService,
) -> None:
    """As when a second exception comes while the first one is on its way."""
    service.set_option(Option.WAIT_MS, 20_000)
    turn = _loading.Turn(service._handle, b"weather", threading.Lock().release)
    assert turn.begin() == _loading.BEGUN
    del turn
    assert service.get("weather", lambda _: {"a": 1}) == {"a": 1}
