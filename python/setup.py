"""Builds the Rust library of the parent folder with cargo and puts it inside the package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
CARGO_TOML = HERE.parent / "Cargo.toml"


class BuildWithLibrary(build_py):
    """Copies the Python modules, and the library into the same folder."""

    def run(self) -> None:
        super().run()
        package = HERE if self.editable_mode else Path(self.build_lib)
        library = build_library()
        shutil.copy(library, package / "manifest_cache" / library.name)


class PlatformWheel(bdist_wheel):
    """Makes a wheel for this platform and any Python 3: only the library is compiled."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    """Has no extension module, but a library for one platform."""

    def has_ext_modules(self) -> bool:
        return True


def build_library() -> Path:
    """Builds the library and returns its path, which depends on the settings of cargo."""
    command = [
        "cargo",
        "build",
        "--release",
        "--locked",
        "--lib",
        "--manifest-path",
        str(CARGO_TOML),
    ]
    command.append("--message-format=json-render-diagnostics")
    try:
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    except FileNotFoundError:
        raise SystemExit("building manifest-cache needs Rust's cargo: https://rustup.rs") from None
    for line in output.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and "cdylib" in message["target"]["kind"]:
            for name in message["filenames"]:
                if name.endswith((".so", ".dylib", ".dll")):
                    return Path(name)
    raise SystemExit("cargo built no shared library")


def crate_version() -> str:
    """Returns the version of the crate; this package has the same."""
    version = re.search(r'^version = "(.+)"$', CARGO_TOML.read_text("utf-8"), re.MULTILINE)
    if version is None:
        raise SystemExit(f"{CARGO_TOML} has no version")
    return version.group(1)


setup(
    version=crate_version(),
    distclass=PlatformDistribution,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
)
