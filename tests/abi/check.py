#!/usr/bin/env python3
"""The binary interface against the recorded one of the last release: check.py LIBRARY [--record]

LIBRARY is an installed libmanifest_cache.so. Fails if a program that was built with the last
release could notice a difference, other than that there is more. Needs a C compiler, and abidw and
abidiff of libabigail.

abidiff sees neither constants nor what const a pointer has, so these are recorded as text, of which
no line may go. Types are compared as a C compiler sees them in the header: what rustc tells of
types also describes what is behind the opaque pointers, and differs from one rustc to the next. Of
the library itself, symbols, their versions and the soname are compared.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Tuple

RECORD = Path(__file__).with_name("manifest_cache.abi")
TEXTS = Path(__file__).with_name("manifest_cache.txt")
HEADER = Path(__file__).resolve().parents[2] / "include" / "manifest_cache.h"

# Each of these in the header must be noticed, or the check is none.
BROKEN = [
    ("char message[496]", "char message[492]"),
    ("uint32_t line;", "uint64_t line;"),
    ("mc_new(uint64_t ttl_ms)", "mc_new(uint32_t ttl_ms)"),
    ("mc_purge(mc_cache *cache)", "mc_purge_all(mc_cache *cache)"),
    (
        "(const char *plugin_id, mc_load *load, void *user_data)",
        "(const char *plugin_id, mc_load *load)",
    ),
]


def main() -> None:
    library, *options = sys.argv[1:]
    if options not in ([], ["--record"]):
        sys.exit(__doc__)
    header = HEADER.read_text("utf-8")
    with tempfile.TemporaryDirectory() as directory:
        surface = compile_surface(header, Path(directory), soname(library))
        assert functions(surface) == functions(library), "the header and the library differ"
        if options == ["--record"]:
            without = ["--no-corpus-path", "--no-show-locs", "--no-comp-dir-path"]
            described = run("abidw", *without, surface)
            RECORD.write_text(re.sub(r" path='[^']*'", "", described), "utf-8")
            TEXTS.write_text("".join(f"{line}\n" for line in texts(header)), "utf-8")
            print(f"recorded {RECORD.name} and {TEXTS.name}")
            return
        check_texts(header)
        for compared in surface, library:
            same, difference = compare(compared)
            if not same:
                sys.exit(
                    f"{difference}\nThis breaks programs built with the last release; "
                    "docs/abi.md says what to do."
                )
        new = subprocess.run(["abidiff", RECORD, surface], capture_output=True, text=True)
        print(new.stdout, end="")
        for old, broken in BROKEN:
            wrong = compile_surface(header.replace(old, broken), Path(directory), soname(library))
            assert old in header and not compare(wrong)[0], f"{broken} was not noticed"
        print(
            "the interface is that of the last release; "
            f"{len(BROKEN)} broken ones would have been noticed"
        )


def compile_surface(header: str, directory: Path, name: str) -> Path:
    """A library with the functions of the header, which do nothing, and a C compiler's description
    of their types."""
    prototype = re.compile(r"^(\w[^#;{}]*\bmc_\w+\([^;{}]*\));", re.MULTILINE)
    source, surface = directory / "surface.c", directory / "surface.so"
    source.write_text(prototype.sub(r"\1 { __builtin_trap(); }", header), "utf-8")
    link = f"-Wl,-soname,{name},--default-symver"
    run("cc", "-g", "-shared", "-fPIC", "-w", link, source, "-o", surface)
    return surface


def texts(header: str) -> List[str]:
    """The constants, and every declaration in a line."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    constants = re.findall(r"^#define (MC_(?!VERSION).*)$", code, re.MULTILINE)
    declaration = r"^(?:typedef[^{}]*?|typedef struct \{[^}]*\}[^;]*|\w[^#;{}]*\([^;{}]*\));"
    declarations = re.findall(declaration, code, re.MULTILINE)
    return constants + [" ".join(declaration.split()) for declaration in declarations]


def check_texts(header: str) -> None:
    now = texts(header)
    gone = [line for line in TEXTS.read_text("utf-8").splitlines() if line not in now]
    if gone:
        sys.exit(
            "The header has no more:\n  "
            + "\n  ".join(gone)
            + "\nThis breaks programs; docs/abi.md says what to do."
        )


def soname(library: str) -> str:
    found = re.search(r"SONAME.*\[(.*)\]", run("readelf", "-d", library))
    assert found, f"{library} has no soname"
    return found[1]


def functions(library: object) -> List[str]:
    symbols = run("nm", "-D", "--defined-only", "--format=posix", library)
    return re.findall(r"^(mc_\w+)@@\S+ T", symbols, re.MULTILINE)


def compare(library: object) -> Tuple[bool, str]:
    command = ["abidiff", "--no-added-syms", RECORD, library]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode == 0, result.stdout + result.stderr


def run(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


main()
