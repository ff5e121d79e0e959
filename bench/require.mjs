/**
 * npm run bench:require -- [FOLDER]
 *
 * Measures the start of Node with `require('mbok')` and with the import as a module, beside Node alone and, if FOLDER/node_modules
 * has it, better-sqlite3, another package with a native add-on. Programs take turns, each in a new process.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { median } from './measure.mjs';

const ROUNDS = 41;

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const peer = join(resolve(process.argv[2] ?? '.'), 'node_modules/better-sqlite3');
const text = JSON.stringify;
const programs = {
  'node -e 0': '0',
  "require('mbok')": `require(${text(dist)})`,
  "require('mbok').Model": `require(${text(dist)}).Model`,
  "import('mbok')": `import(${text(pathToFileURL(join(dist, 'index.mjs')).href)})`,
  ...(existsSync(peer) && { "require('better-sqlite3')": `require(${text(peer)})` }),
};

const times = Object.fromEntries(Object.keys(programs).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++)
  for (const [name, program] of Object.entries(programs)) {
    const start = performance.now();
    const { status, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    times[name].push(performance.now() - start);
  }

const alone = median(times['node -e 0']);
console.log(
  `Node ${process.version}, ${ROUNDS} rounds\n\n| program | least, ms | median, ms | beside Node alone |\n|---|---|---|---|`,
);
for (const [name, values] of Object.entries(times)) {
  const columns = [Math.min(...values).toFixed(1), median(values).toFixed(1), (median(values) / alone).toFixed(2)];
  console.log(`| ${name} | ${columns.join(' | ')} |`);
}
