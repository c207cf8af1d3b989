#!/usr/bin/env python3
"""Compiles or runs every code block in the README, in docs and in the headers.

    tests/documents.py PREFIX [PYTHON]

PREFIX is where the library is installed. PYTHON is an interpreter that has the Python package. The
script needs a C and a C++ compiler, CMake and the tools that the blocks use. The language of a block
decides what happens:

    c, cpp     It is compiled with all warnings and run. A block that is not a whole program is put
               into a main().
    cmake      It is the CMakeLists.txt of a host in C and one in C++, which are built and run.
    python     All blocks of a document are run as one program.
    sh         All blocks of a document are run as one script, in the top folder and with an empty
               home directory, without the lines that .ci/run contains too.

A block of another language, or of none, is an error, so that no example stays untested.
"""

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Dict, List, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    "python/README.md",
    "examples-ffi/README.md",
]
HEADERS = {"include/manifest_cache.h": "c", "include/manifest_cache.hpp": "cpp"}
COMPILERS = {"c": ["cc", "-std=c11"], "cpp": ["c++", "-std=c++17"]}
INCLUDES = {"c": "#include <manifest_cache.h>\n#include <stdio.h>\n",
            "cpp": "#include <iostream>\n#include <manifest_cache.hpp>\n"}

# What the examples of the headers rely on that are not whole programs.
FRAMES = {"c": """#include <manifest_cache.h>

static void finish(void *request, const char *manifest, const mc_error *error) {
    (void)request, (void)error;
    mc_string_free(manifest);
}

static void done(const char *manifest, const mc_error *error, void *request) {
    finish(request, manifest, error);
}

static void send_request(void *request, mc_load *load) {
    mc_load_not_found(load);
    finish(request, mc_end(&load, NULL), NULL);
}

int main(void) {
    mc_cache *cache = mc_new(MC_TTL_DEFAULT);
    void *request = NULL;
    const char *manifest = NULL;
    mc_load *load = NULL;
    mc_error error;
    mc_status status;
    (void)load, (void)status;
%s
    mc_free(cache);
    return 0;
}
""", "cpp": """#include <iostream>
#include <manifest_cache.hpp>

struct Plugin {
    int name;
};

int main() {
    const auto load = [](std::string_view, manifest_cache::Load &load) { load.json("{}"); };
    const auto decode = [](std::string_view text) { return Plugin{static_cast<int>(text.size())}; };
%s
}
"""}


class Block(NamedTuple):
    place: str
    language: str
    text: str


def main() -> None:
    prefix = Path(sys.argv[1]).resolve()
    python = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else sys.executable)
    count = 0
    for document in [*DOCUMENTS, *HEADERS]:
        blocks = header_example(document) if document in HEADERS else blocks_of(document)
        by_language: Dict[str, List[Block]] = {}
        for block in blocks:
            by_language.setdefault(block.language, []).append(block)
        for language, those in by_language.items():
            with tempfile.TemporaryDirectory() as directory:
                attempt(language, those, Path(directory), prefix, python)
        count += len(blocks)
        counts = [f"{len(those)} {language}" for language, those in by_language.items()]
        print(f"{document}: {', '.join(counts) or 'no code'}")
    assert count > 10
    print(f"{count} passed, 0 failed")


def blocks_of(document: str) -> List[Block]:
    blocks, fence, lines = [], None, []
    previous = ""
    for number, line in enumerate((ROOT / document).read_text("utf-8").splitlines(), 1):
        if line.startswith("```") and fence is None:
            fence, lines, place = line[3:], [], f"{document}:{number}"
        elif line == "```":
            blocks.append(Block(place, fence, "".join(f"{line}\n" for line in lines)))
            fence = None
        elif fence is not None:
            lines.append(line)
        elif re.match(r"\s+```|~~~|\t|.*<pre", line) or (
            line.startswith("    ") and not previous.strip()
        ):
            sys.exit(
                f"{document}:{number}: show code in a block that begins with ``` and its language "
                "at the beginning of a line"
            )
        previous = line
    assert fence is None, f"{document}: a block has no end"
    return blocks


