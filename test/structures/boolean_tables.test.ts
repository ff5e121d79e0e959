/** Embedding and head of ±1 kernels: computed with, converted, saved, resumed, left alone by training, exported. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { exportDense } from '../../lib/compress/export_dense';
import { WorkFolder } from '../../lib/compress/work_folder';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { appendGradients } from '../../lib/graph/gradients';
import { type BooleanOptimizerState, Graph, matrixShape, type Tensor } from '../../lib/graph/graph';
import { tableRows } from '../../lib/graph/operations/embedding';
import { type Head, headLogits } from '../../lib/graph/operations/head';
import {
  headCrossEntropy,
  headDivergence,
  headLikelihood,
  headStoredDivergence,
  topTokens,
} from '../../lib/graph/operations/head_loss';
import { hiddenLoss } from '../../lib/graph/operations/losses';
import { type Table, tableInto, tableUpdate } from '../../lib/graph/operations/table';
import { emitZero, lossSeed } from '../../lib/graph/operations/training';
import { weightedSum } from '../../lib/graph/operations/weighted_sum';
import { Plan } from '../../lib/graph/plan';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { coreOf, Model, modelOf } from '../../lib/model';
import { tiled } from '../../lib/models/bit_tiles';
import { inspect } from '../../lib/models/inspect';
import { moduleOf } from '../../lib/models/parts';
import { multipliedOut } from '../../lib/models/widen';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { BooleanOptimizer } from '../../lib/train/boolean_optimizer';
import { finetune } from '../../lib/train/finetune';
import { built } from '../helpers/builds';
import { runMbok } from '../helpers/command_line';
import { changeConfig, changeWeights, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { Random, relativeError } from '../helpers/random';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
beforeAll(() => void built('dist'));
const TABLE = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
const IDS = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 160);

interface Shape {
  readonly vocabulary: number;
  readonly h: number;
  readonly kernels: number;
  readonly frequent: number;
  readonly layout: 'rows' | 'tiles';
}

const SHAPES: readonly Shape[] = [
  { vocabulary: 5, h: 3, kernels: 1, frequent: 0, layout: 'rows' },
  { vocabulary: 200, h: 70, kernels: 2, frequent: 0, layout: 'tiles' },
  { vocabulary: 131, h: 65, kernels: 3, frequent: 64, layout: 'rows' },
  { vocabulary: 131, h: 64, kernels: 2, frequent: 64, layout: 'tiles' },
  { vocabulary: 523, h: 600, kernels: 8, frequent: 128, layout: 'tiles' },
  { vocabulary: 700, h: 33, kernels: 2, frequent: 320, layout: 'rows' },
];

/** Creates a random table, and the same numbers as a dense one, by a definition in JavaScript. */
async function randomTable({ vocabulary, h, kernels, frequent, layout }: Shape, random: Random) {
  const rest = vocabulary - frequent;
  const order = Array.from({ length: vocabulary }, (_, token) => token);
  for (let i = vocabulary - 1; i > 0; i--) {
    const j = random.integer(0, i);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  const isFrequent = new Set(order.slice(0, frequent));
  const signs = random.signs(kernels * rest * h);
  const [sOut, sIn] = [random.normals(kernels * rest), random.normals(kernels * h)];
  const numbers = Int8Array.from({ length: frequent * h }, () => random.integer(-127, 127));
  const scales = random.normals(frequent);
  const dense = new Float32Array(vocabulary * h);
  let [ofFrequent, other] = [0, 0];
  for (let token = 0; token < vocabulary; token++) {
    const row = isFrequent.has(token) ? ofFrequent++ : other++;
    for (let j = 0; j < h; j++) {
      let sum = 0;
      if (isFrequent.has(token)) sum = (numbers[row * h + j] as number) * (scales[row] as number);
      else
        for (let k = 0; k < kernels; k++)
          sum +=
            (signs[(k * rest + row) * h + j] as number) * (sOut[k * rest + row] as number) * (sIn[k * h + j] as number);
      dense[token * h + j] = sum;
    }
  }
  const bits = BitMatrix.fromSigns(signs, { rows: kernels * rest, cols: h });
  const marks = Array.from({ length: vocabulary }, (_, token) => (isFrequent.has(token) ? 1 : -1));
  const matrices = {
    kernels: layout === 'rows' ? bits : await tiled(bits, kernels),
    sOut: Matrix.from(sOut, { rows: kernels, cols: rest }),
    sIn: Matrix.from(sIn, { rows: kernels, cols: h }),
    marks: BitMatrix.fromSigns(marks, { rows: 1, cols: vocabulary }),
    scales: frequent > 0 ? Matrix.from(scales, { rows: frequent, cols: 1 }) : undefined,
    weights: frequent > 0 ? new Matrix({ rows: frequent, cols: h, type: 'i8' }) : undefined,
  };
  matrices.weights?.write(numbers);
  const bound = (graph: Graph): Table => {
    const bind = (name: keyof typeof matrices) => graph.bind(matrices[name] as Matrix);
    return {
      boolean: { kernels: bind('kernels'), sOut: bind('sOut'), sIn: bind('sIn') },
      ...(frequent > 0 && { weights: bind('weights'), scales: bind('scales'), marks: bind('marks') }),
    };
  };
  const others = order.slice(frequent).sort((a, b) => a - b);
  return { bound, wide: Matrix.from(dense, { rows: vocabulary, cols: h }), dense, signs, sOut, sIn, others };
}

/** Runs a graph with `rows` hidden states for a table, and for the same numbers as a dense table. */
async function bothTables(
  shape: Shape,
  rows: number,
  outputs: (graph: Graph, head: Head, random: Random) => Readonly<Record<string, Tensor>>,
) {
  const random = new Random(shape.vocabulary + rows);
  const table = await randomTable(shape, random);
  const states = random.normals(rows * shape.h);
  const results: Record<string, Float32Array>[] = [];
  for (const bound of [table.bound, (graph: Graph): Table => ({ weights: graph.bind(table.wide) })]) {
    const graph = new Graph();
    const x = graph.input('x', { rows, cols: shape.h });
    const all = outputs(graph, { states: x, table: bound(graph), cap: 0 }, new Random(7));
    for (const [name, tensor] of Object.entries(all)) graph.output(name, tensor);
    await using plan = new Plan(graph, { maxRows: rows });
    results.push((await plan.run({ inputs: { x: states }, scalars: { rows } })) as Record<string, Float32Array>);
  }
  return results as [Record<string, Float32Array>, Record<string, Float32Array>];
}

function targets(graph: Graph, rows: number, vocabulary: number): Tensor {
  const ids = Int32Array.from({ length: rows }, (_, i) => (i % 5 === 3 ? -1 : (i * 31) % vocabulary));
  return graph.bind(Matrix.from(ids, { rows, cols: 1 }));
}

describe.each(SHAPES)('a table of $vocabulary × $h, K = $kernels, $frequent rows in 8 bits, in $layout', (shape) => {
  const { vocabulary, h } = shape;

  test('has the rows of the numbers that it stands for, each alone and all together', async () => {
    const random = new Random(3);
    const { bound, dense } = await randomTable(shape, random);
    const ids = Int32Array.from({ length: 90 }, () => random.integer(0, vocabulary - 1));
    const graph = new Graph();
    const table = bound(graph);
    graph.output('rows', tableRows(table, graph.bind(Matrix.from(ids, { rows: 90, cols: 1 }))));
    const all = new Matrix({ rows: vocabulary, cols: h });
    tableInto(graph.bind(all), table);
    await using plan = new Plan(graph);
    const { rows } = (await plan.run()) as { rows: Float32Array };
    expect(relativeError(all.toFloat32(), dense)).toBeLessThan(1e-6);
    for (const [i, id] of ids.entries()) {
      expect(rows.subarray(i * h, (i + 1) * h)).toEqual(all.toFloat32().subarray(id * h, (id + 1) * h));
    }
  });

  test.each([1, 3, 40, 150])(
    'multiplies %d rows to the logits of these numbers, in the order of tokens',
    async (rows) => {
      const [boolean, dense] = await bothTables(shape, rows, (_, head) => ({ logits: headLogits(head) }));
      expect(relativeError(boolean.logits as Float32Array, dense.logits as Float32Array)).toBeLessThan(2e-6);
    },
  );

  test('gives likelihoods and likely tokens of these numbers', async () => {
    const k = Math.min(4, vocabulary - 1);
    const [boolean, dense] = await bothTables(shape, 50, (graph, head) => {
      const { values, likeliest } = headLikelihood(head, targets(graph, 50, vocabulary));
      const [stored, ids] = topTokens(head, k);
      return { values, likeliest, stored, ids };
    });
    expect(relativeError(boolean.values as Float32Array, dense.values as Float32Array)).toBeLessThan(1e-5);
    expect(boolean.likeliest).toEqual(dense.likeliest);
    expect(boolean.ids).toEqual(dense.ids);
    // without the probability of all others, which may be nothing but rounding
    const likely = ({ stored }: typeof boolean) => (stored as Float32Array).filter((_, i) => i % (k + 1) < k);
    expect(relativeError(likely(boolean), likely(dense))).toBeLessThan(2e-3);
  });

  if (shape.layout === 'rows') {
    test('adds up the gradient of these numbers in head and look-up, and that of its scales', async () => {
      const random = new Random(5);
      const { bound, wide, signs, sOut, sIn, others } = await randomTable(shape, random);
      const [rows, rest] = [30, vocabulary - shape.frequent];
      const states = Matrix.from(random.normals(rows * h), { rows, cols: h });
      const tokens = Int32Array.from({ length: rows }, () => random.integer(0, vocabulary - 1));
      const weighing = Matrix.from(random.normals(rows * h), { rows, cols: h });
      // the loss is the head's and that of the rows of the same tokens
      const gradientOf = async (table: (graph: Graph) => Table, gradients: number) => {
        const graph = new Graph();
        const [ofTable, seed] = [table(graph), lossSeed(graph)];
        const ids = graph.bind(Matrix.from(tokens, { rows, cols: 1 }));
        const found = tableRows(ofTable, ids);
        const g = graph.create(matrixShape(gradients, h));
        emitZero(g);
        const accumulators = new Map([[(ofTable.boolean?.kernels ?? ofTable.weights) as Tensor, g]]);
        const head = { states: graph.bind(states), table: ofTable, cap: 0 };
        const [ofHead, ofRows] = [
          headCrossEntropy(head, ids, { seed, accumulators }),
          hiddenLoss(found, graph.bind(weighing), 'plain'),
        ];
        const loss = weightedSum([ofHead, ofRows].map((value) => ({ value, weight: 1 })));
        appendGradients(loss, seed, { accumulators });
        const scales = {
          ofSOut: new Matrix({ rows: shape.kernels, cols: rest }),
          ofSIn: new Matrix({ rows: shape.kernels, cols: h }),
        };
        if (ofTable.boolean) {
          const bind = (name: keyof typeof scales) => graph.bind(scales[name], 'gradients');
          tableUpdate(g, ofTable.boolean, { ofSOut: bind('ofSOut'), ofSIn: bind('ofSIn') }, undefined);
        }
        const copy = new Matrix({ rows: gradients, cols: h });
        graph.emit('scale', [g], [graph.bind(copy)], [1]);
        await using plan = new Plan(graph, { maxRows: rows });
        await plan.run({ scalars: { rows } });
        return { g: copy.toFloat32(), scales };
      };
      const boolean = await gradientOf(bound, rest);
      const dense = await gradientOf((graph) => ({ weights: graph.bind(wide) }), vocabulary);
      const expected = Float32Array.from(
        { length: rest * h },
        (_, i) => dense.g[(others[Math.floor(i / h)] as number) * h + (i % h)] as number,
      );
      expect(relativeError(boolean.g, expected)).toBeLessThan(1e-5);
      const [ofSOut, ofSIn] = [new Float32Array(sOut.length), new Float32Array(sIn.length)];
      for (const [at, sign] of signs.entries()) {
        const [k, i, j] = [Math.floor(at / (rest * h)), Math.floor(at / h) % rest, at % h];
        const signal = sign * (expected[i * h + j] as number);
        (ofSOut[k * rest + i] as number) += signal * (sIn[k * h + j] as number);
        (ofSIn[k * h + j] as number) += signal * (sOut[k * rest + i] as number);
      }
      expect(relativeError(boolean.scales.ofSOut.toFloat32(), ofSOut)).toBeLessThan(1e-5);
      expect(relativeError(boolean.scales.ofSIn.toFloat32(), ofSIn)).toBeLessThan(1e-5);
    });

    const losses: readonly (readonly [string, (graph: Graph, head: Head, random: Random) => Tensor])[] = [
      [
        'cross-entropy',
        (graph, head) => headCrossEntropy(head, targets(graph, 30, vocabulary), { seed: lossSeed(graph) }),
      ],
      [
        'divergence from a dense teacher',
        (graph, head, random) => {
          const bind = (rows: number) => graph.bind(Matrix.from(random.normals(rows * 6), { rows, cols: 6 }));
          const teacher = { states: bind(30), table: { weights: bind(vocabulary) }, cap: 2 };
          return headDivergence(head, teacher, { seed: lossSeed(graph) });
        },
      ],
      [
        'divergence from stored tokens',
        (graph, head) => {
          const stored = graph.bind(Matrix.from(new Float32Array(60).fill(Math.log(0.5)), { rows: 30, cols: 2 }));
          const ids = Matrix.from(
            Int32Array.from({ length: 30 }, (_, i) => (i * 7) % vocabulary),
            { rows: 30, cols: 1 },
          );
          return headStoredDivergence(head, { stored, ids: graph.bind(ids) }, { seed: lossSeed(graph) });
        },
      ],
    ];
    test.each(losses)('has the %s of these numbers, and its gradient', async (_, lossOf) => {
      const [boolean, dense] = await bothTables(shape, 30, (graph, head, random) => {
        const loss = lossOf(graph, head, random);
        const [dx] = appendGradients(loss, lossSeed(graph), { wanted: [head.states] });
        return { loss, dx: dx as Tensor };
      });
      expect(relativeError(boolean.loss as Float32Array, dense.loss as Float32Array)).toBeLessThan(1e-5);
      expect(relativeError(boolean.dx as Float32Array, dense.dx as Float32Array)).toBeLessThan(1e-5);
    });
  }
});

test.each([
  [{ vocabulary: 131, h: 20, kernels: 2, frequent: 64, layout: 'tiles' }, 0],
  [{ vocabulary: 131, h: 20, kernels: 2, frequent: 64, layout: 'rows' }, 64],
  [{ vocabulary: 131, h: 20, kernels: 2, frequent: 0, layout: 'rows' }, 64],
] as const)(
  'a teacher of %j judges a student with %d rows in 8 bits by the order of tokens',
  async (shape, frequent) => {
    const random = new Random(11);
    const [teacher, student] = [
      await randomTable(shape, random),
      await randomTable({ ...shape, frequent, layout: 'rows' }, random),
    ];
    const [x, y] = [random.normals(30 * 20), random.normals(30 * 20)];
    const losses: number[] = [];
    for (const isDense of [false, true]) {
      const graph = new Graph();
      const of = ({ bound, wide }: typeof teacher, states: Float32Array): Head => ({
        states: graph.bind(Matrix.from(states, { rows: 30, cols: 20 })),
        table: isDense ? { weights: graph.bind(wide) } : bound(graph),
        cap: 0,
      });
      graph.output('loss', headDivergence(of(student, x), of(teacher, y)));
      await using plan = new Plan(graph);
      losses.push((await plan.run()).loss?.[0] as number);
    }
    expect(losses[0]).toBeCloseTo(losses[1] as number, 5);
  },
);

test('a table moves bits as a linear layer with the same gradient does', async () => {
  const [m, n, kernels] = [70, 65, 2];
  const random = new Random(9);
  const [signs, sOut, sIn] = [random.signs(kernels * m * n), random.normals(kernels * m), random.normals(kernels * n)];
  const g = Matrix.from(random.normals(m * n), { rows: m, cols: n });
  const unit = Matrix.from(
    Float32Array.from({ length: m * m }, (_, i) => (i % (m + 1) === 0 ? 1 : 0)),
    { rows: m, cols: m },
  );
  const results: (readonly [BitMatrix, number])[] = [];
  for (const ofTable of [true, false]) {
    const graph = new Graph();
    const bits = BitMatrix.fromSigns(signs, { rows: kernels * m, cols: n });
    const rows = {
      kernels: graph.bind(bits),
      sOut: graph.bind(Matrix.from(sOut, { rows: kernels, cols: m })),
      sIn: graph.bind(Matrix.from(sIn, { rows: kernels, cols: n })),
    };
    const optimizer = new BooleanOptimizer({ rows: m, cols: n, accumulator: 'f32' });
    const target = optimizer.target(graph) as BooleanOptimizerState;
    if (ofTable) tableUpdate(graph.bind(g), rows, { ofSOut: undefined, ofSIn: undefined }, target);
    else {
      const { accumulator, rowStatistics, columnStatistics, state, settings } = target;
      const outputs = [undefined, undefined, rows.kernels, accumulator, rowStatistics, columnStatistics, state];
      const inputs = [graph.bind(unit), graph.bind(g), rows.kernels, rows.sOut, rows.sIn];
      graph.emit('multi_boolean_update', inputs, outputs, [0, ...settings]);
    }
    await using plan = new Plan(graph);
    for (let step = 0; step < 3; step++) await plan.run({ scalars: { flipRate: 0.4 } });
    results.push([bits, optimizer.moved]);
  }
  const [table, layer] = results as [[BitMatrix, number], [BitMatrix, number]];
  expect(table[0].toSigns()).toEqual(layer[0].toSigns());
  expect(table[1]).toBe(layer[1]);
  expect(table[0].toSigns()).not.toEqual(signs);
});

test('marks that do not number the rows in 8 bits are an error', async () => {
  const { bound } = await randomTable(SHAPES[2] as Shape, new Random(1));
  const graph = new Graph();
  const table = bound(graph);
  const marks = graph.bind(BitMatrix.fromSigns(new Int8Array(131).fill(-1), { rows: 1, cols: 131 }));
  graph.output('rows', tableRows({ ...table, marks }, graph.bind(Matrix.from(Int32Array.of(3), { rows: 1, cols: 1 }))));
  await using plan = new Plan(graph);
  await expect(plan.run()).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
});

const CALIBRATED = {
  kernels: 2,
  method: 'calibrated',
  calibration: { data: learnableIds(3000), windows: 8, length: 32, rounds: 2 },
} as const;

/** Converts a golden family with Boolean embedding and head. */
async function small(family: string, embeddings: BinarizeOptions['embeddings']): Promise<Model> {
  await using model = await Model.load(join(GOLDEN, family));
  return await binarize(model, { ...CALIBRATED, embeddings });
}

test.each([
  ['an untied head', 'llama', 2, [TABLE, HEAD]],
  ['a tied head', 'llama-tied-rope3', 1, [TABLE]],
  ['frequent rows and an untied head', 'llama', { kernels: 2, frequent: 64 }, [TABLE, HEAD]],
  ['frequent rows and a tied head', 'llama-tied-rope3', { kernels: 3, frequent: 64 }, [TABLE]],
  ['a cap of the logits', 'gemma2', { kernels: 2, frequent: 64 }, [TABLE]],
] as const)('a model with %s computes what the multiplied-out numbers do', async (_, family, embeddings, tables) => {
  await using model = await small(family, embeddings);
  expect(model.embeddings).toBe('boolean_table');
  expect(Object.keys(model.conversion?.embeddingErrors ?? {})).toEqual(tables);
  const replaced = new Map();
  const { parameters, config, family: architecture } = coreOf(model);
  for (const owner of architecture
    .parameters(config)
    .filter(({ name }) => (tables as readonly string[]).includes(name))) {
    const matrix = await multipliedOut(owner, model.formats.get(moduleOf(owner.name)), parameters);
    replaced.set(owner.name, { matrix, storage: 'F32' });
  }
  const formats = new Map([...model.formats].filter(([module]) => !replaced.has(`${module}.weight`)));
  await using wide = modelOf(coreOf(model).derive(replaced, formats));
  for (const ids of [IDS, IDS.subarray(0, 3)]) {
    expect(relativeError((await model.logits(ids)).data, (await wide.logits(ids)).data)).toBeLessThan(1e-5);
  }
});

describe.each([2, { kernels: 1, frequent: 64 }] as const)('with embeddings %j', (embeddings) => {
  const place = join(folder, `saved-${JSON.stringify(embeddings).replace(/\W/g, '')}`);

  let model: Model;
  beforeAll(async () => {
    model = await small('llama', embeddings);
    await model.save(place);
  });
  afterAll(() => model.dispose());

  test('a folder converted on disk is the model converted in memory, and reloads to the same logits', async () => {
    const onDisk = `${place}-disk`;
    const report = await binarizeFolder(join(GOLDEN, 'llama'), onDisk, { ...CALIBRATED, embeddings });
    expect(report).toEqual(model.conversion);
    const bytes = (path: string) => readFileSync(join(path, 'model.safetensors'));
    expect(bytes(onDisk)).toEqual(bytes(place));
    await using again = await Model.load(onDisk);
    await using rows = await Model.load(onDisk, { for: 'training' });
    const { data } = await model.logits(IDS);
    expect((await again.logits(IDS)).data).toEqual(data);
    expect(relativeError((await rows.logits(IDS)).data, data)).toBeLessThan(1e-5);
    expect((await inspect(onDisk)).embeddings).toBe('boolean_table');
  });

  test('an exported model is dense and has the same logits', async () => {
    const dense = `${place}-dense`;
    await exportDense(model, dense, { type: 'f32' });
    await using exported = await Model.load(dense);
    expect(exported.embeddings).toBeUndefined();
    expect(relativeError((await exported.logits(IDS)).data, (await model.logits(IDS)).data)).toBeLessThan(1e-5);
  });

  test('finetuning the tables moves their bits and scales, also after an interruption', async () => {
    await using teacher = await Model.load(join(GOLDEN, 'llama'));
    const options = { teacher, data: learnableIds(600), window: 32, batch: 4, flipRate: 1 } as const;
    const train = ['scales', 'norms', 'embeddings'] as const;
    const trained = async (run: (student: Model) => Promise<unknown>) => {
      await using student = await Model.load(place);
      const before = contents(student);
      await run(student);
      return [before, contents(student)] as const;
    };
    const [before, after] = await trained((student) => finetune(student, { ...options, train, steps: 4 }));
    const changed = differences(before, after);
    for (const table of ['model.embed_tokens', 'lm_head']) {
      const parts = ['boolean_kernels', 's_out', 's_in'].map((part) => `${table}.${part}`);
      expect(changed.filter((name) => name.startsWith(`${table}.`)).sort()).toEqual(parts.sort());
    }
    const checkpoint = { folder: `${place}-checkpoint`, every: 2 };
    const [, resumed] = await trained(async (student) => {
      const controller = new AbortController();
      const onProgress = ({ step }: { step: number }) => step === 2 && controller.abort();
      const stopped = { ...options, train, steps: 4, checkpoint, onProgress, signal: controller.signal };
      await expect(finetune(student, stopped as never)).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
      await using again = await Model.load(place);
      await finetune(again, { ...options, train, steps: 4, checkpoint, resume: true });
      expect(differences(after, contents(again))).toEqual([]);
    });
    expect(resumed.size).toBe(after.size);
  });

  test('finetuning the layers leaves the tables alone', async () => {
    await using teacher = await Model.load(join(GOLDEN, 'llama'));
    await using student = await Model.load(place);
    const before = contents(student);
    await finetune(student, { teacher, data: learnableIds(600), window: 32, batch: 4, steps: 3, flipRate: 0.3 });
    const changed = differences(before, contents(student));
    expect(changed.length).toBeGreaterThan(10);
    expect(changed.filter((name) => /embed_tokens|lm_head/.test(name))).toEqual([]);
  });
});

test('a conversion that stops before its tables resumes to the same bytes', async () => {
  const [whole, stopped] = [join(folder, 'whole'), join(folder, 'stopped')];
  const options = { ...CALIBRATED, embeddings: { kernels: 2, frequent: 64 } } as const;
  await binarizeFolder(join(GOLDEN, 'llama'), whole, options);
  const { storeBlock } = WorkFolder.prototype;
  const store = jest.spyOn(WorkFolder.prototype, 'storeBlock').mockImplementation(async function (
    this: WorkFolder,
    ...block: Parameters<typeof storeBlock>
  ) {
    if (block[0] === 2) throw new Error('killed');
    await storeBlock.apply(this, block);
  });
  await expect(binarizeFolder(join(GOLDEN, 'llama'), stopped, options)).rejects.toThrow('killed');
  store.mockRestore();
  await expect(binarizeFolder(join(GOLDEN, 'llama'), stopped, { ...options, embeddings: 2 })).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
  });
  await binarizeFolder(join(GOLDEN, 'llama'), stopped, options);
  expect(readFileSync(join(stopped, 'model.safetensors'))).toEqual(readFileSync(join(whole, 'model.safetensors')));
});

