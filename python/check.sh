#!/usr/bin/env bash
# Builds the wheel, installs it in a fresh environment, and checks everything there. Needs cargo, cc and Python 3.
# PYTHON names the interpreter, VENV the folder for the environment.
set -euo pipefail
cd "$(dirname "$0")"
venv=${VENV:-../target/python-venv}

rm -rf "$venv" build dist ./*.egg-info
"${PYTHON:-python3}" -m venv "$venv"
venv=$(cd "$venv" && pwd)
"$venv/bin/pip" install --quiet --upgrade pip

# pip builds beside the crate, and leaves what it made; a library left by an editable install would be found before the wheel's.
rm -f manifest_cache/libmanifest_cache.*
"$venv/bin/pip" wheel --quiet --no-deps --wheel-dir dist .
wheel=$(echo dist/manifest_cache-*-py3-none-*.whl)
unzip_list=$("$venv/bin/python" -m zipfile --list "$wheel")
grep -q 'manifest_cache/libmanifest_cache' <<<"$unzip_list"
grep -q 'manifest_cache/py.typed' <<<"$unzip_list"
echo "built $wheel"
"$venv/bin/pip" install --quiet "$wheel[test]"

# Without Rust, and away from the sources, so that it is the installed package that is tested.
export PATH="$venv/bin:/usr/bin:/bin"
"$venv/bin/mypy"
"$venv/bin/pytest" --quiet --import-mode=prepend -p no:cacheprovider tests
# Only printed here; --check makes its figures a condition, for a machine that does nothing else.
"$venv/bin/python" benchmarks/benchmark.py
