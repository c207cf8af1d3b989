#!/usr/bin/env bash
# Installs by both ways into empty prefixes, compares the two trees, and builds and runs programs
# against each with nothing of the source tree in sight: check.sh [DIRECTORY]. Leaves DIRECTORY/make
# and DIRECTORY/cargo-c installed for further tests.
#
# Needs what the Makefile needs, cargo-c, CMake, pkg-config, man and gcc's ThreadSanitizer.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
installed=$(realpath -m "${1:-target/installed}")
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT

# grep -q would end early, and so what it reads from.
has() { grep "$@" >/dev/null; }
fail() { echo "check.sh: $*" >&2; exit 1; }
quietly() { "$@" >"$away/log" 2>&1 || { cat "$away/log" >&2; fail "$* failed"; }; }

rm -rf "$installed/make" "$installed/cargo-c"
mkdir -p "$installed"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

echo "make install"
rm -rf target/doc-c
quietly make install PREFIX="$installed/make" WARN_AS_ERROR=FAIL_ON_WARNINGS
echo "cargo cinstall"
quietly cargo cinstall --release --locked --prefix="$installed/cargo-c" --libdir=lib

# The same paths, kinds, modes, links and texts; the libraries with the same soname, needs and
# symbols.
tree() { (cd "$1" && find . -printf '%p %y %m %l\n' | sort); }
texts() {
    (cd "$1" && find . -type f ! -name 'libmanifest_cache.*' -exec sha256sum {} + | sort -k 2)
}
dynamic() {
    readelf -d "$1" | grep -E 'SONAME|NEEDED' | sed 's/.*\[/[/'
    nm -D --defined-only --format=posix "$1" | cut -d ' ' -f 1
}
functions() { dynamic "$1" | sed -n 's/^\(mc_.*\)@@libmanifest_cache\.so\.0$/\1/p' | sort; }
static() {
    nm -g --defined-only --format=posix "$1" 2>/dev/null | grep '^mc_' | cut -d ' ' -f 1 | sort
}

mkdir "$away/texts"
for way in make cargo-c; do
    cp -r "$installed/$way" "$away/texts/$way"
    sed -i "s|^prefix=$installed/$way$|prefix=|" "$away/texts/$way/lib/pkgconfig/manifest_cache.pc"
done
for aspect in tree texts; do
    diff <($aspect "$away/texts/make") <($aspect "$away/texts/cargo-c") ||
        fail "the $aspect differ"
done
library=lib/libmanifest_cache.so.$version
archive=lib/libmanifest_cache.a
diff <(dynamic "$installed/make/$library") <(dynamic "$installed/cargo-c/$library") ||
    fail "the shared libraries differ"
diff <(static "$installed/make/$archive") <(static "$installed/cargo-c/$archive") ||
    fail "the static libraries differ"
dynamic "$installed/make/$library" | has -Fx '[libmanifest_cache.so.0]' ||
    fail "the soname is not libmanifest_cache.so.0"
link=$(readlink "$installed/make/lib/libmanifest_cache.so.0")
[ "$link" = "libmanifest_cache.so.$version" ] || fail "a link is wrong"
# Of a function without this very version, the shared library seems to have none.
diff <(static "$installed/make/$archive") <(functions "$installed/make/$library") ||
    fail "the static library has other functions than the shared one has with its soname as version"
if grep -rlF "$root/" "$away/texts"; then fail "these files name the source tree"; fi
echo "both lay the same tree: $(tree "$installed/make" | wc -l) files, links and directories"

# From here on only what is installed, from a folder of its own.
cp examples-c/quickstart.c "$away/host.c"
cp examples-c/quickstart.cpp "$away/host.cpp"
cp tests/install/CMakeLists.txt "$away"
cp -r examples-c/plugins tests/install/versions tests/install/threads.c "$away"
cd "$away"
apart() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$away" "$@"
}

# runs PROGRAM LIBRARY_PATH WHAT: it prints the manifest and used the shared library of the prefix,
# or none if WHAT is static.
runs() {
    apart LD_LIBRARY_PATH="$2" "$1" plugins notes >out || fail "$1 does not run"
    has -F '"id": "notes"' out && has -F '"hits":1,' out ||
        fail "$1 prints something else: $(cat out)"
    local used
    used=$(apart LD_LIBRARY_PATH="$2" ldd "$1" 2>/dev/null | grep -F manifest_cache || true)
    case $3 in
    static) [ -z "$used" ] || fail "$1 is not static: $used" ;;
    shared)
        [[ $used == *"libmanifest_cache.so.0 => $prefix/lib/libmanifest_cache.so.0 "* ]] ||
            fail "$1 uses $used"
        ;;
    esac
}

