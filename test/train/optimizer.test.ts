/** The optimizers against float64 values of another implementation, and the Boolean optimizer's interface. */

import { appendGradients } from '../../lib/graph/gradients';
import { Graph, type Tensor } from '../../lib/graph/graph';
import { booleanLinear } from '../../lib/graph/operations/boolean_linear';
import { klDivergence } from '../../lib/graph/operations/losses';
import { multiBooleanLinear } from '../../lib/graph/operations/multi_boolean_linear';
import { lossSeed } from '../../lib/graph/operations/training';
import { Plan } from '../../lib/graph/plan';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { AdamW } from '../../lib/train/adamw';
import { BOOLEAN_RULES, BooleanOptimizer, type BooleanOptimizerSettings } from '../../lib/train/boolean_optimizer';
import { LatentWeights } from '../../lib/train/latent_weights';
import { schedule } from '../../lib/train/schedule';
import { type GoldenTensor, readGolden } from '../helpers/golden';
import { Random, relativeError } from '../helpers/random';

const matrixOf = ({ data }: GoldenTensor, rows: number, cols: number) =>
  Matrix.from(Float32Array.from(data), { rows, cols });

/** Replays steps of an optimizer on dense signals; yields after each. */
async function* replay(
  optimizer: BooleanOptimizer,
  parameter: { kernels: BitMatrix; sOut?: Matrix; sIn?: Matrix; count: number },
  signals: Float64Array,
  flipRate: number,
) {
  const { rows, cols } = optimizer;
  const graph = new Graph();
  const q = graph.input('q', { rows, cols });
  const { kernels, sOut, sIn, count } = parameter;
  optimizer.update(q, {
    kernels: graph.bind(kernels),
    count,
    ...(sOut && { sOut: graph.bind(sOut) }),
    ...(sIn && { sIn: graph.bind(sIn) }),
  });
  await using plan = new Plan(graph);
  for (let step = 0; step * rows * cols < signals.length; step++) {
    const data = Float32Array.from(signals.subarray(step * rows * cols, (step + 1) * rows * cols));
    await plan.run({ inputs: { q: data }, scalars: { flipRate } });
    yield step;
  }
}

/** A run of another implementation: signals q [steps, m, n], and the results after the last step. */
interface Reference {
  readonly q: GoldenTensor;
  readonly flipRate: number;
  /** Signs before and after. */
  readonly start: GoldenTensor;
  readonly end: GoldenTensor;
  /** Accumulator after the last step. */
  readonly m: GoldenTensor;
  /** Weights moved, and β, of each step. */
  readonly moved: GoldenTensor;
  readonly beta: GoldenTensor;
}

/** Expects that every step moves as many weights as the reference, and that the run ends with its bits. */
async function expectReplay(
  reference: Reference,
  settings: Partial<BooleanOptimizerSettings>,
  scales: { sOut?: Matrix; sIn?: Matrix; count: number },
  tolerance = 1e-5,
) {
  const [, rows, cols] = reference.q.shape as [number, number, number];
  const optimizer = new BooleanOptimizer({ rows, cols, decay: 0, accumulator: 'f32', ...settings });
  const kernels = BitMatrix.fromSigns(reference.start.data, { rows: scales.count * rows, cols });
  expect(optimizer.beta).toBe(0);
  for await (const step of replay(optimizer, { kernels, ...scales }, reference.q.data, reference.flipRate)) {
    expect([step, optimizer.moved]).toEqual([step, reference.moved.data[step]]);
    expect(optimizer.beta).toBeCloseTo(reference.beta.data[step] as number, 6);
  }
  expect(Array.from(kernels.toSigns())).toEqual(Array.from(reference.end.data));
  const accumulator = (optimizer.matrices.get('accumulator') as Matrix).toFloat32();
  expect(relativeError(accumulator, reference.m.data)).toBeLessThan(tolerance);
}

