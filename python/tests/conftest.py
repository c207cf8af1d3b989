"""Fixtures."""

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
    """Runs a program in another interpreter and returns what it printed.

    The program must exit with 0 and print nothing on stderr.
    """

    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,  # a folder without a package of the same name
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run
