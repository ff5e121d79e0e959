/**
 * npm run bench:scaling [-- --threads 1,2,4,…] [--json]
 *
 * Measures the same work on increasing numbers of threads, each in processes that take turns. Efficiency is the rate
 * relative to as many times that of one thread. Beside it stands the machine's limit: its clock falls with every busy
 * core, and all cores share the memory.
 */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureLimits } from './limits.mjs';
import { addon, linear, median, multiBooleanLinear, randomMatrix, secondsPerOperation } from './measure.mjs';
import { booleanOperands, emitter, tiledOperands } from './products.mjs';

const ROUNDS = 3;

/** @returns {Promise<number>} operations per second of dense products */
async function dense(precision, rows, m, n) {
  const [x, w] = [randomMatrix(rows, n, 1), randomMatrix(m, n, 2)];
  const emit = emitter(precision, (graph) => linear(graph.bind(x), graph.bind(w)));
  return (2 * rows * m * n) / (await secondsPerOperation(emit, { rows }));
}

/**
 * @returns {Promise<number>} operations per second with two rebuilt kernels, from tiles for a prompt, from rows in
 * training
 */
async function boolean(rows, m, n, tiles) {
  const x = randomMatrix(rows, n, 1);
  const { bits, sOut, sIn } = booleanOperands(2, m, n);
  const operands = tiles ? (await tiledOperands(2, m, n, 1))[0] : [bits, sOut, sIn];
  const emit = emitter('bf16', (graph) =>
    multiBooleanLinear(graph.bind(x), ...operands.map((matrix) => graph.bind(matrix))),
  );
  return (2 * rows * m * n) / (await secondsPerOperation(emit, { rows }));
}

/** @returns {Promise<number>} bytes of bits per second for one row of inputs; more bytes than caches hold */
async function decode(m, n) {
  const copies = 60;
  const x = randomMatrix(1, n, 1);
  const operands = await tiledOperands(1, m, n, copies);
  const emit = emitter('int8', (graph, i) =>
    multiBooleanLinear(graph.bind(x), ...operands[i].map((matrix) => graph.bind(matrix))),
  );
  return (m * n) / 8 / (await secondsPerOperation(emit, { rows: 1, copies }));
}

const WORK = {
  'f32 1536 × 1536 × 1536': { limit: 'f32_flops_per_second', rate: () => dense('f32', 1536, 1536, 1536) },
  'bf16 8192 × 1536 × 576': { limit: 'bf16_flops_per_second', rate: () => dense('bf16', 8192, 1536, 576) },
  'K = 2, bf16, 8192 × 1536 × 576': { limit: 'bf16_flops_per_second', rate: () => boolean(8192, 1536, 576, false) },
  'prompt, K = 2, 512 × 11008 × 4096': { limit: 'bf16_flops_per_second', rate: () => boolean(512, 11008, 4096, true) },
  'decoding, K = 1, 13824 × 5120': { limit: 'read_bytes_per_second', rate: () => decode(13824, 5120) },
};

/** @returns {Promise<object>} rates by work and the machine's limits, on this process's threads */
async function ratesHere() {
  const rates = {};
  for (const [name, { rate }] of Object.entries(WORK)) rates[name] = await rate();
  return { rates, limits: measureLimits() };
}

/**
 * @param {number[]} counts numbers of threads; the first is the reference of the others
 * @returns {{work: string, threads: number, rate: number, speedup: number, limit: number, limitSpeedup: number}[]}
 * medians
 */
export function measureScaling(counts) {
  const runs = counts.map(() => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, count] of counts.entries()) {
      const env = { ...process.env, MBOK_THREADS: String(count) };
      const output = execFileSync(process.execPath, [fileURLToPath(import.meta.url), '--here'], {
        encoding: 'utf8',
        env,
      });
      runs[i].push(JSON.parse(output));
    }
  return Object.entries(WORK).flatMap(([work, { limit }]) => {
    const rates = runs.map((results) => median(results.map(({ rates }) => rates[work])));
    const limits = runs.map((results) => median(results.map((result) => result.limits[limit])));
    return counts.map((threads, i) => ({
      work,
      threads,
      rate: rates[i],
      speedup: rates[i] / rates[0],
      limit: limits[i],
      limitSpeedup: limits[i] / limits[0],
    }));
  });
}

/** Formats a row of measureScaling(). */
export function scalingLine({ work, threads, rate, speedup, limit, limitSpeedup }) {
  const percent = (fraction) => `${(100 * fraction).toFixed(0).padStart(3)} %`;
  return [
    work.padEnd(34),
    `${String(threads).padStart(2)} threads`,
    `${(rate / 1e9).toFixed(1).padStart(8)} G/s`,
    `${speedup.toFixed(2).padStart(5)} × (${percent(speedup / threads)})`,
    `limit ${(limit / 1e9).toFixed(1).padStart(8)} G/s`,
    `${limitSpeedup.toFixed(2).padStart(5)} × (${percent(limitSpeedup / threads)})`,
  ].join('  ');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { threads: { type: 'string' }, json: { type: 'boolean' }, here: { type: 'boolean' } },
  });
  if (values.here) {
    console.log(JSON.stringify(await ratesHere()));
  } else {
    const all = addon().info().threads;
    const doubling = Array.from({ length: Math.ceil(Math.log2(all)) }, (_, i) => 2 ** i);
    const rows = measureScaling(values.threads?.split(',').map(Number) ?? [...doubling, all]);
    if (values.json) console.log(JSON.stringify(rows));
    else for (const row of rows) console.log(scalingLine(row));
  }
}
