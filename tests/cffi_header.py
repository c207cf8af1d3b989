"""The header as Python's cffi reads it, and a call through it: cffi_header.py HEADER LIBRARY"""

import re
import sys

import cffi

header_path, library_path = sys.argv[1:]
with open(header_path, encoding="utf-8") as file:
    header = file.read()

# cffi takes declarations, and constants that are plain numbers.
header = re.sub(r"#ifdef __cplusplus.*?#endif[^\n]*", "", header, flags=re.DOTALL)
header = re.sub(r"^#(?!define MC_\w+ \d+$)[^\n]*", "", header, flags=re.MULTILINE)

ffi = cffi.FFI()
ffi.cdef(header)
library = ffi.dlopen(library_path)


@ffi.callback("void(const char *, mc_load *, void *)")
def load(plugin_id, answer, user_data):
    text = b'{"id":"' + ffi.string(plugin_id) + b'"}'
    library.mc_load_json(answer, text, len(text))


cache = library.mc_new(library.MC_TTL_DEFAULT)
error = ffi.new("mc_error *")
assert ffi.sizeof("mc_error") == 512
manifest = library.mc_get(cache, b"weather", load, ffi.NULL, error)
assert ffi.string(manifest) == b'{"id":"weather"}', ffi.string(error.message)
assert library.mc_string_len(manifest) == 16
assert error.status == library.MC_OK
library.mc_string_free(manifest)
assert library.mc_get(cache, b"weather", load, ffi.NULL, ffi.NULL) != ffi.NULL
library.mc_free(cache)
print("cffi reads the header and calls the library, version", ffi.string(library.mc_version()).decode())