test('the last-kernel rule without normalizer repeats the reference flip by flip', async () => {
  const golden = readGolden('boolean_optimizer.safetensors');
  const reference: Reference = {
    q: golden('q'),
    flipRate: golden('eta').data[0] as number,
    start: golden('w0'),
    end: golden('w'),
    m: golden('m'),
    moved: golden('flips'),
    beta: golden('beta'),
  };
  await expectReplay(reference, { rule: 'lastKernel', normalizer: 'none' }, { count: 1 });
});

describe.each([0, 0.7])('with %d of the evidence retained', (retainedEvidence) => {
  test.each(BOOLEAN_RULES)('the rule %s repeats the reference flip by flip', async (rule) => {
    const golden = readGolden('factors.safetensors');
    const at = (name: string) => golden(`flips${retainedEvidence.toFixed(1)}.${name}`);
    const [moved, beta] = [at('count'), at('beta')];
    const reference: Reference = {
      q: at('Q'),
      flipRate: 0.25,
      start: at('w0'),
      end: at('w'),
      m: at('M'),
      moved,
      beta,
    };
    // with scales of one, a neighbor move is a flip
    const [, rows, cols] = reference.q.shape as [number, number, number];
    const ones = (size: number) => Matrix.from(new Float32Array(size).fill(1), { rows: 1, cols: size });
    const scales = { count: 1, sOut: ones(rows), sIn: ones(cols) };
    await expectReplay(reference, { rule, normalizer: 'factored', retainedEvidence }, scales);
  });
});

test.each([1, 2, 3])('neighbor moves with %i kernels repeat the reference move by move', async (count) => {
  const golden = readGolden('neighbour_moves.safetensors');
  const at = (name: string) => golden(`K${count}.${name}`);
  const [, rows, cols] = at('sign').shape as [number, number, number];
  const reference: Reference = {
    q: at('q'),
    flipRate: golden('eta').data[0] as number,
    start: at('sign0'),
    end: at('sign'),
    m: at('m'),
    moved: at('moves'),
    beta: at('beta'),
  };
  const scales = { sOut: matrixOf(at('s_out'), count, rows), sIn: matrixOf(at('s_in'), count, cols), count };
  await expectReplay(reference, { rule: 'neighbors', normalizer: 'factored' }, scales, 1e-4);
});

test('KL and its gradient agree with the reference', async () => {
  const golden = readGolden('distill.safetensors');
  const cols = golden('student').shape[2] as number;
  const rows = golden('student').data.length / cols;
  const graph = new Graph();
  const student = graph.input('student', { rows: 'tokens', cols });
  const loss = klDivergence(student, graph.input('teacher', { rows: 'tokens', cols }));
  const [gradient] = appendGradients(loss, lossSeed(graph), { wanted: [student] });
  graph.output('loss', loss);
  graph.output('gradient', gradient as Tensor);
  await using plan = new Plan(graph, { maxRows: rows });
  const inputs = Object.fromEntries(
    ['student', 'teacher'].map((name) => [name, Float32Array.from(golden(name).data)] as const),
  );
  const results = await plan.run({ inputs, scalars: { rows } });
  expect((results.loss?.[0] as number) * rows).toBeCloseTo(golden('kl_sum').data[0] as number, 4);
  expect(relativeError(results.gradient as Float32Array, golden('grad_kl_mean_tokens').data)).toBeLessThan(1e-4);
});