# keeps_to_itself PLUGIN: it has a copy of the library in it, and exports its own functions only.
keeps_to_itself() {
    nm "$1" | has ' [tT] mc_get$' || fail "$1 has no copy of the library"
    if nm -D --defined-only "$1" | grep ' mc_'; then
        fail "$1 exports the functions of its copy"
    fi
}

# two_sonames: a host linked to this library opens a plugin that is linked to the next major
# version, for which a library with one function stands.
two_sonames() {
    rm -rf sonames
    mkdir sonames
    (
        cd sonames
        echo 'const char *mc_version(void) { return "the next"; }' >next.c
        echo 'const char *mc_version(void);
            const char *version_of_plugin(void) { return mc_version(); }' >plugin.c
        echo '#include <dlfcn.h>
            #include <stdio.h>
            const char *mc_version(void);
            int main(void) {
                void *plugin = dlopen("./plugin.so", RTLD_NOW);
                const char *(*of_plugin)(void) =
                    (const char *(*)(void))dlsym(plugin, "version_of_plugin");
                printf("host: %s, plugin: %s\n", mc_version(), of_plugin());
            }' >host.c
        next=libmanifest_cache.so.1
        cc -shared -fPIC next.c "-Wl,-soname,$next,--default-symver" -o "$next"
        cc -shared -fPIC plugin.c "./$next" "-Wl,-rpath,$PWD" -o plugin.so
        # shellcheck disable=SC2046
        cc host.c $(pc --libs) -ldl -o host
        apart LD_LIBRARY_PATH="$prefix/lib" ./host >out
        has -Fx "host: $version, plugin: the next" out || fail "two sonames: $(cat out)"
    )
}

# races SUPPRESSIONS PROGRAM...: whether ThreadSanitizer reports any; its reports are in out.
races() {
    local status=0
    apart LD_LIBRARY_PATH="$prefix/lib" TSAN_OPTIONS="exitcode=66 suppressions=$1" "${@:2}" \
        >out 2>&1 || status=$?
    case $status in
    0) return 1 ;;
    66) return 0 ;;
    *) fail "${*:2} ended with $status: $(cat out)" ;;
    esac
}

