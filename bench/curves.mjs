// Draws the training curves of several runs from the logs of `mbok finetune --log FILE`. A curve is the
// Kullback-Leibler divergence from the teacher, smoothed over neighboring steps.
//
//   node bench/curves.mjs OUT.svg "K = 1=k1.jsonl" "K = 2=k2.jsonl" … [--title TEXT]

import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const { lineChart, smooth } = require('../dist/plot/line_chart.js');
const { COLORS } = require('../dist/plot/style.js');

/** Radius of the smoothing in steps. */
const RADIUS = 5;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { title: { type: 'string', default: 'Finetuning' } },
});
const [target, ...runs] = positionals;
if (runs.length === 0 || runs.length > COLORS.length) {
  throw new Error(`usage: node bench/curves.mjs OUT.svg NAME=LOG.jsonl … (up to ${COLORS.length})`);
}

const series = [];
for (const run of runs) {
  const at = run.lastIndexOf('=');
  const lines = (await readFile(run.slice(at + 1), 'utf8')).trim().split('\n');
  const steps = lines.map((line) => JSON.parse(line)).filter(({ parts }) => parts?.kl !== undefined);
  const points = steps.map(({ step, parts }) => ({ x: step, y: parts.kl }));
  series.push({ name: run.slice(0, at), points: smooth(points, RADIUS) });
}
await writeFile(
  target,
  await lineChart({ title: values.title, xLabel: 'step', yLabel: 'KL from the original, nats a token', series }),
);
