/**
 * npm run bench [-- --json] [--svg FILE]
 *
 * Measures the machine's limits, then mbok's products as fractions of them. Prints a table or JSON, and draws a chart.
 * Everything is verified against float64 before it is timed. Figures are medians of nine runs, limits the best of
 * fifteen.
 */

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

import { timeDecode } from './decode.mjs';
import { measureLimits } from './limits.mjs';
import { addon } from './measure.mjs';
import { timeProducts, verifyProducts } from './products.mjs';
import { measureScaling, scalingLine } from './scaling.mjs';
import { timeSteps } from './step.mjs';

const { barChart } = createRequire(import.meta.url)('../dist/plot/bar_chart.js');
const { json, svg } = parseArgs({ options: { json: { type: 'boolean' }, svg: { type: 'string' } } }).values;
const giga = (value) => (value / 1e9).toFixed(1).padStart(8);
const say = (line) => json || console.log(line);

const limits = measureLimits();
const { isa, threads, kernels } = addon().info();
say(`${limits.cpu}, ${isa}, ${threads} threads, Node ${process.version}`);
say(`reads from memory      ${giga(limits.read_bytes_per_second)} GB/s`);
say(`f32 fused multiply-add ${giga(limits.f32_flops_per_second)} GFLOP/s`);
say(`bf16 dot product       ${giga(limits.bf16_flops_per_second)} GFLOP/s`);
say(`int8 dot product       ${giga(limits.int8_flops_per_second)} GFLOP/s`);
say(`xor and popcount       ${giga(limits.popcount_bits_per_second)} Gbit/s\n`);

await verifyProducts();
const products = [];
for (const rows of [timeProducts(limits), timeDecode()])
  for await (const row of rows) {
    products.push(row);
    const { what, shape, seconds, rate, unit, fraction, speedup } = row;
    const time = `${(seconds * 1e3).toFixed(3).padStart(9)} ms`;
    const share = `${(100 * fraction).toFixed(0).padStart(4)} %`;
    const ratio = speedup === undefined ? '' : `${speedup.toFixed(2).padStart(7)} × f16`;
    say(`${what.padEnd(32)} ${shape.padEnd(18)} ${time} ${giga(rate)} G${unit.padEnd(11)} ${share}${ratio}`);
  }

say('');
const scaling = threads > 1 ? measureScaling([1, threads]) : [];
for (const row of scaling.filter((row) => row.threads > 1)) say(scalingLine(row));

const steps = {};
for (const precision of limits.bf16_flops_per_second > 0 ? ['f32', 'bf16'] : ['f32']) {
  steps[precision] = await timeSteps({ precision });
  const { tokensPerSecond, loopDelayP99 } = steps[precision];
  say(`\nfinetuning tiny-stories with its teacher, K=2, ${precision}: ${tokensPerSecond.toFixed(0)} tokens/s;`);
  say(`event loop delay p99 ${loopDelayP99.toFixed(1)} ms`);
}
if (json) console.log(JSON.stringify({ limits, isa, threads, kernels, products, scaling, steps }));
if (svg !== undefined) {
  const shapes = [...new Set(products.map(({ shape }) => shape))];
  const percent = (fraction) => Math.round(1000 * fraction) / 10;
  writeFileSync(
    svg,
    await barChart({
      title: `Products on ${limits.cpu}, ${isa}, ${threads} threads`,
      xLabel: 'per cent of the limit that binds: arithmetic, or reading memory',
      groups: shapes.map((name) => ({
        name,
        bars: products
          .filter(({ shape }) => shape === name)
          .map(({ what, fraction, speedup }) => ({
            name: what,
            value: percent(fraction),
            note: `${percent(fraction)} %${speedup === undefined ? '' : `, ${speedup.toFixed(1)} × f16`}`,
          })),
      })),
    }),
  );
}
