/**
 * Every model family against transformers: logits, hidden states, loss and the gradient of every parameter. Then its
 * life: converted, trained, saved, loaded, continued token by token.
 */

import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { exportDense } from '../../lib/compress/export_dense';
import { Decoder } from '../../lib/generate/decoder';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { appendGradients } from '../../lib/graph/gradients';
import { Graph } from '../../lib/graph/graph';
import { headLogits } from '../../lib/graph/operations/head';
import { crossEntropy } from '../../lib/graph/operations/losses';
import { lossSeed, zeroAtFirst } from '../../lib/graph/operations/training';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import { Matrix } from '../../lib/native/matrix';
import { finetune } from '../../lib/train/finetune';
import { FAMILIES, repositoryFolder, sharedFolder, VARIANTS, variantFolder } from '../helpers/family_folders';
import { changeWeights, copyGolden, temporaryFolder } from '../helpers/folders';
import { type Golden, projections, readGolden } from '../helpers/golden';
import { Random, relativeError } from '../helpers/random';
import { describeWithShared } from '../helpers/shared';

const TOLERANCE = 1e-4;
/** Size below which a value is only rounding, in a model whose gradients are about 1. */
const VANISHING = 1e-6;
const temporary = temporaryFolder();

/** Compares the model in `folder` with the values beside it, complete or projected. */
function compareWithTransformers(folder: string): void {
  const golden = readGolden(join(folder, 'golden.safetensors'));
  const { data, shape } = golden('input_ids');
  const [sequences, length] = shape as [number, number];
  const ids = Int32Array.from(data);
  const rows = sequences * length;
  let model: Model;

  beforeAll(async () => {
    model = await Model.load(folder);
  });
  afterAll(() => model.dispose());

  /** Returns the relative error of computed values for the golden tensor `name`. */
  function errorOf(name: string, values: Float32Array): number {
    const whole = golden.names.includes(name);
    const got = whole ? values : projections(values);
    const expected = golden(whole ? name : `projections.${name}`).data;
    // softmax ignores a constant added to all scores: the bias of keys without rotary positions has no gradient
    if (size(expected) < VANISHING) return size(got) < VANISHING ? 0 : Number.POSITIVE_INFINITY;
    return relativeError(got, expected);
  }

  /** Returns the outputs of one run over all sequences. */
  async function run(build: (graph: Graph) => void): Promise<Record<string, Float32Array>> {
    const graph = new Graph();
    build(graph);
    await using plan = new Plan(graph, { maxRows: rows });
    const targets = ids.map((_, i) => ((i + 1) % length === 0 ? -1 : (ids[i + 1] as number)));
    const inputs = { ids, targets };
    const used = Object.fromEntries([...graph.inputs.keys()].map((name) => [name, inputs[name as 'ids']]));
    return await plan.run({ inputs: used, scalars: { rows, sequenceLength: length } });
  }

  const column = { rows: 'tokens', cols: 1, type: 'i32' } as const;

  test('logits and every hidden state', async () => {
    const outputs = await run((graph) => {
      const builder = coreOf(model).builder(graph);
      const { hiddenStates, finished } = coreOf(model).build(builder, graph.input('ids', column), length);
      for (const [layer, state] of hiddenStates.entries()) graph.output(`hidden_states.${layer}`, state);
      graph.output('logits', headLogits(coreOf(model).family.head(builder, finished, coreOf(model).config)));
    });
    expect(Object.keys(outputs)).toHaveLength(model.config.layers + 2);
    for (const [name, values] of Object.entries(outputs)) {
      expect({ name, close: errorOf(name, values) <= TOLERANCE }).toEqual({ name, close: true });
    }
  });

  test('loss and the gradient of every parameter', async () => {
    const gradients = new Map(
      [...coreOf(model).parameters].map(([name, { rows, cols }]) => [name, new Matrix({ rows, cols })]),
    );
    const { loss } = await run((graph) => {
      const builder = coreOf(model).builder(graph);
      const { finished } = coreOf(model).build(builder, graph.input('ids', column), length);
      const logits = headLogits(coreOf(model).family.head(builder, finished, coreOf(model).config));
      const value = crossEntropy(logits, graph.input('targets', column));
      graph.output('loss', value);
      const accumulators = new Map(
        [...gradients].map(([name, matrix]) => {
          const target = graph.bind(matrix, 'gradients');
          zeroAtFirst(target);
          return [builder.parameter(name), target] as const;
        }),
      );
      appendGradients(value, lossSeed(graph), { accumulators });
    });
    expect(errorOf('loss', loss as Float32Array)).toBeLessThanOrEqual(TOLERANCE);
    const transposed = new Set(
      coreOf(model)
        .family.parameters(coreOf(model).config)
        .flatMap((entry) => (entry.transposed ? [entry.name] : [])),
    );
    for (const [name, matrix] of gradients) {
      const values = transposed.has(name) ? columnsFirst(matrix) : matrix.toFloat32();
      const error = errorOf(`grad.${name}`, values);
      expect({ name, error: error <= TOLERANCE ? 0 : error }).toEqual({ name, error: 0 });
    }
  });

  test('logits() of one sequence', async () => {
    const { data: logits, shape: extent } = await model.logits(ids.subarray(0, length));
    expect(extent).toEqual([length, model.config.vocabularySize]);
    expect(relativeError(logits, golden('logits').data.subarray(0, logits.length))).toBeLessThanOrEqual(TOLERANCE);
  });
}