for way in make cargo-c; do
    prefix=$installed/$way
    pc() { apart PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config "$@" manifest_cache; }
    [ "$(pc --modversion)" = "$version" ] || fail "pkg-config has another version"
    libs_static=$(pc --static --libs | sed 's/-lmanifest_cache/-l:libmanifest_cache.a/')
    libs_static+=' -Wl,--exclude-libs,libmanifest_cache.a'
    # shellcheck disable=SC2046,SC2086 # these are several words
    for source in "cc -std=c11 host.c" "c++ -std=c++17 host.cpp"; do
        apart $source -Wall -Wextra -Werror -H $(pc --cflags) $(pc --libs) -o dynamic 2>headers ||
            fail "$(cat headers)"
        apart $source -Wall -Wextra -Werror $(pc --cflags) $libs_static -o static
        if grep -F "$root/" headers | grep -vF "$prefix/"; then
            fail "a header of the source tree was used"
        fi
        runs ./dynamic "$prefix/lib" shared
        runs ./static "" static
    done
    # shellcheck disable=SC2046,SC2086
    apart cc -std=c11 -static host.c $(pc --cflags) ${libs_static/-lgcc_s/-lgcc_eh} -o static
    runs ./static "" static
    # shellcheck disable=SC2046,SC2086
    apart cc -std=c11 -shared -fPIC host.c $(pc --cflags) $libs_static -o plugin.so
    keeps_to_itself plugin.so
    echo "$way: C and C++ programs by pkg-config, shared and static"

    two_sonames
    echo "$way: a host and its plugin, each with a soname of its own"

    # shellcheck disable=SC2046
    apart cc -g -std=c11 -D_POSIX_C_SOURCE=200809L -fsanitize=thread threads.c -pthread \
        $(pc --cflags) $(pc --libs) -o threads
    races "" ./threads || fail "ThreadSanitizer needs no suppressions, or sees nothing"
    ! races "$prefix/share/manifest_cache/tsan.supp" ./threads || fail "a report: $(cat out)"
    races "$prefix/share/manifest_cache/tsan.supp" ./threads race || fail "no report of a race"
    has -F 'threads.c:29 in load' out || fail "another race is reported: $(cat out)"
    echo "$way: under ThreadSanitizer a host's own races are reported, and no others"

    rm -rf build
    quietly apart cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix"
    quietly apart cmake --build build
    runs build/host "" shared
    runs build/host_cpp "" shared
    runs build/host_static "" static
    runs build/host_cpp_static "" static
    quietly apart cmake -S versions -B build/versions -DCMAKE_PREFIX_PATH="$prefix"
    has -F 'needs -lgcc_s;' log || fail "CMake's static library lacks what it needs: $(cat log)"
    quietly apart cmake --build build/versions
    keeps_to_itself build/versions/libplugin.so
    echo "$way: C and C++ programs by CMake, shared and static"

    html=$prefix/share/doc/manifest_cache/html
    functions=$(functions "$prefix/$library")
    for name in $functions mc_loader mc_error MC_OPT_WAIT_MS manifest_cache; do
        MANPATH=$prefix/share/man man -w 3 "$name" >/dev/null ||
            fail "there is no manual page $name"
        [ "$name" = manifest_cache ] || has -F ">$name<" "$html/manifest__cache_8h.html" ||
            fail "the reference lacks $name"
    done
    for name in $functions; do
        has -F "$name \\- " "$prefix/share/man/man3/$name.3" ||
            fail "the manual page of $name does not say what it is"
    done
    [ -s "$html/classmanifest__cache_1_1Cache.html" ] || fail "the reference lacks the classes"
    [ -z "$(MANPATH=$prefix/share/man man --warnings 3 mc_get 2>&1 >page)" ] ||
        fail "the page of mc_get has warnings"
    # Without line ends and the spaces that fill a line.
    tr -s ' \n' ' ' <page | has -F 'mc_get - Returns the manifest of a plugin' ||
        fail "man mc_get shows something else: $(head -n 5 page)"
done

# Wherever a system has its libraries.
for directory in lib64 "lib/$(cc -print-multiarch)"; do
    cd "$root"
    quietly make install PREFIX="$away/elsewhere" LIBDIR="$away/elsewhere/$directory"
    cd "$away"
    rm -rf build
    quietly apart cmake -S versions -B build -DCMAKE_PREFIX_PATH="$away/elsewhere"
    has -F "$away/elsewhere/$directory/libmanifest_cache.so" log ||
        fail "CMake does not find it in $directory: $(cat log)"
    rm -rf elsewhere
done
echo "CMake in lib64 and lib/$(cc -print-multiarch)"

# What was built for another target is not taken, not even this machine's own under its full name.
target=$(rustc -vV | sed -n 's/^host: //p')
cd "$root"
rm -rf "target/dist/$target"
quietly make install PREFIX="$away/target" CARGO_BUILD_TARGET="$target"
[ "target/dist/$target/stamp" -nt target/dist/host/stamp ] ||
    fail "CARGO_BUILD_TARGET builds nothing"
diff <(dynamic "$away/target/$library") <(dynamic "$installed/make/$library") ||
    fail "CARGO_BUILD_TARGET changes the library"
echo "make install with CARGO_BUILD_TARGET"

# DESTDIR is where it is put now, PREFIX where it will be; and uninstalling leaves nothing.
cd "$root"
quietly make install PREFIX=/opt/manifest_cache DESTDIR="$away/staged"
staged=$away/staged/opt/manifest_cache
has -Fx 'prefix=/opt/manifest_cache' "$staged/lib/pkgconfig/manifest_cache.pc"
diff <(tree "$staged") <(tree "$installed/make") ||
    fail "DESTDIR changes the tree"
touch "$staged/share/man/man3/another.3"
quietly make uninstall PREFIX=/opt/manifest_cache DESTDIR="$away/staged"
left=$(find "$away/staged" ! -type d)
[ "$left" = "$staged/share/man/man3/another.3" ] ||
    fail "make uninstall leaves or takes: $left"
echo "make install with DESTDIR, and make uninstall"
