/**
 * node bench/decode_rows.mjs [ISA …]
 *
 * Times multi-Boolean products of few rows in two ways: streaming the bits, and rebuilding the weights. It prints the
 * ratio by instruction set, precision, kernels and rows, which are the tables of native/operations/decode_rows.cc.
 * Without arguments it runs all instruction sets of the machine. With MBOK_DECODE_ROWS set it prints the seconds of one
 * way.
 */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { addon, hasIsa, median, multiBooleanLinear, randomMatrix, secondsPerOperation } from './measure.mjs';
import { emitter, tiledOperands } from './products.mjs';

const ISAS = ['amx', 'avx512', 'avxvnni', 'avx2', 'scalar'];
const PRECISIONS = ['f32', 'bf16', 'int8'];
const KERNELS = [1, 2, 3, 4, 6, 8];
const ROWS = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32];
const [OUTPUTS, INPUTS] = [2048, 4096];
/** Bytes of different weights in a run, more than most caches hold. */
const BYTES = 48e6;
const PAIRS = 3;

async function secondsOfAll() {
  const seconds = [];
  for (const kernels of KERNELS) {
    const copies = Math.ceil(BYTES / ((kernels * OUTPUTS * INPUTS) / 8));
    const operands = await tiledOperands(kernels, OUTPUTS, INPUTS, copies);
    for (const precision of PRECISIONS) {
      for (const rows of ROWS) {
        const x = randomMatrix(rows, INPUTS, rows);
        const emit = emitter(precision, (graph, i) => {
          multiBooleanLinear(graph.bind(x), ...operands[i].map((matrix) => graph.bind(matrix)));
        });
        seconds.push(await secondsPerOperation(emit, { rows, copies }));
        x.dispose();
      }
    }
    for (const matrix of new Set(operands.flat())) matrix.dispose();
  }
  return seconds;
}

function measure(isa, most) {
  const text = execFileSync(process.execPath, [fileURLToPath(import.meta.url)], {
    encoding: 'utf8',
    env: { ...process.env, MBOK_ISA: isa, MBOK_DECODE_ROWS: String(most) },
  });
  return JSON.parse(text);
}

if (process.env.MBOK_DECODE_ROWS !== undefined) {
  console.log(JSON.stringify(await secondsOfAll()));
} else {
  const { cpu, threads } = addon().info();
  console.log(`${cpu}, ${threads} threads; ${OUTPUTS} × ${INPUTS}; streamed / rebuilt, medians of ${PAIRS} pairs`);
  const wanted = process.argv.slice(2);
  for (const isa of (wanted.length > 0 ? wanted : ISAS).filter(hasIsa)) {
    const pairs = Array.from({ length: PAIRS }, () => [measure(isa, ROWS.at(-1)), measure(isa, 0)]);
    for (const [p, precision] of PRECISIONS.entries()) {
      console.log(`\n${isa}, ${precision}: rows ${ROWS.join(' ')}`);
      for (const [k, kernels] of KERNELS.entries()) {
        const ratios = ROWS.map((_, r) => {
          const at = (k * PRECISIONS.length + p) * ROWS.length + r;
          return median(pairs.map(([streamed, rebuilt]) => streamed[at] / rebuilt[at]));
        });
        const most = ROWS[ratios.findLastIndex((ratio) => ratio <= 1)] ?? 0;
        console.log(`K = ${kernels}: ${ratios.map((ratio) => ratio.toFixed(2)).join(' ')}  up to ${most}`);
      }
    }
  }
}
