/** Gradient of every operation against central differences along random directions, over random shapes. */

import { appendGradients } from '../../lib/graph/gradients';
import { Graph, type Tensor } from '../../lib/graph/graph';
import { activation, gatedActivation } from '../../lib/graph/operations/activation';
import { add } from '../../lib/graph/operations/add';
import { attention } from '../../lib/graph/operations/attention';
import { embedding } from '../../lib/graph/operations/embedding';
import { type Head, headLogits } from '../../lib/graph/operations/head';
import {
  type HeadLossOptions,
  headCrossEntropy,
  headDivergence,
  headStoredDivergence,
  topTokens,
} from '../../lib/graph/operations/head_loss';
import { layerNorm } from '../../lib/graph/operations/layer_norm';
import { linear } from '../../lib/graph/operations/linear';
import { crossEntropy, HIDDEN_LOSSES, hiddenLoss, klDivergence } from '../../lib/graph/operations/losses';
import { multiBooleanLinear } from '../../lib/graph/operations/multi_boolean_linear';
import { positionEmbedding } from '../../lib/graph/operations/position_embedding';
import { rmsNorm } from '../../lib/graph/operations/rms_norm';
import { rope } from '../../lib/graph/operations/rope';
import { softcap } from '../../lib/graph/operations/softcap';
import { concatenate, split } from '../../lib/graph/operations/split';
import { lossSeed } from '../../lib/graph/operations/training';
import { scale, weightedSum } from '../../lib/graph/operations/weighted_sum';
import { Plan } from '../../lib/graph/plan';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { rotaryTable } from '../../lib/nn/rotary';
import { Random } from '../helpers/random';

/** A builder of one operation over new random operands; `operand` creates a differentiated one. */
interface Bench {
  readonly graph: Graph;
  readonly random: Random;
  readonly rows: number;
  operand(rows: number, cols: number): Tensor;
  constant(matrix: Matrix): Tensor;
  ids(limit: number): Tensor;
}

/** Returns a tensor that is compared with a random target, or a [1, 1] loss. */
type Build = (bench: Bench) => Tensor;

const activationCases = (['silu', 'gelu', 'geluTanh', 'relu'] as const).flatMap((kind): [string, Build][] => [
  [`activation ${kind}`, ({ operand, rows, random }) => activation(operand(rows, random.integer(1, 70)), kind)],
  [
    `gated activation ${kind}`,
    ({ operand, rows, random }) => {
      const cols = random.integer(1, 70);
      return gatedActivation(operand(rows, cols), operand(rows, cols), kind);
    },
  ],
]);

