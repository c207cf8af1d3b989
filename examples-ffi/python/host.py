"""The host in Python, with ctypes: host.py DIRECTORY"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from ctypes import CDLL, CFUNCTYPE, POINTER, Structure, string_at
from ctypes import c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

BEGUN, OPT_FAILURE_TTL_MS, TTL_DEFAULT, TTL_FOREVER = 9, 11, 300_000, 2**64 - 1
STATISTICS = {"entries": 1, "misses": 5, "loads": 6, "failures": 7, "not found": 8}
NEEDS = {"chicken": ["egg"], "egg": ["chicken"]}


class Error(Structure):
    _fields_ = [("status", c_int32), ("code", c_int32), ("line", c_uint32), ("column", c_uint32)]
    _fields_ += [("message", c_char * 496)]


# A CFUNCTYPE releases the GIL during a call. A thread that waits for a load must not keep it.
def function(name, restype, *argtypes):
    return CFUNCTYPE(restype, *argtypes)((name, library))


library = CDLL("libmanifest_cache.so.0")
# An owned string is a c_void_p. Of a c_char_p ctypes returns a copy, and nothing could free it.
pointers = (POINTER(c_void_p), POINTER(c_void_p), POINTER(Error))
mc_begin = function("mc_begin", c_int32, c_void_p, c_char_p, c_void_p, *pointers)
mc_end = function("mc_end", c_void_p, POINTER(c_void_p), POINTER(Error))
mc_new = function("mc_new", c_void_p, c_uint64)
mc_set_option = function("mc_set_option", c_int32, c_void_p, c_int32, c_uint64)
mc_clear = function("mc_clear", c_size_t, c_void_p, c_char_p)
mc_stat = function("mc_stat", c_uint64, c_void_p, c_int32)
mc_free = function("mc_free", None, c_void_p)
mc_string_free = function("mc_string_free", None, c_void_p)
mc_load_directory = function("mc_load_directory", c_int32, c_void_p, c_char_p)
mc_load_fail = function("mc_load_fail", None, c_void_p, c_int32, c_char_p)


def get(plugin_id, within, loader):
    answer, manifest, error = c_void_p(), c_void_p(), Error()
    try:
        if mc_begin(cache, plugin_id.encode(), within, answer, manifest, error) == BEGUN:
            loader(plugin_id, answer)
            manifest.value = mc_end(answer, error)
        if not manifest:
            place = f"{error.line}:{error.column}"
            raise LookupError(f"status {error.status} at {place} {error.message.decode()}")
        return string_at(manifest).decode()  # JSON contains no NUL
    except BaseException as exception:
        if answer:  # the load has not ended
            mc_load_fail(answer, 0, str(exception).encode())
            manifest.value = mc_end(answer, None)
        raise
    finally:
        mc_string_free(manifest)


def load(plugin_id, answer):
    if plugin_id == "cursed":
        raise RuntimeError("the loader raised this")
    for needed in NEEDS.get(plugin_id, ()):
        get(needed, answer, load)
    mc_load_directory(answer, root)


def outcome(plugin_id, loader=load):
    try:
        manifest = get(plugin_id, None, loader)
        return f"{plugin_id}: {len(manifest.encode())} bytes {manifest}"
    except Exception as exception:
        return f"{plugin_id}: {exception}"


def share(plugin_id):
    waiters, threads = [], ThreadPoolExecutor()

    def load_shared(plugin_id, answer):
        waiters.append(threads.submit(outcome, plugin_id))
        wait(waiters, timeout=0.1)  # so that it waits for this load; later it would get the same
        load(plugin_id, answer)

    loader = outcome(plugin_id, load_shared)
    print(f"waiter {waiters[0].result()}\nloader {loader}")


root, cache = os.fsencode(sys.argv[1]), mc_new(TTL_DEFAULT)
mc_set_option(cache, OPT_FAILURE_TTL_MS, TTL_FOREVER)
for name in sorted(name for name in os.listdir(sys.argv[1]) if not name.startswith(".")):
    print("load", outcome(name))
print("hit", outcome("weather"))
mc_clear(cache, b"weather")
print("miss", outcome("weather"))
print("not found", outcome("absent"))
mc_clear(cache, b"notes")
share("notes")
share("cursed")
print("cycle", outcome("chicken"))
for name, which in STATISTICS.items():
    print(f"{name}: {mc_stat(cache, which)}")
mc_free(cache)
