#!/usr/bin/env bash
# Builds the wheel, installs it in a new environment and checks everything there. Needs cargo, cc
# and Python 3. PYTHON is the interpreter, VENV the folder of the environment.
set -euo pipefail
cd "$(dirname "$0")"
venv=${VENV:-../target/python-venv}

rm -rf "$venv" build dist ./*.egg-info
"${PYTHON:-python3}" -m venv "$venv"
venv=$(cd "$venv" && pwd)
"$venv/bin/pip" install --quiet --upgrade pip

# An editable install leaves the library in this folder, and the tests would find that one first.
rm -f manifest_cache/libmanifest_cache.*
"$venv/bin/pip" wheel --quiet --no-deps --wheel-dir dist .
wheel=$(echo dist/manifest_cache-*-py3-none-*.whl)
unzip_list=$("$venv/bin/python" -m zipfile --list "$wheel")
grep -q 'manifest_cache/libmanifest_cache' <<<"$unzip_list"
grep -q 'manifest_cache/py.typed' <<<"$unzip_list"
echo "built $wheel"
"$venv/bin/pip" install --quiet "$wheel[test]"

# Without Rust in PATH, and with the installed package, not with the sources in this folder.
export PATH="$venv/bin:/usr/bin:/bin"
"$venv/bin/ruff" check --quiet
"$venv/bin/mypy"
"$venv/bin/pytest" --quiet --import-mode=prepend -p no:cacheprovider tests
# Only prints its figures; with --check, on an idle machine, it would fail if one is missed.
"$venv/bin/python" benchmarks/benchmark.py
