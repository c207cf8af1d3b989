"""Property test: for its user, this package behaves as the class that it replaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(sys.platform != "linux", reason="the clock is preloaded with LD_PRELOAD")
def test_all_that_a_user_can_observe_is_as_with_the_original(tmp_path: Path) -> None:
    clock = tmp_path / "clock.so"
    compiler = os.environ.get("CC", "cc")
    source = str(HERE / "clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(clock), source, "-ldl"], check=True)
    examples = os.environ.get("EXAMPLES", "300")
    subprocess.run(
        [sys.executable, str(HERE / "side_by_side.py"), examples],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "LD_PRELOAD": str(clock)},
        timeout=600,
    )
