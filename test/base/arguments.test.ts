/** Public functions with arbitrary arguments: they return, or throw an MbokError. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as mbok from '../../lib/index';
import { copyTinyStories, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { lines } from '../helpers/task_records';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

const ids = Array.from({ length: 200 }, (_, i) => (i * i * 7 + i) % 160);
const messages = [
  { role: 'user', content: 'Hello' },
  { role: 'assistant', content: 'Hi' },
] as const;
const template = "{% for message in messages %}{{ message['content'] }}{% endfor %}";

let dense: mbok.Model;
let small: mbok.Model;
let withText: mbok.Model;
let disposed: mbok.Model;

beforeAll(async () => {
  dense = await mbok.Model.load(join(GOLDEN, 'llama'));
  small = await mbok.binarize(dense, { kernels: 2 });
  disposed = await mbok.Model.load(join(GOLDEN, 'llama'));
  disposed.dispose();
  mkdirSync(at('chat'));
  withText = await mbok.Model.load(copyTinyStories(at('chat'), { tokenizer: { chat_template: template } }));
  mkdirSync(at('tasks/boolq'), { recursive: true });
  const record = { question: 'is it so', title: 'It', answer: true, passage: 'It is so.' };
  writeFileSync(at('tasks/boolq/dev.jsonl'), lines(record));
  Object.assign(process.env, { HF_HUB_OFFLINE: '1', HF_HUB_CACHE: at('hub') });
});
afterAll(() => {
  for (const model of [dense, small, withText]) model.dispose();
});

type Call = (...args: never[]) => unknown;
/** A function and valid arguments. */
type Case = readonly [call: Call, ...args: unknown[]];

/** Creates a graph with one tensor of each kind. */
function tensors() {
  const graph = new mbok.Graph();
  const x = graph.input('x', { rows: 'tokens', cols: 64 });
  const w = graph.bind(new mbok.Matrix({ rows: 64, cols: 64 }));
  const bits = graph.bind(new mbok.BitMatrix({ rows: 64, cols: 64 }));
  const scales = graph.bind(new mbok.Matrix({ rows: 1, cols: 64 }));
  const targets = graph.input('targets', { rows: 'tokens', cols: 1, type: 'i32' });
  const loss = mbok.crossEntropy(mbok.linear(x, w), targets);
  return { graph, x, w, bits, scales, targets, loss };
}

function plan() {
  const graph = new mbok.Graph();
  const w = graph.bind(new mbok.Matrix({ rows: 64, cols: 64 }));
  graph.output('y', mbok.linear(graph.input('x', { rows: 'tokens', cols: 64 }), w));
  return new mbok.Plan(graph, { maxRows: 2 });
}

const create =
  <T>(Class: new (...args: never[]) => T) =>
  (...args: never[]) =>
    new Class(...args);
const matrix = () => new mbok.Matrix({ rows: 2, cols: 4 });
const bits = () => new mbok.BitMatrix({ rows: 2, cols: 64 });
const signal = () => new AbortController().signal;
const onProgress = () => {};
const weight = () => new Float32Array(64).fill(1);
const calibration = { data: ids, windows: 2, length: 16 };

