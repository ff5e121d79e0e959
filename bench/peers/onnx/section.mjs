/** One row of inputs through one layer, with weights from memory: ONNX Runtime's low-bit products beside mbok's. */

import { join } from 'node:path';
import { verifyProducts } from '../../products.mjs';
import { race } from '../contender.mjs';
import { pairs } from '../options.mjs';
import { digits, percent } from '../report.mjs';

/** Bytes of different weights in a run, more than any cache holds. */
const BYTES = 256e6;
/** MatMulNBits's accuracy levels: f32 throughout, or inputs in 8 bits. */
const [FLOAT, INT8] = [1, 4];

/** Peers. 2 bits with f32 inputs are missing: they unpack every weight first and are a hundred times slower. */
const PEERS = [
  { name: 'ONNX Runtime 4 bits, inputs in 8', bits: 4, accuracy: INT8 },
  { name: 'ONNX Runtime 4 bits, f32', bits: 4, accuracy: FLOAT },
  { name: 'ONNX Runtime 2 bits, inputs in 8', bits: 2, accuracy: INT8 },
  { name: 'ONNX Runtime 2 bits, look-up tables', bits: 2, accuracy: INT8, lookup: true },
].map((peer) => ({
  ...peer,
  family: 'ONNX Runtime',
  label: peer.name.replace('ONNX Runtime ', ''),
  program: 'runtime.mjs',
}));

const OWN = [1, 2].flatMap((kernels) =>
  [
    ['bf16', 10],
    ['f32', 30],
  ].map(([precision, width]) => {
    const label = `K=${kernels}, inputs in ${width}`;
    return { name: `mbok ${label}`, label, bits: kernels, family: 'mbok', program: 'mbok.mjs', kernels, precision };
  }),
);

export async function onnxSection({ 'layer-shapes': shapes, threads, rounds }, { limits, say }) {
  await verifyProducts();
  const results = [];
  for (const [outputs, inputs] of pairs(shapes)) {
    const entries = [...PEERS, ...OWN].map(({ program, ...entry }) => ({
      ...entry,
      args: [join(import.meta.dirname, program)],
      settings: { ...entry, outputs, inputs, threads, bytes: BYTES },
    }));
    const raced = await race(entries, { rounds, say });
    results.push(...raced.map(({ settings: _, ...result }) => ({ ...result, shape: `${outputs}x${inputs}` })));
  }
  const good = results.filter(({ error }) => error === undefined);
  return {
    title: 'One row through a layer (outputs x inputs), weights from memory',
    columns: ['bits a weight', 'µs', 'weights GB/s', 'of read limit'],
    rows: results.map((result) => row(result, limits)),
    notes: [...new Set(good.flatMap(refusals)), ...ratios(good)],
    charts: Object.fromEntries(shapesOf(good).map((shape) => [`onnx-${shape}`, chart(shape, at(shape, good))])),
    results,
  };
}

const shapesOf = (results) => [...new Set(results.map(({ shape }) => shape))];
const at = (shape, results) => results.filter((result) => result.shape === shape);

function weightsOf(shape) {
  const [[outputs, inputs]] = pairs(shape);
  return outputs * inputs;
}

function row({ name, shape, error, info, figures }, limits) {
  const title = `${shape} ${name}`;
  if (error !== undefined) return { name: title, error };
  const rate = info.weightBytes / figures.seconds;
  const bits = (8 * info.weightBytes) / weightsOf(shape);
  const cells = [
    digits(bits, 3),
    digits(1e6 * figures.seconds),
    digits(rate / 1e9),
    percent(rate / limits.read_bytes_per_second),
  ];
  return { name: title, cells };
}

function refusals({ name, info }) {
  return (info.refused ?? []).map((message) => `${name} runs with blocks of ${info.block}: it refuses ${message}`);
}

/** Compares mbok at 2 bits or less with the fastest peer of any width. */
function ratios(good) {
  return shapesOf(good).flatMap((shape) => {
    const here = at(shape, good);
    const best = (list) => list.toSorted((a, b) => a.figures.seconds - b.figures.seconds)[0];
    const peer = best(here.filter(({ family }) => family !== 'mbok'));
    const own = here.filter(({ kernels }) => kernels !== undefined);
    const ratio = ({ label, figures }) => `${label}: ${(peer.figures.seconds / figures.seconds).toFixed(2)}`;
    return peer && own.length > 0 ? [`${shape}, times as fast as ${peer.name}: ${own.map(ratio).join('; ')}`] : [];
  });
}

function chart(shape, results) {
  const series = ['ONNX Runtime', 'mbok'].map((name) => {
    const points = results.filter(({ family }) => family === name);
    return {
      name,
      points: points.map(({ label, info, figures }) => ({
        label,
        x: info.weightBytes / 1e6,
        y: 1e6 * figures.seconds,
      })),
    };
  });
  return {
    title: `One row through a layer of ${shape}`,
    xLabel: 'bytes of the weights, MB',
    yLabel: 'microseconds',
    series,
  };
}