function size(values: ArrayLike<number>): number {
  return Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));
}

/** Returns a matrix as a file with transposed weights stores it. */
function columnsFirst(matrix: Matrix): Float32Array {
  const { rows, cols } = matrix;
  const data = matrix.toFloat32();
  return Float32Array.from({ length: rows * cols }, (_, i) => data[(i % rows) * cols + Math.floor(i / rows)] as number);
}

describe.each(FAMILIES.filter(repositoryFolder))('%s computes what transformers computes', (family) => {
  compareWithTransformers(repositoryFolder(family) as string);
});

describe.each(VARIANTS)('%s computes what transformers computes', (variant) => {
  compareWithTransformers(variantFolder(variant));
});

describe.each(FAMILIES)('%s, by all values', (family) => {
  describeWithShared('computes what transformers computes', [`golden/${family}`], () => {
    compareWithTransformers(sharedFolder(family));
  });
});

/** Creates random token ids. */
function randomIds(count: number, seed: number): Int32Array {
  const random = new Random(seed);
  return Int32Array.from({ length: count }, () => random.integer(3, 159));
}

/** Returns the logits after the first `first` tokens, then after each later one, by the key-value cache. */
async function cachedLogits(model: Model, ids: Int32Array, first: number): Promise<Float32Array[]> {
  await using decoder = new Decoder(coreOf(model), { context: ids.length, arithmetic: arithmeticOf({}) });
  const logits = [(await decoder.append(0, ids.subarray(0, first), undefined)).slice()];
  for (let i = first; i < ids.length; i++) {
    const [next] = await decoder.step([{ slot: 0, id: ids[i] as number }], undefined);
    logits.push((next as Float32Array).slice());
  }
  return logits;
}

