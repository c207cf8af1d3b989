"""What several tests use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from manifest_cache import ManifestCacheService


@pytest.fixture
def service() -> ManifestCacheService:
    """An empty cache."""
    return ManifestCacheService()


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[[str], str]:
    """Runs a program in an interpreter of its own, which must end well and quietly; returns what it printed."""

    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,  # where no folder named like the package is
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run