def header_example(header: str) -> List[Block]:
    """The indented code in the first comment of a header, as a program. In C the first example is
    one of its own, as it frees its cache."""
    lines = [line[2:] for line in (ROOT / header).read_text("utf-8").split("*/")[0].splitlines()]
    text = "".join(f"{line}\n" for line in lines).replace("/usr/lib/plugins", "plugins")
    examples = re.findall(r"((?:^     .*\n|^\n(?=     ))+)", text, re.MULTILINE)
    examples = [textwrap.dedent(example).strip("\n") + "\n" for example in examples]
    assert len(examples) > 1, f"{header} has fewer examples than it had"
    language = HEADERS[header]
    first = "" if language == "c" else examples[0]
    text = FRAMES[language] % (first + "".join(f"{{\n{other}}}\n" for other in examples[1:]))
    programs = [examples[0], text] if language == "c" else [text]
    return [Block(header, language, program) for program in programs]


def attempt(language: str, blocks: List[Block], directory: Path, prefix: Path, python: str) -> None:
    (directory / "plugins").symlink_to(ROOT / "examples-c" / "plugins")
    if language in COMPILERS:
        for block in blocks:
            program(block, directory, prefix)
    elif language == "cmake":
        for block in blocks:
            cmake(block, directory, prefix)
    elif language == "python":
        source = "".join(block.text for block in blocks)
        run(blocks, [python, "-W", "error", "-c", source], directory)
    elif language == "sh":
        shell(blocks, directory, python)
    else:
        kind = f"the language {language}" if language else "a block without a language"
        sys.exit(f"{blocks[0].place}: this script cannot run {kind}")


def program(block: Block, directory: Path, prefix: Path) -> None:
    text = block.text
    if not re.search(r"\bmain\(", text):
        # The functions before the statements end with a brace at the beginning of a line.
        parts = re.fullmatch(r"(.*^}\n\n)?(.*)", text, re.DOTALL | re.MULTILINE)
        functions, statements = parts.groups("")
        text = f"{INCLUDES[block.language]}\n{functions}int main(void)\n{{\n{statements}}}\n"
    source = directory / f"program.{block.language}"
    source.write_text(text, "utf-8")
    compile_it = [*COMPILERS[block.language], "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    link = [f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lmanifest_cache", "-o", "program"]
    run([block], [*compile_it, f"-I{prefix}/include", source.name, *link], directory)
    run([block], ["./program"], directory)


def cmake(block: Block, directory: Path, prefix: Path) -> None:
    (directory / "CMakeLists.txt").write_text(block.text, "utf-8")
    for language in COMPILERS:
        quickstart = ROOT / f"examples-c/quickstart.{language}"
        (directory / f"host.{language}").write_text(quickstart.read_text("utf-8"), "utf-8")
    configure = ["cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}"]
    run([block], configure, directory)
    run([block], ["cmake", "--build", "build"], directory)
    hosts = [path for path in (directory / "build").glob("host*") if path.is_file()]
    assert len(hosts) == block.text.count("add_executable("), hosts
    for host in hosts:
        run([block], [str(host)], directory)


def shell(blocks: List[Block], home: Path, python: str) -> None:
    ci = {line.strip() for line in (ROOT / ".ci/run").read_text("utf-8").splitlines()}
    lines = [line for block in blocks for line in block.text.splitlines()]
    script = "".join(f"{line}\n" for line in lines if re.sub(r"\s+#.*", "", line) not in ci)
    path = f"{os.path.dirname(python)}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(home), "MAKEFLAGS": "", "PATH": path}
    for variable in ("CARGO_HOME", "RUSTUP_HOME"):
        environment.setdefault(variable, str(Path.home() / f".{variable.split('_')[0].lower()}"))
    run(blocks, ["bash", "-euo", "pipefail", "-c", script], ROOT, environment)


def run(
    blocks: List[Block], command: List[str], directory: Path, environment: Dict[str, str] = None
) -> None:
    result = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode != 0:
        places = " ".join(block.place for block in blocks)
        sys.exit(f"{places}: {command[0]} failed\n{result.stdout}")


main()