test('a size counts Boolean tables to the byte', async () => {
  const sized = join(folder, 'sized');
  const options = { method: 'svid', embeddings: 2 } as const;
  const report = await binarizeFolder(TINY_STORIES, sized, { ...options, size: 800_000 });
  const { bytes } = await inspect(sized);
  expect(bytes).toBe(statSync(join(sized, 'model.safetensors')).size);
  expect(bytes).toBeLessThanOrEqual(800_000);
  expect(bytes).toBeGreaterThan(780_000);
  expect(report.embeddingErrors?.[TABLE]).toBeLessThan(0.4);
});

test('on the embedded model frequent rows in 8 bits bring back most of what two kernels lose', async () => {
  const text = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8');
  const perplexity = async (path: string) => {
    await using model = await Model.load(path);
    return (await evaluatePerplexity(model, text, { window: 256, maxWindows: 20 })).perplexity;
  };
  const corpus = join(TINY_STORIES, 'corpus/train.txt');
  const calibration = ['--calibration', corpus, '--calibration-windows', '8', '--calibration-window', '256'];
  const judge = async (embeddings: string) => {
    const forms = ['--kernels', '2', '--keep', '*=dense', '--embeddings', embeddings];
    const { stdout } = runMbok(folder, ['binarize', TINY_STORIES, embeddings, ...forms, ...calibration]);
    return { stdout, perplexity: await perplexity(join(folder, embeddings)) };
  };
  const [kernels, both, within] = [await judge('2'), await judge('2+512'), await judge('bits:3.8')];
  const original = await perplexity(TINY_STORIES);
  expect(both.stdout).toMatch(/embed_tokens\.weight with K = 2 and 512 rows in 8 bits, residual 0\.\d+/);
  expect(within.stdout).toMatch(/embed_tokens\.weight with K = \d and \d+ rows in 8 bits, residual 0\.\d+/);
  expect(kernels.perplexity / original).toBeLessThan(1.2);
  expect(within.perplexity).toBeLessThan(kernels.perplexity);
  expect(both.perplexity / original).toBeLessThan(1.08);
});