describe('the multi-Boolean linear layer', () => {
  const golden = readGolden('multi_boolean_linear.safetensors');
  const [count, m, n] = golden('sign').shape as [number, number, number];
  const rows = golden('x').shape[0] as number;

  /** Computes output and gradients for the upstream gradient z. */
  async function run(kernel: number) {
    const graph = new Graph();
    const x = graph.input('x', { rows: 'tokens', cols: n });
    const z = graph.input('z', { rows: 'tokens', cols: m });
    const kernels = graph.bind(BitMatrix.fromSigns(golden('sign').data, { rows: count * m, cols: n }));
    const sOut = graph.bind(matrixOf(golden('s_out'), count, m));
    const sIn = graph.bind(matrixOf(golden('s_in'), count, n));
    const y = multiBooleanLinear(x, kernels, sOut, sIn);
    const gradients = {
      grad_s_out: new Matrix({ rows: count, cols: m }),
      grad_s_in: new Matrix({ rows: count, cols: n }),
      signal: new Matrix({ rows: m, cols: n }),
    };
    const accumulators = new Map([
      [sOut, graph.bind(gradients.grad_s_out)],
      [sIn, graph.bind(gradients.grad_s_in)],
    ]);
    const booleans = new Map([[kernels, { kind: 'dense', signal: graph.bind(gradients.signal), kernel } as const]]);
    const [dx] = appendGradients(y, z, { accumulators, booleans, wanted: [x] });
    graph.output('y', y);
    graph.output('grad_x', dx as Tensor);
    await using plan = new Plan(graph, { maxRows: rows });
    const inputs = { x: Float32Array.from(golden('x').data), z: Float32Array.from(golden('z').data) };
    const { y: output, grad_x } = await plan.run({ inputs, scalars: { rows } });
    return { y: output, grad_x, ...gradients };
  }

  test.each([0, 1, 2])('agrees with the reference, including the signal of kernel %i', async (kernel) => {
    const { y, grad_x, grad_s_out, grad_s_in, signal } = await run(kernel);
    expect(relativeError(y as Float32Array, golden('y').data)).toBeLessThan(1e-5);
    expect(relativeError(grad_x as Float32Array, golden('grad_x').data)).toBeLessThan(1e-5);
    expect(relativeError(grad_s_out.toFloat32(), golden('grad_s_out').data)).toBeLessThan(1e-5);
    expect(relativeError(grad_s_in.toFloat32(), golden('grad_s_in').data)).toBeLessThan(1e-5);
    const expected = golden('grad_sign').data.subarray(kernel * m * n, (kernel + 1) * m * n);
    expect(relativeError(signal.toFloat32(), expected)).toBeLessThan(1e-5);
  });
});

