/**
 * npm run bench:peers [-- SECTION …] [--threads 2] [--rounds 3] [--folder TMP/mbok-peers] …
 *
 * Compares mbok with its peers on the same shapes and number of threads, in turns within one run. It prints medians
 * over rounds and writes figures (JSON) and charts to results/. The error of a peer appears in its row and does not
 * affect others.
 *
 *   llama  prefill and decode of a random LLaMA with 1.88 B parameters, against node-llama-cpp: --types --kernels --prompt
 *          --tokens --hidden --ffn --layers --heads --kv-heads --vocab. Takes 16 GB of disk and of memory by default.
 *   onnx   one row through layers of a LLaMA with 13 B parameters, against MatMulNBits of onnxruntime-node: --layer-shapes
 *   torch  a finetuning step of SmolLM2-135M, against PyTorch with latent weights: --python --step-shapes BATCHxWINDOW,…
 *
 * Models are random and stay in --folder for the next run. Missing packages of this folder are installed.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readOptions } from './options.mjs';

const SECTIONS = ['llama', 'onnx', 'torch'];
const { sections, options } = readOptions();
const unknown = sections.find((name) => !SECTIONS.includes(name));
if (unknown !== undefined) throw new Error(`no section '${unknown}'; there are ${SECTIONS.join(', ')}`);

if (!existsSync(join(import.meta.dirname, 'node_modules'))) {
  // packages contain the prebuilt binaries; their scripts would look for others elsewhere
  const install = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', install, { cwd: import.meta.dirname, stdio: 'inherit' });
  if (status !== 0) console.log(`npm ci failed in ${import.meta.dirname}: peers from npm will be missing`);
}
process.env.NODE_LLAMA_CPP_SKIP_DOWNLOAD = 'true';
// set before mbok is loaded, here and in the contenders' processes
for (const name of ['MBOK_THREADS', 'OMP_NUM_THREADS']) process.env[name] = String(options.threads);

const { addon } = await import('../measure.mjs');
const { measureLimits } = await import('../limits.mjs');
const { report } = await import('./report.mjs');

const limits = measureLimits();
const { isa, threads } = addon().info();
const conditions = { cpu: limits.cpu, isa, threads, node: process.version, versions: versions(), limits, options };
console.log(`${limits.cpu}, ${isa}, ${threads} threads, Node ${process.version}, medians of ${options.rounds} rounds`);
console.log(
  Object.entries(conditions.versions)
    .map((entry) => entry.join(' '))
    .join(', '),
);
console.log(
  `reads from memory ${(limits.read_bytes_per_second / 1e9).toFixed(1)} GB/s; f32 ${gflops('f32')}, bf16 ${gflops('bf16')}`,
);

const say = (line) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${line}`);
for (const name of sections.length > 0 ? sections : SECTIONS) {
  const { [`${name}Section`]: run } = await import(`./${name}/section.mjs`);
  const section = await run(options, { limits, say });
  say('');
  await report(name, section, conditions);
}

function gflops(type) {
  return `${(limits[`${type}_flops_per_second`] / 1e9).toFixed(0)} GFLOP/s`;
}

/** Returns the versions of the packages installed here. */
function versions() {
  const read = (...path) => JSON.parse(readFileSync(join(import.meta.dirname, ...path, 'package.json'), 'utf8'));
  const installed = (name) => existsSync(join(import.meta.dirname, 'node_modules', name));
  const names = Object.keys(read().dependencies).filter(installed);
  return Object.fromEntries(names.map((name) => [name, read('node_modules', name).version]));
}
