"""Where the package can be imported from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Optional

import pytest

import manifest_cache

PACKAGE = Path(manifest_cache.__file__).parent
USE = "from manifest_cache import Cache, _library; print(_library.__file__, Cache())"


def run(program: str, cwd: Path, **environment: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", program],  # -S: without the package that is installed
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
    )


def archive(path: Path, without: Optional[str] = None) -> Path:
    """The package in a zip archive."""
    with zipfile.ZipFile(path, "w") as file:
        for part in PACKAGE.iterdir():
            if part.is_file() and part.suffix != without:
                file.write(part, f"manifest_cache/{part.name}")
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot remove a library in use")
def test_the_package_works_from_a_zip_archive_and_leaves_no_file(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    packed = archive(tmp_path / "packed.zip")
    done = run(USE, tmp_path, PYTHONPATH=packed, TMPDIR=temporary)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(packed)) and "Cache(entries=0)" in done.stdout
    assert list(temporary.iterdir()) == []


def test_a_package_without_its_library_says_what_to_do(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "unbuilt" / PACKAGE.name)
    for library in (tmp_path / "unbuilt" / PACKAGE.name).glob("*manifest_cache.*"):
        library.unlink()
    packed = archive(tmp_path / "packed.zip", without=".so")
    for place in (tmp_path / "unbuilt", packed):
        done = run(USE, tmp_path, PYTHONPATH=place)
        assert done.returncode == 1
        assert f"ImportError: manifest_cache cannot load its C library {place}" in done.stderr
        assert "Install the package with pip" in done.stderr


def test_a_library_for_another_machine_is_an_import_error(tmp_path: Path) -> None:
    copied = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, copied)
    (library,) = copied.glob("*manifest_cache.*")
    library.write_bytes(b"not a library")
    done = run(USE, tmp_path, PYTHONPATH=tmp_path)
    assert done.returncode == 1
    assert f"ImportError: manifest_cache cannot load its C library {library}" in done.stderr