describe('the Boolean optimizer', () => {
  const ROWS = 40;
  const COLS = 70;
  const COUNT = 2;
  const TOKENS = 120;

  /** Creates a layer with its optimizer; `step` runs one step over micro-batches of these tokens. */
  function layer(settings: Partial<BooleanOptimizerSettings>) {
    const random = new Random(5);
    const kernels = BitMatrix.fromSigns(random.signs(COUNT * ROWS * COLS), { rows: COUNT * ROWS, cols: COLS });
    const scales = (cols: number) =>
      Matrix.from(
        random.normals(COUNT * cols).map((value) => 0.5 + Math.abs(value)),
        { rows: COUNT, cols },
      );
    const optimizer = new BooleanOptimizer({ rows: ROWS, cols: COLS, accumulator: 'f32', ...settings });
    const graph = new Graph();
    const x = graph.input('x', { rows: 'tokens', cols: COLS });
    const z = graph.input('z', { rows: 'tokens', cols: ROWS });
    const bound = graph.bind(kernels);
    const y = multiBooleanLinear(x, bound, graph.bind(scales(ROWS)), graph.bind(scales(COLS)));
    appendGradients(y, z, { booleans: new Map([[bound, optimizer.target(graph)]]) });
    const plan = new Plan(graph, { maxRows: TOKENS });
    const step = async (data: { x: Float32Array; z: Float32Array }, microBatches: number) => {
      const rows = TOKENS / microBatches;
      for (let index = 0; index < microBatches; index++) {
        const part = (values: Float32Array, cols: number) =>
          values.subarray(index * rows * cols, (index + 1) * rows * cols);
        const inputs = { x: part(data.x, COLS), z: part(data.z, ROWS) };
        const [first, last] = [Number(index === 0), Number(index === microBatches - 1)];
        await plan.run({ inputs, scalars: { rows, flipRate: 0.3, microBatches, first, last } });
      }
    };
    return { kernels, optimizer, step, plan };
  }

  const batches = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 6 }, () => ({ x: random.normals(TOKENS * COLS), z: random.normals(TOKENS * ROWS) }));
  };

  test('takes the same steps for a batch at once and in parts without a normalizer', async () => {
    const [whole, parts] = [layer({ normalizer: 'none' }), layer({ normalizer: 'none' })];
    for (const batch of batches(9)) {
      await whole.step(batch, 1);
      await parts.step(batch, 3);
      expect(parts.optimizer.moved).toBe(whole.optimizer.moved);
      expect(parts.optimizer.beta).toBe(whole.optimizer.beta);
    }
    expect(whole.optimizer.moved).toBeGreaterThan(0);
    expect(parts.kernels.toSigns()).toEqual(whole.kernels.toSigns());
  });

  test.each([0, 0.9])('takes similar steps in parts with a normalizer, decay %d', async (decay) => {
    const [whole, parts] = [layer({ decay }), layer({ decay })];
    const start = whole.kernels.toSigns();
    for (const batch of batches(11)) {
      await whole.step(batch, 1);
      await parts.step(batch, 3);
    }
    const [a, b] = [whole.kernels.toSigns(), parts.kernels.toSigns()];
    const differences = (other: Int8Array) => a.reduce((count, sign, i) => count + Number(sign !== other[i]), 0);
    expect(differences(b)).toBeLessThan(0.4 * differences(start));
  });

  test('changes no bit before the last micro-batch, and by the last-kernel rule only those of the last kernel', async () => {
    const { kernels, step, optimizer } = layer({ rule: 'lastKernel' });
    const before = kernels.toSigns();
    for (const batch of batches(3)) await step(batch, 2);
    const after = kernels.toSigns();
    const size = ROWS * COLS;
    expect(after.subarray(0, size)).toEqual(before.subarray(0, size));
    expect(after.subarray(size)).not.toEqual(before.subarray(size));
    expect(optimizer.beta).toBeCloseTo(1 - optimizer.moved / size, 6);
  });

  test.each(['f16', 'bf16'] as const)('keeps its accumulator in %s', async (accumulator) => {
    const { optimizer, step } = layer({ accumulator });
    for (const batch of batches(4)) await step(batch, 1);
    const matrix = optimizer.matrices.get('accumulator') as Matrix;
    expect([matrix.type, matrix.byteLength]).toEqual([accumulator, ROWS * COLS * 2]);
    expect(optimizer.moved).toBeGreaterThan(0);
  });

  test.each([
    [{ rule: 'first' }, /'rule'/],
    [{ normalizer: 'max' }, /'normalizer'/],
    [{ decay: 1 }, /'decay'/],
    [{ accumulator: 'i8' }, /'accumulator'/],
    [{ retainedEvidence: 1 }, /'retainedEvidence'/],
    [{ rate: -1 }, /'rate'/],
    [{ rows: 0 }, /'rows'/],
  ])('refuses %j', (wrong, message) => {
    const make = () => new BooleanOptimizer({ rows: 2, cols: 2, ...(wrong as object) });
    expect(make).toThrow(
      expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });
});

