/**
 * A network from the pieces: a pre-norm transformer that learns to write stories character by character. The matrices of
 * its blocks are Boolean from the start. Their bits flip by the Boolean optimizer; embedding, norms and scales are
 * trained by AdamW. It is saved, loaded again and asked for a text.
 *
 *     node examples/residual_network.mjs [steps] [file]
 */

import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AdamW,
  add,
  appendGradients,
  attention,
  BooleanOptimizer,
  crossEntropy,
  embedding,
  Graph,
  gatedActivation,
  linear,
  loadTensors,
  lossSeed,
  Matrix,
  multiBooleanLinear,
  Plan,
  rmsNorm,
  rope,
  rotaryTable,
  saveTensors,
  svid,
} from 'mbok';

const [, , steps = 300, file] = process.argv;
const [window, batch] = [64, 16];
const sizes = { layers: 3, width: 128, heads: 4, keyValueHeads: 2, inner: 384, kernels: 2 };
const headDimension = sizes.width / sizes.heads;

const text = await readFile(new URL('../assets/tiny-stories/corpus/train.txt', import.meta.url), 'utf8');
const characters = [...new Set(text)].sort();
const data = Int32Array.from(text, (character) => characters.indexOf(character));

/** Mulberry32: uniform numbers in [0, 1). */
let state = 1;
function uniform() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const normal = (deviation) => deviation * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
const random = (rows, cols, deviation) => Float32Array.from({ length: rows * cols }, () => normal(deviation));
const ones = (cols) => Matrix.from(new Float32Array(cols).fill(1), { rows: 1, cols });

/** [name, outputs, inputs] of the Boolean layers of a block. */
function booleanLayers(layer) {
  const { width, keyValueHeads, inner } = sizes;
  const shapes = {
    query: [width, width],
    key: [keyValueHeads * headDimension, width],
    value: [keyValueHeads * headDimension, width],
    output: [width, width],
    gate: [inner, width],
    up: [inner, width],
    down: [width, inner],
  };
  return Object.entries(shapes).map(([name, [rows, cols]]) => ({ name: `${layer}.${name}`, rows, cols }));
}

const everyBooleanLayer = Array.from({ length: sizes.layers }, (_, layer) => booleanLayers(layer)).flat();

/** Parameters by name: the kernels and scales of random weights, norms of ones, a random embedding. */
async function initialize() {
  const { layers, width, kernels } = sizes;
  const shape = { rows: characters.length, cols: width };
  const parameters = new Map([['embedding', Matrix.from(random(shape.rows, width, 0.05), shape)]]);
  for (let layer = 0; layer < layers; layer++) {
    parameters.set(`${layer}.attentionNorm`, ones(width));
    parameters.set(`${layer}.mlpNorm`, ones(width));
  }
  for (const { name, rows, cols } of everyBooleanLayer) {
    const parts = await svid(random(rows, cols, cols ** -0.5), { rows, cols, kernels });
    for (const part of ['kernels', 'sOut', 'sIn']) parameters.set(`${name}.${part}`, parts[part]);
  }
  return parameters.set('finalNorm', ones(width));
}

/** Logits of every position, [rows, characters]. */
function forward(parameters, table, ids) {
  const { graph } = ids;
  const parameter = (name) => graph.bind(parameters.get(name));
  const boolean = (name, x) =>
    multiBooleanLinear(x, ...['kernels', 'sOut', 'sIn'].map((part) => parameter(`${name}.${part}`)));
  const rotate = (x) => rope(x, graph.bind(table), { headDimension });
  let x = embedding(parameter('embedding'), ids);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const a = rmsNorm(x, parameter(`${layer}.attentionNorm`));
    const [q, k] = [rotate(boolean(`${layer}.query`, a)), rotate(boolean(`${layer}.key`, a))];
    const attended = attention(q, k, boolean(`${layer}.value`, a), { headDimension });
    x = add(x, boolean(`${layer}.output`, attended));
    const m = rmsNorm(x, parameter(`${layer}.mlpNorm`));
    const activated = gatedActivation(boolean(`${layer}.gate`, m), boolean(`${layer}.up`, m), 'silu');
    x = add(x, boolean(`${layer}.down`, activated));
  }
  // the head is the embedding
  return linear(rmsNorm(x, parameter('finalNorm')), parameter('embedding'));
}