const cases: Record<string, () => Case> = {
  Matrix: () => [create(mbok.Matrix), { rows: 2, cols: 4, type: 'f32' }],
  'Matrix.from': () => [mbok.Matrix.from, new Float32Array(8), { rows: 2, cols: 4 }],
  'Matrix.write': () => [(...args: [never]) => matrix().write(...args), new Float32Array(8)],
  'Matrix.writeAt': () => [(...args: [never, never]) => matrix().writeAt(...args), 0, new Float32Array(8)],
  'Matrix.readAt': () => [(...args: [never, never]) => matrix().readAt(...args), 0, new Float32Array(8)],
  BitMatrix: () => [create(mbok.BitMatrix), { rows: 2, cols: 64 }],
  'BitMatrix.fromSigns': () => [mbok.BitMatrix.fromSigns, new Float32Array(8), { rows: 2, cols: 4 }],
  'BitMatrix.fromPacked': () => [mbok.BitMatrix.fromPacked, new Uint8Array(2), { rows: 2, cols: 4 }],
  Graph: () => [create(mbok.Graph), { precision: 'f32', activations: 8 }],
  'Graph.input': () => [
    (...args: [never, never]) => new mbok.Graph().input(...args),
    'x',
    { rows: 'tokens', cols: 4, type: 'f32' },
  ],
  'Graph.output': () => {
    const { graph, x } = tensors();
    return [(...args: [never, never]) => graph.output(...args), 'y', x];
  },
  'Graph.bind': () => [(...args: [never, never]) => new mbok.Graph().bind(...args), matrix(), 'weights'],
  Plan: () => {
    const { graph } = tensors();
    return [create(mbok.Plan), graph, { maxRows: 2 }];
  },
  'Plan.run': () => {
    const inputs = { x: new Float32Array(128) };
    const options = {
      inputs,
      scalars: { rows: 2, position: 0 },
      outputs: ['y'],
      into: { y: new Float32Array(128) },
      signal: signal(),
    };
    const own = plan();
    return [(...args: [never]) => own.run(...args), options];
  },
  activation: () => [mbok.activation, tensors().x, 'silu'],
  gatedActivation: () => {
    const { x } = tensors();
    return [mbok.gatedActivation, x, x, 'silu'];
  },
  add: () => {
    const { x } = tensors();
    return [mbok.add, x, x];
  },
  softcap: () => [mbok.softcap, tensors().x, 30],
  embedding: () => {
    const { w, targets } = tensors();
    return [mbok.embedding, w, targets];
  },
  'embedding of an 8-bit table': () => {
    const { graph, targets } = tensors();
    const table = graph.bind(new mbok.Matrix({ rows: 64, cols: 64, type: 'i8' }));
    return [mbok.embedding, table, targets, graph.bind(new mbok.Matrix({ rows: 64, cols: 1 }))];
  },
  rmsNorm: () => {
    const { x, scales } = tensors();
    return [mbok.rmsNorm, x, scales, { epsilon: 1e-6, offset: 1 }];
  },
  layerNorm: () => {
    const { x, scales } = tensors();
    return [mbok.layerNorm, x, scales, scales, { epsilon: 1e-6 }];
  },
  rope: () => {
    const { x, w, targets } = tensors();
    return [mbok.rope, x, w, { headDimension: 64, positions: targets }];
  },
  rotaryTable: () => {
    const llama3 = { factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8 };
    return [mbok.rotaryTable, { theta: 1e4, dimension: 4, positions: 4, llama3, magnitude: 1 }];
  },
  'rotaryTable with stretched angles': () => [mbok.rotaryTable, { dimension: 4, positions: 4, stretch: [1, 2] }],
  attention: () => {
    const { x } = tensors();
    return [mbok.attention, x, x, x, { headDimension: 16, scale: 0.5, window: 4, softcap: 50 }];
  },
  booleanActivation: () => [mbok.booleanActivation, tensors().x, { fanIn: 64, threshold: 1 }],
  booleanLinear: () => {
    const { graph, bits } = tensors();
    const x = graph.bind(new mbok.BitMatrix({ rows: 2, cols: 64 }));
    return [mbok.booleanLinear, x, bits, undefined, { gradientFactor: 2 }];
  },
  linear: () => {
    const { x, w, scales } = tensors();
    return [mbok.linear, x, w, scales];
  },
  crossEntropy: () => {
    const { x, targets } = tensors();
    return [mbok.crossEntropy, x, targets];
  },
  hiddenLoss: () => {
    const { x } = tensors();
    return [mbok.hiddenLoss, x, x, 'plain'];
  },
  klDivergence: () => {
    const { x } = tensors();
    return [mbok.klDivergence, x, x];
  },
  multiBooleanLinear: () => {
    const { x, bits, scales } = tensors();
    return [mbok.multiBooleanLinear, x, bits, scales, scales];
  },
  lossSeed: () => [mbok.lossSeed, tensors().graph],
  scale: () => [mbok.scale, tensors().x, 2],
  appendGradients: () => {
    const { graph, loss, x, w } = tensors();
    const accumulators = new Map([[w, graph.bind(new mbok.Matrix({ rows: 64, cols: 64 }))]]);
    const targets = { accumulators, booleans: new Map(), wanted: [x], recomputed: [] };
    return [mbok.appendGradients, loss, mbok.lossSeed(graph), targets];
  },
  AdamW: () => [create(mbok.AdamW), new Map([['w', matrix()]]), { beta1: 0.9, clip: 1 }],
  'AdamW.accumulators': () => [
    (...args: [never]) => new mbok.AdamW(new Map([['w', matrix()]])).accumulators(...args),
    new mbok.Graph(),
  ],
  'AdamW.step': () => [
    (...args: [never]) => new mbok.AdamW(new Map([['w', matrix()]])).step(...args),
    new mbok.Graph(),
  ],
  BooleanOptimizer: () => [create(mbok.BooleanOptimizer), { rows: 2, cols: 64, rule: 'neighbors', decay: 0 }],
  'BooleanOptimizer.target': () => [
    (...args: [never]) => new mbok.BooleanOptimizer({ rows: 2, cols: 64 }).target(...args),
    new mbok.Graph(),
  ],
  'BooleanOptimizer.update': () => {
    const { w, bits } = tensors();
    const optimizer = new mbok.BooleanOptimizer({ rows: 64, cols: 64 });
    return [(...args: [never, never]) => optimizer.update(...args), w, { kernels: bits, count: 1 }];
  },
  LatentWeights: () => [create(mbok.LatentWeights), bits(), 1],
  'LatentWeights.target': () => [
    (...args: [never]) => new mbok.LatentWeights(bits(), 1).target(...args),
    new mbok.Graph(),
  ],
  'LatentWeights.step': () => [(...args: [never]) => new mbok.LatentWeights(bits(), 1).step(...args), new mbok.Graph()],
  svid: () => [mbok.svid, weight(), { rows: 8, cols: 8, kernels: 1, iterations: 3, signal: signal() }],
  refit: () => [mbok.refit, weight(), { rows: 8, cols: 8, kernels: 1, iterations: 3, rounds: 1, signal: signal() }],
  'Model.load': () => [
    (...args: [never]) => mbok.Model.load(...args),
    join(GOLDEN, 'llama'),
    { signal: signal(), onProgress },
  ],
  'Model.save': () => [(...args: [never]) => small.save(...args), at('saved'), { signal: signal(), onProgress }],
  'Model.logits': () => [
    (...args: [never]) => small.logits(...args),
    [1, 2],
    { precision: 'f32', activations: 8, signal: signal(), onProgress },
  ],
  'Model.generate': () => [
    async (...args: [never]) => await small.generate(...args).next(),
    [1, 2],
    { maxTokens: 1, temperature: 1, topP: 1, seed: 1, signal: signal() },
  ],
  'Model.generateBatch': () => [
    (...args: [never]) => small.generateBatch(...args),
    [[1, 2], [3]],
    { maxTokens: 1, signal: signal() },
  ],
  'Model.chat': () => [
    async (...args: [never]) => await withText.chat(...args).next(),
    messages,
    { maxTokens: 1, presencePenalty: 1, frequencyPenalty: 1, logitBias: { 1: 2 }, logprobs: 2, onToken: onProgress },
  ],
  createServer: () => [
    async (...args: [never]) => await (await mbok.createServer(...args)).close(),
    { models: { chat: at('chat') }, parallel: 2, precision: 'f32', apiKeys: ['key'], logTexts: false },
  ],
  encodeChat: () => [mbok.encodeChat, withText.tokenizer, withText.chatTemplate, messages],
  fitMessages: () => [mbok.fitMessages, withText, messages, { maxTokens: 5 }],
  binarize: () => [
    mbok.binarize,
    dense,
    { kernels: 1, method: 'calibrated', calibration, signal: signal(), onProgress },
  ],
  'binarize to a size': () => [mbok.binarize, dense, { bits: 2.5, allocation: 'uniform', keep: { '*up_proj': 2 } }],
  binarizeFolder: () => [
    mbok.binarizeFolder,
    join(GOLDEN, 'llama'),
    at('folder'),
    { kernels: 1, restart: true, nested: false, signal: signal(), onProgress },
  ],
  quantizeFolder: () => [
    mbok.quantizeFolder,
    join(GOLDEN, 'llama'),
    at('quantized'),
    { method: 'rtn', bits: 3, group: 32, restart: true, signal: signal(), onProgress },
  ],
  planConversion: () => [mbok.planConversion, join(GOLDEN, 'llama'), { kernels: 1, method: 'calibrated', calibration }],
  finetune: () => [
    mbok.finetune,
    small,
    {
      data: ids,
      teacher: dense,
      steps: 1,
      window: 16,
      batch: 1,
      train: ['scales'],
      evaluation: { data: ids, every: 1, window: 16, windows: 1 },
      signal: signal(),
      onProgress,
    },
  ],
  evaluatePerplexity: () => [
    mbok.evaluatePerplexity,
    small,
    ids,
    { window: 16, maxWindows: 1, signal: signal(), onProgress },
  ],
  evaluateTasks: () => [mbok.evaluateTasks, withText, { data: at('tasks'), tasks: ['boolq'], signal: signal() }],
  measureSpeed: () => [mbok.measureSpeed, small, { prompt: 4, tokens: 2, repeats: 1, signal: signal() }],
  loadDataset: () => [
    mbok.loadDataset,
    { files: join(TINY_STORIES, 'corpus/valid.txt'), cache: false, field: 'text', signal: signal(), onProgress },
    withText,
  ],
  PromptCache: () => [create(mbok.PromptCache)],
  exportDense: () => [mbok.exportDense, small, at('dense'), { type: 'f16', signal: signal(), onProgress }],
  saveTensors: () => [
    mbok.saveTensors,
    at('tensors.safetensors'),
    new Map<string, mbok.Matrix>([
      ['bits', bits()],
      ['numbers', matrix()],
    ]),
    { metadata: { a: 'b' }, signal: signal(), onProgress },
  ],
  loadTensors: () => [mbok.loadTensors, join(GOLDEN, 'llama/model.safetensors'), { signal: signal(), onProgress }],
  inspect: () => [mbok.inspect, join(GOLDEN, 'llama')],
  kernelCorrelations: () => [mbok.kernelCorrelations, at('saved'), join(GOLDEN, 'llama'), { signal: signal() }],
  // the cache is empty, and the network is not used
  pullModel: () => [mbok.pullModel, 'hf:me/model', { signal: signal(), onProgress }],
  listCachedModels: () => [mbok.listCachedModels],
  removeCachedModel: () => [mbok.removeCachedModel, 'hf:me/model'],
  'Model.arrangeFor': () => [(...args: [never]) => small.arrangeFor(...args), 'inference', { signal: signal() }],
};

