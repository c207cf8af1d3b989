// The cache with koffi: get() gives the decoded manifest, from loaders that are async functions.

import { promisify } from 'node:util';
import koffi from 'koffi';

const [BEGUN, PENDING, TTL_DEFAULT] = [9, 10, 300_000];

export const decodes = { count: 0 }; // for the host, which shows that there is one for each load

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
export const mc_set_option = library.func(
  'int32_t mc_set_option(void *cache, int32_t id, uint64_t ms)'
);
export const mc_clear = library.func('size_t mc_clear(void *cache, const char *plugin_id)');
export const mc_stat = library.func('uint64_t mc_stat(void *cache, int32_t which)');
export const mc_free = library.func('void mc_free(void *cache)');
const mc_revision = library.func('uint64_t mc_revision(void *cache, const char *plugin_id)');
const mc_string_revision = library.func('uint64_t mc_string_revision(void *string)');
const mc_string_len = library.func('size_t mc_string_len(void *string)');
const mc_string_free = library.func('void mc_string_free(void *string)');
const mc_load_directory = library.func('int32_t mc_load_directory(void *load, const char *root)');
const mc_load_fail = library.func('void mc_load_fail(void *load, int32_t code, const char *text)');
// It reads the file on another thread.
export const loadDirectory = promisify(mc_load_directory.async);

export const cache = mc_new(TTL_DEFAULT);
const [waiters, decoded] = [[], new Map()];

// koffi calls it on this thread, here within mc_end(). The outcome goes to the promise of a waiter.
const done = koffi.register((manifest, error, waiter) => {
  waiters[waiter]({ manifest, error: koffi.decode(error, 'mc_error') });
  delete waiters[waiter];
}, 'mc_done *');

// Resolves with the decoded manifest: the same object as long as its revision is current, so do not
// change it.
export async function get(pluginId, within, loader) {
  const kept = decoded.get(pluginId);
  if (kept && mc_revision(cache, pluginId) === kept.revision) return kept.manifest;
  const [answer, manifest, error, waiter] = [[null], [null], {}, waiters.length];
  const told = new Promise((resolve) => waiters.push(resolve));
  // A NUL in the id would end it.
  const status = mc_begin_async(cache, pluginId, within, done, waiter, answer, manifest, error);
  if (status === PENDING) return take(pluginId, await told);
  delete waiters[waiter];
  if (status !== BEGUN) return take(pluginId, { manifest: manifest[0], error });
  try {
    await loader(pluginId, answer[0]);
  } catch (thrown) {
    mc_load_fail(answer[0], 0, String(thrown?.message ?? thrown));
    mc_string_free(mc_end(answer, null));
    throw thrown;
  }
  return take(pluginId, { manifest: mc_end(answer, error), error });
}

function take(pluginId, { manifest, error: { status, line, column, message } }) {
  if (!manifest) throw new Error(`status ${status} at ${line}:${column} ${message}`);
  try {
    return decode(pluginId, manifest);
  } finally {
    mc_string_free(manifest);
  }
}

// Decodes a manifest once for each revision, also if others have waited for the same load.
function decode(pluginId, string) {
  const [kept, revision] = [decoded.get(pluginId), mc_string_revision(string)];
  if (kept?.revision === revision) return kept.manifest;
  const manifest = JSON.parse(koffi.decode.string(string, mc_string_len(string)));
  decoded.set(pluginId, { revision, manifest });
  decodes.count += 1;
  return manifest;
}
