#!/usr/bin/env python3
"""Runs the host in every language with an installed library, and compares what they print.

conformance.py PREFIX [--libdir DIRECTORY] [--all]

The host in C is the reference: every other host must print the same bytes. Each of its source files
must have 30 to 100 lines. A language whose tools are not on this machine is not run; with --all
that is a failure too. The hosts are built in a temporary directory, so that they find only what is
installed.
"""

import argparse
import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Callable, NamedTuple, Optional

HERE = Path(__file__).resolve().parent
SECONDS_PER_COMMAND = 120
LINES = range(30, 101)
JNA = "/usr/share/java/jna.jar"

PLUGINS = {
    "größe": '{"name":"Größe","unit":"µm"}',
    "notes": '{"name":"Notes"}',
    "truncated": '{\n  "name": "Truncated",\n  "version":',
    "weather": '{"name":"Weather","icon":"☀"}',
    # Editors and version control create such directories. No host may take one for a plugin.
    ".git": '{"name":"Hidden"}',
}

# The reference must print these: two hosts that print nothing would be the same too.
IN_THE_TRANSCRIPT = (
    r"^hit weather: \d+ bytes ",
    r"^load truncated: status 3 at 3:13 ",
    r"^not found absent: status 1 at ",
    r"^waiter notes: (\d+ bytes .*)\nloader notes: \1$",
    r"^waiter cursed: status 4 at .*\nloader cursed: the loader raised this$",
    r"^cycle chicken: status 5 at .* chicken -> egg -> chicken",
    r"^loads: 10$",
)

# What the host in Go prints with --waiters. A goroutine that waits must not hold a thread.
WAITERS = r"(\d+) goroutines waited for one load of 300ms with (\d+) threads\n"
FEWER_THREADS_THAN = 40


class Language(NamedTuple):
    name: str
    source: str
    # Commands and files; if one is missing, the language is not run.
    needs: tuple
    run: tuple
    # A command that fails if something else is missing, and the name of that.
    probe: tuple = ()
    missing: str = ""
    # A command that downloads what the host needs. If it fails, as without a network, the language
    # is not run.
    fetch: tuple = ()
    build: tuple = ()
    # A command that shows something else, and the function that checks what it printed.
    extra: tuple = ()
    check: Optional[Callable] = None


class NotRun(Exception):
    pass


class Failed(Exception):
    pass


def check_waiters(printed):
    found = re.fullmatch(WAITERS, printed)
    if not found or int(found[1]) != 400 or int(found[2]) >= FEWER_THREADS_THAN:
        raise Failed(
            f"400 goroutines should wait with fewer than {FEWER_THREADS_THAN} threads: {printed!r}"
        )


LANGUAGES = (
    Language(
        name="c",
        source="c/host.c",
        needs=("cc",),
        build=(
            *("cc", "-std=c11", "-I{prefix}/include", "host.c"),
            *("-L{libdir}", "-lmanifest_cache", "-o", "host"),
        ),
        run=("./host",),
    ),
    Language(
        name="python",
        source="python/host.py",
        needs=(sys.executable,),
        probe=(sys.executable, "-c", "import ctypes"),
        missing="the module ctypes",
        run=(sys.executable, "host.py"),
    ),
    Language(
        name="javascript",
        source="javascript/host.js",
        needs=("node", "npm"),
        fetch=("npm", "install", "--prefer-offline", "--no-audit", "--no-fund"),
        missing="npm could not install koffi",
        run=("node", "host.js"),
    ),
    Language(
        name="go",
        source="go/host.go",
        needs=("go", "gcc", "pkg-config"),
        build=("go", "build", "-o", "host", "."),
        run=("./host",),
        extra=("./host", "--waiters"),
        check=check_waiters,
    ),
    Language(
        name="luajit",
        source="luajit/host.lua",
        needs=("luajit",),
        run=("luajit", "host.lua"),
    ),
    Language(
        name="ruby",
        source="ruby/host.rb",
        needs=("ruby",),
        probe=("ruby", "-rffi", "-e", ""),
        missing="the gem ffi",
        run=("ruby", "-w", "host.rb"),
    ),
    Language(
        name="java",
        source="java/Host.java",
        needs=("javac", "java", JNA),
        build=("javac", "-cp", JNA, "-d", ".", "Host.java", "ManifestCache.java"),
        # Without this option Java 24 and later print a warning.
        run=("java", "--enable-native-access=ALL-UNNAMED", "-cp", f".:{JNA}", "Host"),
    ),
    Language(
        name="csharp",
        source="csharp/Host.cs",
        needs=("mcs", "mono"),
        build=("mcs", "-out:host.exe", "Host.cs", "ManifestCache.cs"),
        run=("mono", "host.exe"),
    ),
    Language(
        name="php",
        source="php/host.php",
        needs=("php",),
        probe=("php", "-r", "exit(extension_loaded('FFI') ? 0 : 1);"),
        missing="the extension FFI",
        run=("php", "host.php"),
    ),
)


