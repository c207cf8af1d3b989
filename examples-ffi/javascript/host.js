// The host in JavaScript: node host.js DIRECTORY

import { readdirSync } from 'node:fs';
import {
  cache, decodes, get, loadDirectory, mc_clear, mc_free, mc_set_option, mc_stat
} from './cache.js';

const [OPT_FAILURE_TTL_MS, TTL_FOREVER] = [11, 2n ** 64n - 1n];
const STATISTICS = { entries: 1, misses: 5, loads: 6, failures: 7, 'not found': 8 };
const NEEDS = { chicken: 'egg', egg: 'chicken' };
const root = process.argv[2];

async function load(pluginId, answer) {
  if (pluginId === 'cursed') throw new Error('the loader raised this');
  if (pluginId in NEEDS) await get(NEEDS[pluginId], answer, load);
  await loadDirectory(answer, root);
}

const show = (text) => `${Buffer.byteLength(text)} bytes ${text}`;

const outcome = (pluginId) => get(pluginId, null, load).then(
  (manifest) => `${pluginId}: ${show(JSON.stringify(manifest))}`,
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
const [loads, failures, notFound] = [6, 7, 8].map((which) => Number(mc_stat(cache, which)));
if (decodes.count !== loads - failures - notFound) throw new Error(`${decodes.count} decodes`);
mc_free(cache);
