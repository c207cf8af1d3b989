// The host in JavaScript, with koffi: node host.js DIRECTORY

import { readdirSync } from 'node:fs';
import koffi from 'koffi';

const TTL_DEFAULT = 300_000;
const STATISTICS = { entries: 1, hits: 4, misses: 5, loads: 6, failures: 7, 'not found': 8 };

const message = koffi.array('char', 496);
koffi.struct('mc_error', {
  status: 'int32_t', code: 'int32_t', line: 'uint32_t', column: 'uint32_t', message
});
koffi.proto('void mc_loader(const char *plugin_id, void *load, void *user_data)');

// An owned string is a void *. koffi would turn a char * into a string and lose the pointer, which
// could then not be freed.
const library = koffi.load('libmanifest_cache.so.0');
const mc_new = library.func('void *mc_new(uint64_t ttl_ms)');
const mc_get = library.func(
  'void *mc_get(void *cache, const char *plugin_id, mc_loader *loader, void *user_data, ' +
    '_Out_ mc_error *error)'
);
const mc_clear = library.func('size_t mc_clear(void *cache, const char *plugin_id)');
const mc_stat = library.func('uint64_t mc_stat(void *cache, int32_t which)');
const mc_free = library.func('void mc_free(void *cache)');
const mc_string_len = library.func('size_t mc_string_len(void *string)');
const mc_string_free = library.func('void mc_string_free(void *string)');
const mc_load_directory = library.func('int32_t mc_load_directory(void *load, const char *root)');
const mc_load_fail = library.func(
  'void mc_load_fail(void *load, int32_t code, const char *message)'
);

const root = process.argv[2];

function load(pluginId, answer) {
  if (pluginId === 'cursed') throw new Error('the loader raised this');
  mc_load_directory(answer, root);
}

// koffi throws an exception of the loader when mc_get() has ended, instead of returning its result,
// which would leak.
function guarded(pluginId, answer) {
  try {
    load(pluginId, answer);
  } catch (error) {
    mc_load_fail(answer, 0, error instanceof Error ? error.message : String(error));
  }
}

function show(cache, what, pluginId, loader) {
  const error = {};
  // A NUL in the id would end it. With mc_get.async() the loader would have to wait for the event
  // loop.
  const manifest = mc_get(cache, pluginId, loader, null, error);
  try {
    if (manifest) {
      const length = mc_string_len(manifest);
      console.log(`${what} ${pluginId}: ${length} bytes ${koffi.decode.string(manifest, length)}`);
    } else {
      const { status, line, column, message } = error;
      console.log(`${what} ${pluginId}: status ${status} at ${line}:${column} ${message}`);
    }
  } finally {
    mc_string_free(manifest);
  }
}

const cache = mc_new(TTL_DEFAULT);
for (const name of readdirSync(root).sort()) {
  if (!name.startsWith('.')) show(cache, 'load', name, guarded);
}
show(cache, 'hit', 'weather', guarded);
mc_clear(cache, 'weather');
show(cache, 'miss', 'weather', null);
show(cache, 'not found', 'absent', guarded);
show(cache, 'raise', 'cursed', guarded);
show(cache, 'raise again', 'cursed', guarded);
for (const [name, which] of Object.entries(STATISTICS)) {
  console.log(`${name}: ${mc_stat(cache, which)}`);
}
mc_free(cache);