/** Trains on random windows of the text and returns the losses. */
async function train(parameters, table) {
  const graph = new Graph();
  const column = { rows: 'tokens', cols: 1, type: 'i32' };
  const loss = crossEntropy(forward(parameters, table, graph.input('ids', column)), graph.input('targets', column));
  const isBits = ([name]) => name.endsWith('.kernels');
  const adamw = new AdamW(new Map([...parameters].filter((entry) => !isBits(entry))));
  const flippers = everyBooleanLayer.map(({ name, rows, cols }) => [name, new BooleanOptimizer({ rows, cols })]);
  const booleans = flippers.map(([name, optimizer]) => [
    graph.bind(parameters.get(`${name}.kernels`)),
    optimizer.target(graph),
  ]);
  appendGradients(loss, lossSeed(graph), { accumulators: adamw.accumulators(graph), booleans: new Map(booleans) });
  adamw.step(graph);
  graph.output('loss', loss);
  const rows = batch * window;
  const plan = new Plan(graph, { maxRows: rows });
  const losses = [];
  for (let step = 1; step <= steps; step++) {
    const inputs = { ids: new Int32Array(rows), targets: new Int32Array(rows) };
    for (let row = 0; row < rows; row += window) {
      const start = Math.floor(uniform() * (data.length - window - 1));
      inputs.ids.set(data.subarray(start, start + window), row);
      inputs.targets.set(data.subarray(start + 1, start + window + 1), row);
    }
    const cosine = 0.5 * (1 + Math.cos((Math.PI * (step - 1)) / steps));
    const rates = { learningRate: 3e-3 * cosine, flipRate: 0.1 * cosine };
    const scalars = { rows, sequenceLength: window, step, ...rates };
    losses.push((await plan.run({ inputs, scalars })).loss[0]);
    if (step === 1 || step % 50 === 0) console.log(`step ${step}: loss ${losses.at(-1).toFixed(3)}`);
  }
  plan.dispose();
  adamw.dispose();
  for (const [, optimizer] of flippers) optimizer.dispose();
  return losses;
}

/** A plan that computes the logits of up to `window` characters. */
function inference(parameters, table) {
  const graph = new Graph();
  const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
  graph.output('logits', forward(parameters, table, ids));
  const plan = new Plan(graph, { maxRows: window });
  return async (tokens) => {
    const scalars = { rows: tokens.length, sequenceLength: tokens.length };
    return (await plan.run({ inputs: { ids: Int32Array.from(tokens) }, scalars })).logits;
  };
}

/** Continues a text by characters drawn from the distribution at a temperature. */
async function write(logitsOf, prompt, length, temperature = 0.6) {
  const tokens = [...prompt].map((character) => characters.indexOf(character));
  for (let i = 0; i < length; i++) {
    const logits = (await logitsOf(tokens.slice(-window))).slice(-characters.length);
    const largest = Math.max(...logits);
    const weights = logits.map((logit) => Math.exp((logit - largest) / temperature));
    let left = uniform() * weights.reduce((sum, weight) => sum + weight);
    let token = 0;
    while (token < weights.length - 1 && left > weights[token]) left -= weights[token++];
    tokens.push(token);
  }
  return tokens.map((token) => characters[token]).join('');
}

const started = performance.now();
const table = rotaryTable({ dimension: headDimension, positions: window });
const parameters = await initialize();
const losses = await train(parameters, table);
const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
const few = Math.max(1, steps / 10);
console.log(
  `loss ${mean(losses.slice(0, few)).toFixed(3)} -> ${mean(losses.slice(-few)).toFixed(3)} nats per character`,
);

const folder = await mkdtemp(join(tmpdir(), 'residual-network-'));
const path = file ?? join(folder, 'network.safetensors');
await saveTensors(path, parameters, { metadata: { characters: characters.join('') } });
const loaded = await loadTensors(path);
const bits = everyBooleanLayer.reduce((sum, { rows, cols }) => sum + sizes.kernels * rows * cols, 0);
console.log(`${bits} bits and ${((await stat(path)).size / 1e3).toFixed(0)} kB of file, embedding and scales in f32`);
await rm(folder, { recursive: true });

const [before, after] = [inference(parameters, table), inference(loaded.tensors, table)];
const held = data.slice(0, window);
const [own, again] = [await before(held), await after(held)];
console.log(`logits after loading: ${own.every((logit, i) => logit === again[i]) ? 'equal' : 'different'}`);
console.log(await write(after, 'Once upon a time', 300));
console.log(`${((performance.now() - started) / 1000).toFixed(0)} s`);