const CASES: readonly [string, Build][] = [
  [
    'add',
    ({ operand, rows, random }) => {
      const cols = random.integer(1, 50);
      const a = operand(rows, cols);
      return add(add(a, operand(rows, cols)), a);
    },
  ],
  ['scale', ({ operand, rows, random }) => scale(operand(rows, random.integer(1, 50)), -1.5)],
  [
    'embedding',
    ({ operand, ids, random }) => {
      const vocabulary = random.integer(2, 9);
      return embedding(operand(vocabulary, random.integer(1, 40)), ids(vocabulary));
    },
  ],
  [
    'linear',
    ({ operand, rows, random }) => {
      const [m, n] = [random.integer(1, 70), random.integer(1, 70)];
      return linear(operand(rows, n), operand(m, n), operand(1, m));
    },
  ],
  [
    'multi-Boolean linear',
    ({ operand, constant, rows, random }) => {
      const [k, m, n] = [random.integer(1, 4), random.integer(1, 70), random.integer(1, 140)];
      const kernels = BitMatrix.fromSigns(random.signs(k * m * n), { rows: k * m, cols: n });
      return multiBooleanLinear(operand(rows, n), constant(kernels), operand(k, m), operand(k, n), operand(1, m));
    },
  ],
  [
    'rms norm',
    ({ operand, rows, random }) => {
      const cols = random.integer(2, 70);
      return rmsNorm(operand(rows, cols), operand(1, cols));
    },
  ],
  [
    'rms norm of groups, its weight around 0',
    ({ operand, rows, random }) => {
      const [groups, cols] = [random.integer(2, 4), random.integer(2, 40)];
      return rmsNorm(operand(rows, groups * cols), operand(1, cols), { offset: 1 });
    },
  ],
  [
    'layer norm',
    ({ operand, rows, random }) => {
      const cols = random.integer(3, 70);
      return layerNorm(operand(rows, cols), operand(1, cols), operand(1, cols));
    },
  ],
  [
    'rope',
    ({ operand, constant, rows, random }) => {
      const headDimension = 2 * random.integer(1, 20);
      const table = rotaryTable({ theta: 100, dimension: headDimension, positions: rows });
      return rope(operand(rows, headDimension * random.integer(1, 3)), constant(table), { headDimension });
    },
  ],
  [
    'rope of a part of each head',
    ({ operand, constant, rows, random }) => {
      const turned = 2 * random.integer(1, 10);
      const headDimension = turned + random.integer(1, 20);
      const table = rotaryTable({ theta: 100, dimension: turned, positions: rows });
      return rope(operand(rows, headDimension * random.integer(1, 3)), constant(table), { headDimension });
    },
  ],
  [
    'position embedding',
    ({ operand, rows, random }) => positionEmbedding(operand(2 + rows, random.integer(1, 80)), rows, 2),
  ],
  [
    'split and concatenate',
    ({ operand, rows, random }) => {
      const widths = [random.integer(1, 40), random.integer(1, 40), random.integer(1, 40)];
      const [a, b, c] = split(
        operand(
          rows,
          widths.reduce((sum, width) => sum + width),
        ),
        widths,
      ) as [Tensor, Tensor, Tensor];
      return concatenate([c, scale(a, 2), b, a]);
    },
  ],
  ['softcap', ({ operand, rows, random }) => softcap(operand(rows, random.integer(1, 70)), 1.5)],
  ...[0, 3].map((window): [string, Build] => [
    window === 0 ? 'grouped attention' : 'attention within a window',
    ({ operand, rows, random }) => {
      const headDimension = 2 * random.integer(1, 20);
      const [groups, keyHeads] = [random.integer(1, 3), random.integer(1, 2)];
      const key = () => operand(rows, headDimension * keyHeads);
      return attention(operand(rows, headDimension * keyHeads * groups), key(), key(), { headDimension, window });
    },
  ]),
  [
    'attention with capped scores',
    ({ operand, rows }) =>
      attention(operand(rows, 32), operand(rows, 16), operand(rows, 16), { headDimension: 8, softcap: 0.8 }),
  ],
  ...activationCases,
  ['cross-entropy', ({ operand, ids, rows }) => crossEntropy(operand(rows, 37), ids(37))],
  [
    'Kullback-Leibler divergence',
    ({ operand, constant, random, rows }) =>
      klDivergence(operand(rows, 37), constant(Matrix.from(random.normals(rows * 37), { rows, cols: 37 }))),
  ],
  ...HIDDEN_LOSSES.map((kind): [string, Build] => [
    `${kind} hidden loss`,
    ({ operand, constant, random, rows }) =>
      hiddenLoss(operand(rows, 19), constant(Matrix.from(random.normals(rows * 19), { rows, cols: 19 })), kind),
  ]),
  [
    'head with cross-entropy',
    ({ operand, constant, ids, random, rows, graph }) => {
      const w = constant(Matrix.from(random.normals(37 * 9), { rows: 37, cols: 9 }));
      const head = { states: operand(rows, 9), table: { weights: w }, cap: 2 };
      return headCrossEntropy(head, ids(37), { seed: lossSeed(graph) });
    },
  ],
  [
    'head with divergence',
    ({ operand, constant, random, rows, graph }) => {
      const matrix = (count: number, cols: number) =>
        constant(Matrix.from(random.normals(count * cols), { rows: count, cols }));
      const teacher = plainHead(matrix(rows, 5), matrix(37, 5));
      return headDivergence(plainHead(operand(rows, 9), matrix(37, 9)), teacher, { seed: lossSeed(graph) });
    },
  ],
  [
    'weighted sum',
    ({ operand }) =>
      weightedSum([
        { value: operand(1, 1), weight: 0.3 },
        { value: operand(1, 1), weight: -2 },
      ]),
  ],
];