def environment(prefix, libdir, scratch):
    def before(path, variable):
        return os.pathsep.join(filter(None, (path, os.environ.get(variable))))

    # Java reports these variables on stderr, which must be empty.
    env = dict(os.environ)
    env.pop("JAVA_TOOL_OPTIONS", None)
    env.pop("_JAVA_OPTIONS", None)
    env.update(
        LC_ALL="C.UTF-8",
        LD_LIBRARY_PATH=before(str(libdir), "LD_LIBRARY_PATH"),
        PKG_CONFIG_PATH=before(str(libdir / "pkgconfig"), "PKG_CONFIG_PATH"),
        CGO_ENABLED="1",
        GOCACHE=str(scratch / "go-cache"),
        GOFLAGS="-mod=mod",
        GOPROXY="off",
    )
    return env


def call(command, folder, env):
    """Exit status, stdout and stderr of a command.

    If it takes too long, it is killed with all processes that it started.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=SECONDS_PER_COMMAND)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        stderr += f"{' '.join(command)}: still running after {SECONDS_PER_COMMAND} s".encode()
    return process.returncode, stdout, text(stderr).strip()


def text(data):
    return data.decode("utf-8", "backslashreplace")


def transcript(language, prefix, libdir, scratch, plugins):
    """What the host prints. Raises NotRun if tools are missing, or Failed."""
    for need in language.needs:
        if shutil.which(need) is None and not Path(need).is_file():
            raise NotRun(f"no {need} on this machine")
    source = HERE / language.source
    folder = scratch / language.name
    left_out = shutil.ignore_patterns("node_modules", "package-lock.json")
    shutil.copytree(source.parent, folder, ignore=left_out)
    env = environment(prefix, libdir, scratch)

    if language.probe and call(language.probe, folder, env)[0] != 0:
        raise NotRun(f"{language.missing} is missing")
    if language.fetch:
        status, _, stderr = call(language.fetch, folder, env)
        if status != 0:
            raise NotRun(f"{language.missing}: {textwrap.shorten(stderr, 300)}")
    if language.build:
        command = [argument.format(prefix=prefix, libdir=libdir) for argument in language.build]
        status, stdout, stderr = call(command, folder, env)
        if status != 0:
            raise Failed(f"{command[0]} ended with {status}\n{text(stdout)}{stderr}")

    def run(*command):
        status, stdout, stderr = call(command, folder, env)
        if status != 0 or stderr:
            raise Failed(f"the host ended with {status}\n{stderr or text(stdout)}")
        return stdout

    if language.extra:
        printed = text(run(*language.extra))
        print(f"{language.name}: {printed}", end="")
        language.check(printed)
    return run(*language.run, str(plugins))


def count_lines(language):
    """The lines of each source file of the host. Raises Failed if they are too many or too few."""
    source = HERE / language.source
    lines = {
        path.name: len(path.read_text(encoding="utf-8").splitlines())
        for path in sorted(source.parent.glob(f"*{source.suffix}"))
    }
    for name, count in lines.items():
        if count not in LINES:
            raise Failed(f"{name} has {count} lines, not {LINES.start} to {LINES.stop - 1}")
    return ", ".join(f"{name} {count} lines" for name, count in lines.items())


def check_reference(reference):
    for pattern in IN_THE_TRANSCRIPT:
        if not re.search(pattern, text(reference), re.MULTILINE):
            raise Failed(f"its transcript lacks {pattern}")


def check_same(reference, name, printed):
    if printed == reference:
        return
    before, after = (text(data).splitlines() for data in (reference, printed))
    difference = list(difflib.unified_diff(before, after, "c", name, lineterm=""))
    raise Failed("DIFFERENT\n" + "\n".join(difference or ["only in line ends"]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "prefix", type=Path, metavar="PREFIX", help="where the library is installed"
    )
    parser.add_argument(
        "--libdir", type=Path, metavar="DIRECTORY", help="the library's directory, or PREFIX/lib"
    )
    parser.add_argument("--all", action="store_true", help="fail also if a language was not run")
    arguments = parser.parse_args()
    prefix = arguments.prefix.resolve()
    libdir = (arguments.libdir or prefix / "lib").resolve()
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    passed, failed, not_run = 0, 0, 0
    reference = None
    with tempfile.TemporaryDirectory(prefix="manifest-cache-") as name:
        scratch = Path(name)
        plugins = scratch / "plugins"
        for plugin_id, manifest in PLUGINS.items():
            (plugins / plugin_id).mkdir(parents=True)
            (plugins / plugin_id / "manifest.json").write_text(manifest, encoding="utf-8")

        for language in LANGUAGES:
            try:
                printed = transcript(language, prefix, libdir, scratch, plugins)
                if reference is None:
                    print(text(printed))
                    check_reference(printed)
                    reference = printed
                check_same(reference, language.name, printed)
                print(f"{language.name}: the same; {count_lines(language)}")
                passed += 1
            except NotRun as reason:
                print(f"{language.name}: not run: {reason}")
                not_run += 1
            except Failed as reason:
                print(f"{language.name}: {reason}")
                failed += 1
            if reference is None:
                print("Without the host in C there is nothing to compare the others with.")
                return 1
    print(f"{passed} passed, {failed} failed, {not_run} not run")
    return 1 if failed or (arguments.all and not_run) else 0


if __name__ == "__main__":
    sys.exit(main())