class Foreign {
  readonly rows = 1;
}

/** Hostile replacements of arguments. */
const hostile: Record<string, () => unknown> = {
  undefined: () => undefined,
  null: () => null,
  NaN: () => Number.NaN,
  '-1': () => -1,
  'a string': () => at('x'),
  true: () => true,
  'a symbol': () => Symbol('s'),
  'a bigint': () => 5n,
  'an object': () => ({}),
  'an array': () => [],
  'an array of null': () => [null],
  'a function': () => () => {},
  'a date': () => new Date(0),
  'a bare object': () => Object.create(null),
  'a foreign object': () => new Foreign(),
  'a proxy': () => new Proxy({}, {}),
  'a matrix': () => matrix(),
  'a disposed matrix': () => {
    const gone = matrix();
    gone.dispose();
    return gone;
  },
  'a proxy of a matrix': () => new Proxy(matrix(), {}),
  'an object that inherits from a matrix': () => Object.create(matrix()),
  'a tensor of another graph': () => tensors().x,
  'a graph': () => new mbok.Graph(),
  'a disposed model': () => disposed,
};

/** Lists the paths in the arguments that are replaced: each argument, and each property of plain objects. */
function places(value: unknown, depth = 0): (string | number)[][] {
  if (Array.isArray(value) && depth === 0) {
    return value.flatMap((item, i) => [[i], ...places(item, 1).map((path) => [i, ...path])]);
  }
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return [];
  return Object.entries(value).flatMap(([key, item]) => [
    [key],
    ...places(item, depth + 1).map((path) => [key, ...path]),
  ]);
}