/** Rows per run: two sequences, so that operations that mix positions must separate them. */
const LENGTH = 7;
const ROWS = 2 * LENGTH;

async function checkDirection(build: Build, seed: number): Promise<{ measured: number; derived: number }> {
  const random = new Random(seed);
  const graph = new Graph();
  const operands: { matrix: Matrix; tensor: Tensor; gradient: Matrix }[] = [];
  const output = build({
    graph,
    random,
    rows: ROWS,
    constant: (matrix) => graph.bind(matrix),
    ids: (limit) =>
      graph.bind(
        Matrix.from(
          Int32Array.from({ length: ROWS }, () => random.integer(0, limit - 1)),
          { rows: ROWS, cols: 1 },
        ),
      ),
    operand(rows, cols) {
      const matrix = Matrix.from(random.normals(rows * cols), { rows, cols });
      const tensor = graph.bind(matrix);
      operands.push({ matrix, tensor, gradient: new Matrix({ rows, cols }) });
      return tensor;
    },
  });
  const target = Matrix.from(random.normals((output.rows as number) * output.cols), {
    rows: output.rows as number,
    cols: output.cols,
  });
  const isLoss = output.rows === 1 && output.cols === 1;
  const loss = isLoss ? output : hiddenLoss(output, graph.bind(target), 'plain');
  graph.output('loss', loss);
  const forward = new Plan(graph, { maxRows: ROWS });
  const wanted = appendGradients(loss, lossSeed(graph), { wanted: operands.map(({ tensor }) => tensor) });
  const accumulators = new Map(operands.map(({ tensor, gradient }) => [tensor, graph.bind(gradient, 'gradients')]));
  // parameters as results if the rule returns them, as accumulators if it adds
  wanted.forEach((gradient, i) => {
    if (gradient !== undefined) graph.output(`gradient ${i}`, gradient);
  });
  const missing = new Map([...accumulators].filter((_, i) => wanted[i] === undefined));
  appendGradients(loss, lossSeed(graph), { accumulators: missing });
  const backward = new Plan(graph, { maxRows: ROWS });
  const scalars = { rows: ROWS, sequenceLength: LENGTH };
  const results = await backward.run({ scalars });
  let derived = 0;
  const directions = operands.map(({ matrix, gradient }, i) => {
    const direction = random.normals(matrix.rows * matrix.cols);
    const values = results[`gradient ${i}`] ?? gradient.toFloat32();
    values.forEach((value, j) => {
      derived += value * (direction[j] as number);
    });
    return direction;
  });
  const origins = operands.map(({ matrix }) => matrix.toFloat32());
  const step = 2 ** -8;
  const at = async (distance: number) => {
    operands.forEach(({ matrix }, i) => {
      const direction = directions[i] as Float32Array;
      matrix.write((origins[i] as Float32Array).map((value, j) => value + distance * (direction[j] as number)));
    });
    const { loss: value } = await forward.run({ scalars, outputs: ['loss'] });
    return (value as Float32Array)[0] as number;
  };
  // fourth-order central difference
  const [a, b, c, d] = [await at(-2 * step), await at(-step), await at(step), await at(2 * step)];
  forward.dispose();
  backward.dispose();
  return { measured: (a - 8 * b + 8 * c - d) / (12 * step), derived };
}

describe('gradients agree with central differences', () => {
  test.each(CASES)('%s', async (_, build) => {
    for (let seed = 1; seed <= 6; seed++) {
      const { measured, derived } = await checkDirection(build, seed);
      const bound = 2e-3 * Math.max(1, Math.abs(measured));
      expect({ seed, error: Math.abs(derived - measured) < bound ? 0 : derived - measured, measured }).toEqual({
        seed,
        error: 0,
        measured,
      });
    }
  });
});

/** Creates a head without a cap. */
function plainHead(states: Tensor, weights: Tensor): Head {
  return { states, table: { weights }, cap: 0 };
}

type Judge = (graph: Graph, head: Head, options: HeadLossOptions) => Tensor;

