"""The host in Python, with ctypes: host.py DIRECTORY"""

import os
import sys
from ctypes import CDLL, CFUNCTYPE, POINTER, Structure, byref, string_at
from ctypes import c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

TTL_DEFAULT = 300_000
STATISTICS = {"entries": 1, "hits": 4, "misses": 5, "loads": 6, "failures": 7, "not found": 8}


class Error(Structure):
    _fields_ = [
        ("status", c_int32),
        ("code", c_int32),
        ("line", c_uint32),
        ("column", c_uint32),
        ("message", c_char * 496),
    ]


def function(name, restype, *argtypes):
    function = getattr(library, name)
    function.restype, function.argtypes = restype, argtypes
    return function


# CDLL releases the GIL during a call. With PyDLL a thread that waits for another caller's load
# would keep it, and wait until MC_TIMEOUT.
library = CDLL("libmanifest_cache.so.0")
Loader = CFUNCTYPE(None, c_char_p, c_void_p, c_void_p)
mc_new = function("mc_new", c_void_p, c_uint64)
# An owned string is a c_void_p. ctypes would copy a c_char_p and lose the pointer, which could then
# not be freed.
mc_get = function("mc_get", c_void_p, c_void_p, c_char_p, Loader, c_void_p, POINTER(Error))
mc_clear = function("mc_clear", c_size_t, c_void_p, c_char_p)
mc_stat = function("mc_stat", c_uint64, c_void_p, c_int32)
mc_free = function("mc_free", None, c_void_p)
mc_string_len = function("mc_string_len", c_size_t, c_void_p)
mc_string_free = function("mc_string_free", None, c_void_p)
mc_load_directory = function("mc_load_directory", c_int32, c_void_p, c_char_p)
mc_load_fail = function("mc_load_fail", None, c_void_p, c_int32, c_char_p)


@Loader
def load(plugin_id, answer, _user_data):
    # ctypes prints an exception that leaves a callback, and the load would fail without an answer.
    try:
        if plugin_id == b"cursed":
            raise RuntimeError("the loader raised this")
        mc_load_directory(answer, root)
    except Exception as exception:
        mc_load_fail(answer, 0, str(exception).encode())


def show(what, plugin_id, loader):
    error = Error()
    manifest = mc_get(cache, plugin_id.encode(), loader, None, byref(error))
    if manifest:
        text = string_at(manifest, mc_string_len(manifest))
        print(f"{what} {plugin_id}: {len(text)} bytes {text.decode()}")
    else:
        message = error.message.decode()
        print(f"{what} {plugin_id}: status {error.status} at {error.line}:{error.column} {message}")
    mc_string_free(manifest)


root = os.fsencode(sys.argv[1])
cache = mc_new(TTL_DEFAULT)
for name in sorted(os.listdir(sys.argv[1])):
    if not name.startswith("."):
        show("load", name, load)
show("hit", "weather", load)
mc_clear(cache, b"weather")
show("miss", "weather", Loader())
show("not found", "absent", load)
show("raise", "cursed", load)
show("raise again", "cursed", load)
for name, which in STATISTICS.items():
    print(f"{name}: {mc_stat(cache, which)}")
mc_free(cache)