describe('invalid choices are errors', () => {
  test.each([
    [0, 'embeddings'],
    [9, 'embeddings'],
    [{ kernels: 1, frequent: 63 }, 'embeddings.frequent'],
    [{ kernels: 1, frequent: 192 }, 'embeddings.frequent'],
    [{ frequent: 64 }, 'embeddings.kernels'],
    [{ kernels: 1, other: 2 }, 'other'],
    ['int4', 'embeddings'],
  ])('%j', async (embeddings, name) => {
    await expect(small('llama', embeddings as never)).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(name),
    });
  });

  test('frequent tokens without a text', async () => {
    await using model = await Model.load(join(GOLDEN, 'llama'));
    const options = { kernels: 1, embeddings: { kernels: 1, frequent: 64 } };
    await expect(binarize(model, options)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test('a linear layer as a table', async () => {
    const place = join(folder, 'linear');
    await using model = await small('llama', 2);
    await model.save(place);
    const { quantization_config } = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
    const modules = { ...quantization_config.modules };
    modules['model.layers.0.mlp.up_proj'] = modules['model.embed_tokens'];
    changeConfig(place, { quantization_config: { ...quantization_config, modules } });
    await expect(Model.load(place)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });

  test('a file whose marks do not fit its rows', async () => {
    const place = join(folder, 'marks');
    await using model = await small('llama', { kernels: 1, frequent: 64 });
    await model.save(place);
    await using file = await SafetensorsFile.open(join(place, 'model.safetensors'));
    expect(file.entry('lm_head.marks')).toMatchObject({ dtype: 'U8', shape: [1, 1, 20] });
    changeWeights(place, ({ header, data }) => {
      data.fill(
        0xff,
        header['model.embed_tokens.marks']?.data_offsets[0],
        header['model.embed_tokens.marks']?.data_offsets[1],
      );
      return { header, data };
    });
    await using broken = await Model.load(place);
    await expect(broken.logits(IDS)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });
});