/** Computes gradients and losses of a head over `judge`, as separate operations and as one. */
async function bothWays(judge: Judge, cap: number) {
  const random = new Random(5);
  const [rows, cols, vocabulary] = [40, 12, 90];
  const states = random.normals(rows * cols);
  const weights = Matrix.from(random.normals(vocabulary * cols), { rows: vocabulary, cols });
  const results: Float32Array[][] = [];
  for (const whole of [true, false]) {
    const graph = new Graph();
    const x = graph.input('x', { rows, cols });
    const w = graph.bind(weights);
    const gradient = new Matrix({ rows: vocabulary, cols });
    const accumulators = new Map([[w, graph.bind(gradient, 'gradients')]]);
    const seed = lossSeed(graph);
    const loss = judge(graph, { states: x, table: { weights: w }, cap }, whole ? {} : { seed, accumulators });
    const [dx] = appendGradients(loss, seed, { accumulators, wanted: [x] });
    graph.output('loss', loss);
    graph.output('dx', dx as Tensor);
    await using plan = new Plan(graph, { maxRows: rows });
    const { loss: value, dx: given } = await plan.run({ inputs: { x: states }, scalars: { rows, lossScale: 0.25 } });
    results.push([value as Float32Array, given as Float32Array, gradient.toFloat32()]);
    expect(graph.nodes.some(({ name }) => name === 'linear')).toBe(whole);
  }
  return results as [Float32Array[], Float32Array[]];
}

describe.each([0, 2])('a head capped at %d', (cap) => {
  test.each([
    [
      'cross-entropy',
      (graph, head, options) => {
        const ids = Int32Array.from({ length: 40 }, (_, i) => (i % 5 === 2 ? -1 : i));
        const targets = graph.bind(Matrix.from(ids, { rows: 40, cols: 1 }));
        return options.seed ? headCrossEntropy(head, targets, options) : crossEntropy(headLogits(head), targets);
      },
    ],
    [
      'divergence',
      (graph, head, options) => {
        const random = new Random(8);
        const bound = (rows: number, cols: number) =>
          graph.bind(Matrix.from(random.normals(rows * cols), { rows, cols }));
        const teacher = plainHead(bound(40, 6), bound(90, 6));
        if (options.seed) return headDivergence(head, teacher, options);
        return klDivergence(headLogits(head), headLogits(teacher));
      },
    ],
  ] as [string, Judge][])('and its %s in one give what they give by themselves', async (_, judge) => {
    const [whole, fused] = await bothWays(judge, cap);
    whole.forEach((values, i) => {
      const size = Math.hypot(...values);
      const error = Math.hypot(...values.map((value, j) => value - ((fused[i] as Float32Array)[j] as number)));
      expect(error).toBeLessThan(2e-6 * size);
      expect(size).toBeGreaterThan(0);
    });
  });
});

test('a divergence from stored tokens falls to the part of the teacher that was not stored', async () => {
  const random = new Random(6);
  const [rows, cols, vocabulary, k] = [12, 8, 50, 10];
  const weights = Matrix.from(random.normals(vocabulary * cols), { rows: vocabulary, cols });
  const x = random.normals(rows * cols);
  const teacher = new Graph();
  const kept = topTokens(plainHead(teacher.input('x', { rows: 'tokens', cols }), teacher.bind(weights)), k);
  ['kept', 'ids', 'error'].forEach((name, i) => {
    teacher.output(name, kept[i] as Tensor);
  });
  await using first = new Plan(teacher, { maxRows: rows });
  const found = await first.run({ inputs: { x }, scalars: { rows } });
  const student = new Graph();
  const own = plainHead(student.input('x', { rows: 'tokens', cols }), student.bind(weights));
  const seed = lossSeed(student);
  const inputs = {
    stored: student.input('kept', { rows: 'tokens', cols: k + 1 }),
    ids: student.input('ids', { rows: 'tokens', cols: k, type: 'i32' }),
  };
  const loss = headStoredDivergence(own, inputs, { seed });
  student.output('loss', loss);
  await using second = new Plan(student, { maxRows: rows });
  const run = await second.run({
    inputs: { x, kept: found.kept as Float32Array, ids: Int32Array.from(found.ids as Float32Array) },
    scalars: { rows },
  });
  // the student is the teacher: only the rounding of the stored predictions remains
  expect(Math.abs((run.loss as Float32Array)[0] as number)).toBeLessThan(1e-3);
  expect(Math.min(...(found.error as Float32Array))).toBeGreaterThan(0);
});