function liveThrough(folder: string): void {
  let dense: Model;
  let student: Model;

  beforeAll(async () => {
    dense = await Model.load(folder);
    student = await binarize(dense, { kernels: 2 });
  });
  afterAll(() => {
    dense.dispose();
    student.dispose();
  });

  test('logits token by token with a cache equal those of the whole text', async () => {
    const ids = randomIds(40, 1);
    for (const model of [dense, student]) {
      const { data, shape } = await model.logits(ids);
      for (const [i, logits] of (await cachedLogits(model, ids, 21)).entries()) {
        const at = (20 + i) * shape[1];
        expect(relativeError(logits, data.subarray(at, at + shape[1]))).toBeLessThan(1e-5);
      }
    }
  });

  test('converts with calibration on tokens', async () => {
    const calibration = { data: randomIds(512, 2), windows: 8, length: 32, targetMix: 0.5, rounds: 1 };
    await using calibrated = await binarize(dense, { kernels: 2, method: 'calibrated', calibration });
    expect(calibrated.kernels.size).toBe(coreOf(dense).linears.length);
    const { data } = await calibrated.logits(randomIds(40, 1));
    expect(data.every(Number.isFinite)).toBe(true);
  });

  test('is exported as a dense folder that computes the same', async () => {
    const place = join(temporary, `dense${folder.replace(/\W/g, '-')}`);
    await exportDense(student, place, { type: 'f32' });
    await using exported = await Model.load(place);
    const ids = randomIds(40, 1);
    expect(exported.kernels.size).toBe(0);
    expect(relativeError((await exported.logits(ids)).data, (await student.logits(ids)).data)).toBeLessThan(1e-5);
  });

  test('trains 20 steps towards its teacher, saves and loads with identical logits, and continues', async () => {
    const data = randomIds(512, 3);
    const train = ['scales', 'norms', 'embeddings', 'biases'] as const;
    const { history } = await finetune(student, {
      teacher: dense,
      data,
      window: 32,
      batch: 4,
      steps: 20,
      train,
      flipRate: 0.1,
    });
    const mean = (some: typeof history) => some.reduce((sum, { loss }) => sum + loss, 0) / some.length;
    expect(history).toHaveLength(20);
    expect(mean(history.slice(15))).toBeLessThan(mean(history.slice(0, 5)));
    expect(history.some(({ flips }) => flips > 0)).toBe(true);

    const place = join(temporary, folder.replace(/\W/g, '-'));
    await student.save(place);
    await using loaded = await Model.load(place);
    const ids = randomIds(40, 1);
    const expected = (await student.logits(ids)).data;
    expect((await loaded.logits(ids)).data).toEqual(expected);

    // greedy: ten tokens by the cache, each the likeliest continuation of the whole text
    await using decoder = new Decoder(coreOf(loaded), { context: 60, arithmetic: arithmeticOf({}) });
    const text = [...ids];
    let next = await decoder.append(0, ids, undefined);
    for (let i = 0; i < 10; i++) {
      const { data: logits, shape } = await student.logits(text);
      const token = likeliest(logits.subarray(-shape[1]));
      expect(likeliest(next)).toBe(token);
      text.push(token);
      [next] = (await decoder.step([{ slot: 0, id: token }], undefined)) as [Float32Array];
    }
  });
}

function likeliest(logits: Float32Array): number {
  return logits.indexOf(logits.reduce((most, value) => Math.max(most, value)));
}

describe.each(FAMILIES.filter(repositoryFolder))('%s from dense to Boolean', (family) => {
  liveThrough(repositoryFolder(family) as string);
});

describe.each(VARIANTS)('%s from dense to Boolean', (variant) => {
  liveThrough(variantFolder(variant));
});

test('GPT-2 is also read by the names of its first checkpoints', async () => {
  const folder = copyGolden('gpt2', join(temporary, 'first-names'));
  changeWeights(folder, ({ header, data }) => ({
    header: Object.fromEntries(
      Object.entries(header).map(([name, entry]) => [name.replace('transformer.', ''), entry]),
    ),
    data,
  }));
  await using first = await Model.load(folder);
  await using recent = await Model.load(repositoryFolder('gpt2') as string);
  const ids = randomIds(20, 4);
  expect((await first.logits(ids)).data).toEqual((await recent.logits(ids)).data);
});

test('a matrix that files store transposed is saved transposed', async () => {
  const place = join(temporary, 'transposed');
  await using model = await Model.load(repositoryFolder('gpt2') as string);
  await model.save(place);
  const [original, saved] = [repositoryFolder('gpt2') as string, place].map((folder) =>
    readGolden(join(folder, 'model.safetensors')),
  ) as [Golden, Golden];
  expect([...saved.names].sort()).toEqual([...original.names].sort());
  for (const name of original.names) expect(saved(name)).toEqual(original(name));
});

describe.each(FAMILIES.filter((family) => !repositoryFolder(family)))('%s', (family) => {
  describeWithShared('from dense to Boolean', [`golden/${family}`], () => liveThrough(sharedFolder(family)));
});