describe('AdamW', () => {
  test('follows its definition including clipping, in parts and at once', async () => {
    const random = new Random(2);
    const start = random.normals(12);
    const settings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clip: 0.5 };
    const learningRate = 0.01;
    const w = Matrix.from(start, { rows: 3, cols: 4 });
    const optimizer = new AdamW(new Map([['w', w]]), settings);
    const graph = new Graph();
    const table = graph.bind(w);
    const bias = graph.input('b', { rows: 1, cols: 4 });
    const accumulators = optimizer.accumulators(graph);
    // adds b to every row of the gradient
    const gradient = accumulators.get(table) as Tensor;
    const ones = graph.bind(Matrix.from(new Float32Array(3).fill(1), { rows: 1, cols: 3 }));
    graph.emit('linear_gradient_weight', [ones, bias], [gradient], [0]);
    graph.output('norm', optimizer.step(graph) as Tensor);
    await using plan = new Plan(graph);
    const expected = Float64Array.from(start);
    const [first, second] = [new Float64Array(12), new Float64Array(12)];
    for (let step = 1; step <= 5; step++) {
      const parts = [random.normals(4), random.normals(4)];
      for (const [index, b] of parts.entries()) {
        const scalars = { learningRate, step, first: 1 - index, last: index, microBatches: 2 };
        const { norm } = await plan.run({ inputs: { b }, scalars });
        if (index === 0) continue;
        const g = Float64Array.from({ length: 12 }, (_, i) => (parts[0]?.[i % 4] as number) + (b[i % 4] as number));
        const length = Math.hypot(...g);
        expect(norm?.[0]).toBeCloseTo(length, 4);
        const scale = Math.min(1, settings.clip / (length + 1e-6));
        g.forEach((value, i) => {
          first[i] = 0.9 * (first[i] as number) + 0.1 * value * scale;
          second[i] = 0.95 * (second[i] as number) + 0.05 * (value * scale) ** 2;
          const root = Math.sqrt((second[i] as number) / (1 - 0.95 ** step)) + 1e-8;
          const kept = (expected[i] as number) * (1 - learningRate * 0.1);
          expected[i] = kept - (learningRate * (first[i] as number)) / (1 - 0.9 ** step) / root;
        });
      }
    }
    expect(relativeError(w.toFloat32(), expected)).toBeLessThan(1e-5);
  });
});

test('latent weights of a Boolean layer cross zero against their gradient, and the bits follow', async () => {
  const [rows, m, n] = [5, 3, 70];
  const random = new Random(4);
  const [x, start, z] = [random.signs(rows * n), random.signs(m * n), random.normals(rows * m)];
  const kernels = BitMatrix.fromSigns(start, { rows: m, cols: n });
  const latents = new LatentWeights(kernels, 1);
  const graph = new Graph();
  const w = graph.bind(kernels);
  const y = booleanLinear(graph.bind(BitMatrix.fromSigns(x, { rows, cols: n })), w);
  const upstream = graph.bind(Matrix.from(z, { rows, cols: m }));
  appendGradients(y, upstream, { booleans: new Map([[w, latents.target(graph)]]) });
  latents.step(graph);
  await using plan = new Plan(graph);
  const against = Array.from(start, (_, index) => {
    const [row, col] = [Math.floor(index / n), index % n];
    let signal = 0;
    for (let i = 0; i < rows; i++) signal += (z[i * m + row] as number) * (x[i * n + col] as number);
    return -Math.sign(signal);
  });
  // Adam's first step is the learning rate for any gradient; latents start 0.02 from zero
  await plan.run({ scalars: { learningRate: 0.019, step: 1 } });
  expect(Array.from(kernels.toSigns())).toEqual(Array.from(start));
  await plan.run({ scalars: { learningRate: 0.019, step: 2 } });
  expect(Array.from(kernels.toSigns())).toEqual(against);
});

test('the schedule warms up over 3 % of the steps and falls like half a cosine', () => {
  expect(schedule(0, 300)).toBeCloseTo(1 / 10, 12);
  expect(schedule(4, 300)).toBeCloseTo(0.5 * 0.5 * (1 + Math.cos((4 * Math.PI) / 300)), 12);
  expect(schedule(150, 300)).toBeCloseTo(0.5, 12);
  expect(schedule(299, 300)).toBeGreaterThan(0);
  expect(schedule(299, 300)).toBeLessThan(1e-4);
  expect(schedule(0, 1)).toBeCloseTo(1 / 1.03, 12);
});
