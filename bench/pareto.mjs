/**
 * node bench/pareto.mjs [POINTS.json [OUT.svg]]
 *
 * Compares perplexity against file size for several compression methods. It prints a table, with the nearest point of
 * the second family for every point of the first, and draws both.
 *
 * POINTS.json: { title, parameters, families: [{ name, points: [{ label, bytes, ratio }] }] }. `bytes` counts all
 * weights, embeddings included: a GGUF file without its metadata, which contain the tokenizer, or model.safetensors.
 * `ratio` is perplexity / perplexity of the original. Default: pareto.json beside this script.
 */

import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { front, scatterChart } = require('../dist/plot/scatter_chart.js');

const [source = join(import.meta.dirname, 'pareto.json'), target] = process.argv.slice(2);
const { title, parameters, families } = JSON.parse(await readFile(source, 'utf8'));
const bitsPerWeight = (bytes) => (bytes * 8) / parameters;

const series = families.map(({ name, points }) => ({
  name,
  points: points.map(({ label, bytes, ratio }) => ({ label, x: bytes / 1e6, y: ratio, bytes })),
}));

for (const { name, points } of series) {
  const best = front(points);
  for (const point of points.toSorted((a, b) => b.bytes - a.bytes)) {
    const { label, bytes, y } = point;
    const mark = best.includes(point) ? 'on its front' : '';
    const bits = bitsPerWeight(bytes).toFixed(2);
    console.log(`${name.padEnd(24)} ${label.padEnd(20)} ${bytes} bytes  ${bits} bits a weight  ratio ${y}  ${mark}`);
  }
}

const [peers, own] = series;
for (const peer of own?.points.length > 0 ? peers.points : []) {
  const distance = (point) => Math.abs(point.bytes - peer.bytes);
  const nearest = own.points.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  const beaten = own.points.some((point) => point.bytes <= peer.bytes && point.y <= peer.y);
  console.log(
    `${peer.label.padEnd(10)} ratio ${peer.y}; nearest in size: ${nearest.label} ratio ${nearest.y}, ` +
      `bytes ${((nearest.bytes / peer.bytes - 1) * 100).toFixed(1)} %${beaten ? '; beaten in both' : ''}`,
  );
}

if (target !== undefined) {
  const chart = {
    title,
    xLabel: 'bytes of all weights, embeddings included, MB',
    yLabel: 'perplexity / that of the original',
    series: series.filter(({ points }) => points.length > 0),
  };
  await writeFile(target, await scatterChart(chart));
}
