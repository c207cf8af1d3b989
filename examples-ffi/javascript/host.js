// The host in JavaScript, with koffi: node host.js DIRECTORY

import { readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import koffi from 'koffi';

const [BEGUN, PENDING, OPT_FAILURE_TTL_MS] = [9, 10, 11];
const [TTL_DEFAULT, TTL_FOREVER] = [300_000, 2n ** 64n - 1n];
const STATISTICS = { entries: 1, misses: 5, loads: 6, failures: 7, 'not found': 8 };
const NEEDS = { chicken: 'egg', egg: 'chicken' };

const message = koffi.array('char', 496);
koffi.struct('mc_error', {
  status: 'int32_t', code: 'int32_t', line: 'uint32_t', column: 'uint32_t', message
});
koffi.proto('void mc_done(void *manifest, mc_error *error, uintptr_t waiter)');

// An owned string is a void *. Of a char * koffi returns a copy, and nothing could free it.
const library = koffi.load('libmanifest_cache.so.0');
const mc_begin_async = library.func(
  'int32_t mc_begin_async(void *cache, const char *plugin_id, void *within, mc_done *done, ' +
    'uintptr_t waiter, _Out_ void **load, _Out_ void **manifest, _Out_ mc_error *error)'
);
const mc_end = library.func('void *mc_end(_Inout_ void **load, _Out_ mc_error *error)');
const mc_new = library.func('void *mc_new(uint64_t ttl_ms)');
const mc_set_option = library.func('int32_t mc_set_option(void *cache, int32_t id, uint64_t ms)');
const mc_clear = library.func('size_t mc_clear(void *cache, const char *plugin_id)');
const mc_stat = library.func('uint64_t mc_stat(void *cache, int32_t which)');
const mc_free = library.func('void mc_free(void *cache)');
const mc_string_len = library.func('size_t mc_string_len(void *string)');
const mc_string_free = library.func('void mc_string_free(void *string)');
const mc_load_directory = library.func('int32_t mc_load_directory(void *load, const char *root)');
const mc_load_fail = library.func('void mc_load_fail(void *load, int32_t code, const char *text)');
const loadDirectory = promisify(mc_load_directory.async); // it reads the file on another thread

const [root, cache, waiters] = [process.argv[2], mc_new(TTL_DEFAULT), []];

// koffi calls it on this thread, here within mc_end(). The outcome goes to the promise of a waiter.
const done = koffi.register((manifest, error, waiter) => {
  waiters[waiter]({ manifest, error: koffi.decode(error, 'mc_error') });
  delete waiters[waiter];
}, 'mc_done *');

async function get(pluginId, within, loader) {
  const [answer, manifest, error, waiter] = [[null], [null], {}, waiters.length];
  const told = new Promise((resolve) => waiters.push(resolve));
  // A NUL in the id would end it.
  const status = mc_begin_async(cache, pluginId, within, done, waiter, answer, manifest, error);
  if (status === PENDING) return take(await told);
  delete waiters[waiter];
  if (status !== BEGUN) return take({ manifest: manifest[0], error });
  try {
    await loader(pluginId, answer[0]);
  } catch (thrown) {
    mc_load_fail(answer[0], 0, String(thrown?.message ?? thrown));
    mc_string_free(mc_end(answer, null));
    throw thrown;
  }
  return take({ manifest: mc_end(answer, error), error });
}

function take({ manifest, error: { status, line, column, message } }) {
  if (!manifest) throw new Error(`status ${status} at ${line}:${column} ${message}`);
  const text = koffi.decode.string(manifest, mc_string_len(manifest));
  mc_string_free(manifest);
  return text;
}

async function load(pluginId, answer) {
  if (pluginId === 'cursed') throw new Error('the loader raised this');
  if (pluginId in NEEDS) await get(NEEDS[pluginId], answer, load);
  await loadDirectory(answer, root);
}

const outcome = (pluginId) => get(pluginId, null, load).then(
  (text) => `${pluginId}: ${Buffer.byteLength(text)} bytes ${text}`,
  (error) => `${pluginId}: ${error.message}`
);

async function share(pluginId) {
  const [loader, waiter] = await Promise.all([outcome(pluginId), outcome(pluginId)]);
  console.log(`waiter ${waiter}\nloader ${loader}`);
}

mc_set_option(cache, OPT_FAILURE_TTL_MS, TTL_FOREVER);
for (const name of readdirSync(root).sort()) {
  if (!name.startsWith('.')) console.log('load', await outcome(name));
}
console.log('hit', await outcome('weather'));
mc_clear(cache, 'weather');
console.log('miss', await outcome('weather'));
console.log('not found', await outcome('absent'));
mc_clear(cache, 'notes');
await share('notes');
await share('cursed');
console.log('cycle', await outcome('chicken'));
for (const [name, which] of Object.entries(STATISTICS)) {
  console.log(`${name}: ${mc_stat(cache, which)}`);
}
mc_free(cache);