function changed(value: unknown, path: readonly (string | number)[], instead: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return instead;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string | number, unknown>;
  copy[key] = changed(copy[key], rest, instead);
  return copy;
}

async function outcome(call: Call, args: readonly unknown[]): Promise<string | undefined> {
  try {
    const result = (await call(...(args as never[]))) as Partial<mbok.Model & mbok.Dataset> | undefined;
    if (typeof result?.close === 'function') await result.close();
    else if (typeof result?.dispose === 'function') result.dispose();
    return undefined;
  } catch (error) {
    if (error instanceof mbok.MbokError && error.code !== 'MBOK_INTERNAL') return undefined;
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

test('every exported function and class is called', () => {
  const called = new Set(Object.keys(cases).map((name) => name.split(/[. ]/)[0]));
  const exported = Object.entries(mbok)
    .filter(([, value]) => typeof value === 'function')
    .map(([name]) => name);
  expect(exported.filter((name) => !called.has(name))).toEqual(['MbokError']);
});

test.each(Object.keys(cases))('%s throws nothing but MbokErrors', async (name) => {
  const make = cases[name] as () => Case;
  const faults: string[] = [];
  const [, ...valid] = make();
  for (const path of places(valid)) {
    for (const [what, value] of Object.entries(hostile)) {
      // an undefined option takes its default, which may take long
      if (what === 'undefined' && path.length > 1) continue;
      const [call, ...args] = make();
      const fault = await outcome(call, changed(args, path, value()) as unknown[]);
      if (fault !== undefined) faults.push(`${path.join('.')} = ${what}: ${fault}`);
    }
  }
  expect(faults).toEqual([]);
});

test.each<[string, (model: mbok.Model) => Promise<unknown>]>([
  ['binarize', (model) => mbok.binarize(model, { kernels: 1 })],
  ['finetune', (model) => mbok.finetune(model, { data: ids })],
  ['evaluatePerplexity', (model) => mbok.evaluatePerplexity(model, ids)],
  ['measureSpeed', (model) => mbok.measureSpeed(model)],
  ['exportDense', (model) => mbok.exportDense(model, at('fake'))],
])('%s refuses what only looks like a model', async (_, call) => {
  for (const fake of [Object.create(dense), Object.create(mbok.Model.prototype), new Proxy(dense, {})]) {
    await expect(call(fake)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  }
});

test('a model is loaded, not constructed', () => {
  const Class = mbok.Model as unknown as new (core?: unknown) => unknown;
  for (const core of [undefined, {}, dense]) expect(() => new Class(core)).toThrow(/Model\.load/);
});

describe('a run of a plan', () => {
  const x = new Float32Array(64);
  test.each<[string, object, RegExp]>([
    ['an input that the graph lacks', { inputs: { x, z: x } }, /input 'z'/],
    ['a scalar that there is not', { inputs: { x }, scalars: { row: 1 } }, /'row'/],
    ['a scalar that is no number', { inputs: { x }, scalars: { position: Number.NaN } }, /'scalars.position'/],
    ['no input', {}, /'inputs.x'.*nothing|'inputs.x'.*undefined/],
    ['integers for numbers', { inputs: { x: new Int32Array(64) } }, /'inputs.x' must be a Float32Array/],
    ['numbers of 64 bits', { inputs: { x: new Float64Array(32) } }, /'inputs.x' must be a Float32Array/],
    ['an output that the graph lacks', { inputs: { x }, outputs: ['z'] }, /'outputs'/],
    ['an option that there is not', { input: { x } }, /'input'/],
  ])('with %s is refused by name', async (_, options, message) => {
    const own = plan();
    await expect(own.run(options)).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    });
    // the plan is runnable
    expect(Object.keys(await own.run({ inputs: { x } }))).toEqual(['y']);
  });

  test('treats undefined scalars as omitted', async () => {
    const run = (scalars: object) => plan().run({ inputs: { x: x.fill(1) }, scalars });
    expect(await run({ position: undefined, rows: undefined })).toEqual(await run({}));
  });
});
