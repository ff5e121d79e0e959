/** Conversion: decompositions and calibration against golden values, whole models against the published residuals. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { sharedInputs, traceBlock } from '../../lib/compress/block_trace';
import { loadedSource } from '../../lib/compress/dense_source';
import { collectMoments, disposeMoments, prepareMoments } from '../../lib/compress/input_moments';
import { calibrateMatrix } from '../../lib/compress/kernels/calibrated_matrix';
import { SVID_ITERATIONS } from '../../lib/compress/kernels/decompose';
import { refit } from '../../lib/compress/kernels/refit';
import { svid } from '../../lib/compress/kernels/svid';
import { relativeResidual } from '../../lib/compress/relative_residual';
import { MemoryStateStore } from '../../lib/compress/state_store';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Graph, type Tensor } from '../../lib/graph/graph';
import { calibrationTarget } from '../../lib/graph/operations/kernel_fit';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import type { StoredMatrix } from '../../lib/models/stored_matrix';
import { Matrix } from '../../lib/native/matrix';
import { kernelsFormat } from '../../lib/structures/kernels';
import { type GoldenTensor, readGolden } from '../helpers/golden';
import { Random, relativeError } from '../helpers/random';
import { runTypeScript } from '../helpers/run_typescript';

const TINY_STORIES = join(__dirname, '../../assets/tiny-stories');
const corpus = (name: 'train' | 'valid') => readFileSync(join(TINY_STORIES, 'corpus', `${name}.txt`), 'utf8');

const TOLERANCE = 1e-4;
/** Distance below which a choice of sign is a tie and may go either way. */
const TIE = 1e-5;

function matrix({ data, shape }: GoldenTensor): Matrix {
  const [rows, cols] = shape as [number, number];
  return Matrix.from(Float32Array.from(data), { rows, cols });
}

/** Returns the indices at which signs differ from the golden ones. */
function differences(signs: Int8Array, golden: Float64Array): number[] {
  return [...golden.keys()].filter((i) => signs[i] !== golden[i]);
}

describe('successive SVID', () => {
  const golden = readGolden('svid.safetensors');
  const residuals = JSON.parse(readFileSync(join(__dirname, '../golden/svid_residuals.json'), 'utf8')) as Record<
    string,
    number[]
  >;

  test.each(Object.keys(residuals))('of a %s matrix is the golden one', async (name) => {
    const { data, shape } = golden(`${name}.W`);
    const [rows, cols] = shape as [number, number];
    const result = await svid(Float32Array.from(data), { rows, cols, kernels: 4 });
    const signs = result.kernels.toSigns();
    const [sOut, sIn] = [result.sOut.toFloat32(), result.sIn.toFloat32()];
    const rest = Float64Array.from(data);
    for (let k = 0; k < 4; k++) {
      const [sign, out, into] = ['sign', 's_out', 's_in'].map((part) => golden(`${name}.${k}.${part}`).data) as [
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      const own = signs.subarray(k * rows * cols, (k + 1) * rows * cols);
      for (const i of differences(own, sign)) expect(Math.abs(rest[i] as number)).toBeLessThanOrEqual(TIE / 2);
      expect(relativeError(sOut.subarray(k * rows, (k + 1) * rows), out)).toBeLessThanOrEqual(TOLERANCE);
      expect(relativeError(sIn.subarray(k * cols, (k + 1) * cols), into)).toBeLessThanOrEqual(TOLERANCE);
      for (let i = 0; i < rest.length; i++) {
        const level = (out[Math.floor(i / cols)] as number) * (sign[i] as number) * (into[i % cols] as number);
        rest[i] = (rest[i] as number) - level;
      }
    }
    expect(relativeError(result.residuals, residuals[name] as number[])).toBeLessThanOrEqual(TOLERANCE);
    expect(result.residual).toBe(result.residuals[3]);
    result.dispose();
  });

  test('of zeros is zero', async () => {
    const result = await svid(new Float32Array(15), { rows: 3, cols: 5, kernels: 2 });
    expect([...result.sOut.toFloat32(), ...result.sIn.toFloat32()].every((scale) => scale === 0)).toBe(true);
    expect(result.residual).toBe(0);
    result.dispose();
  });
});

describe('joint refit', () => {
  const golden = readGolden('refit.safetensors');
  const { data, shape } = golden('W');
  const [rows, cols] = shape as [number, number];

  test.each([2, 3, 4].flatMap((kernels) => [1, 10].map((rounds) => [kernels, rounds] as const)))(
    'of %i kernels in %i rounds is the golden one',
    async (kernels, rounds) => {
      const result = await refit(Float32Array.from(data), { rows, cols, kernels, rounds });
      const part = (name: string) => golden(`K${kernels}.rounds${rounds}.${name}`).data;
      const [sOut, sIn, sign] = [part('s_out'), part('s_in'), part('sign')];
      expect(relativeError(result.sOut.toFloat32(), sOut)).toBeLessThanOrEqual(TOLERANCE);
      expect(relativeError(result.sIn.toFloat32(), sIn)).toBeLessThanOrEqual(TOLERANCE);
      expect(Math.abs(result.residual - (part('residual')[0] as number))).toBeLessThanOrEqual(1e-5);
      const before = golden(`K${kernels}.residual_before`).data[0] as number;
      expect(Math.abs((result.residuals.at(-1) as number) - before)).toBeLessThanOrEqual(1e-5);
      const signs = result.kernels.toSigns();
      const distance = (choice: ArrayLike<number>, i: number) => {
        let level = 0;
        for (let k = 0; k < kernels; k++) {
          const scales = (sOut[k * rows + Math.floor(i / cols)] as number) * (sIn[k * cols + (i % cols)] as number);
          level += (choice[k * rows * cols + i] as number) * scales;
        }
        return Math.abs((data[i] as number) - level);
      };
      for (const at of differences(signs, sign)) {
        const i = at % (rows * cols);
        expect(Math.abs(distance(signs, i) - distance(sign, i))).toBeLessThanOrEqual(TIE);
      }
      result.dispose();
    },
  );

  test('of one kernel leaves SVID as it is', async () => {
    const weight = Float32Array.from(data);
    const plain = await svid(weight, { rows, cols, kernels: 1 });
    const result = await refit(weight, { rows, cols, kernels: 1 });
    expect(Math.abs(result.residual - plain.residual)).toBeLessThanOrEqual(1e-6);
  });
});

describe('calibrated conversion of one matrix', () => {
  const golden = readGolden('calibrated.safetensors');
  const GOLDEN_DAMPING = 0.01;
  const weight = matrix(golden('W'));
  const settings = { iterations: SVID_ITERATIONS, refitRounds: 0, rounds: 1, columnPower: 0 };

  /** Prepares H and, for a mix a, R = a · W (C − H); the golden target is W + R Ĥ⁻¹. */
  async function prepare(mix: number, rounds = 1) {
    const { rows, cols } = weight;
    const [w, h, c] = ['W', 'H', 'C'].map((name) => golden(name).data) as [Float64Array, Float64Array, Float64Array];
    const r = new Float32Array(rows * cols);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) {
        let sum = 0;
        for (let l = 0; l < cols; l++) {
          const at = l * cols + j;
          sum += (w[i * cols + l] as number) * ((c[at] as number) - (h[at] as number));
        }
        r[i * cols + j] = mix * sum;
      }
    }
    const corrections = new Map(mix === 0 ? [] : [['module', Matrix.from(r, { rows, cols })]]);
    const moments = await prepareMoments({ h: matrix(golden('H')), corrections }, undefined, GOLDEN_DAMPING);
    const convert = (kernels: number) =>
      calibrateMatrix(weight, { module: 'module', moments }, { ...settings, kernels, rounds }, undefined);
    return { moments, convert };
  }

  test('aims at the golden target', async () => {
    const { moments } = await prepare(0.5);
    const target = new Matrix(weight);
    const graph = new Graph();
    const { factor, order } = moments.compensation as { factor: Matrix; order: Matrix };
    const r = graph.bind(moments.corrections.get('module') as Matrix);
    const bound = { factor: graph.bind(factor), order: graph.bind(order) };
    calibrationTarget(graph.bind(weight), r, bound, graph.bind(target));
    await using plan = new Plan(graph);
    await plan.run();
    expect(relativeError(target.toFloat32(), golden('a0.5.target').data)).toBeLessThanOrEqual(TOLERANCE);
    disposeMoments(moments);
  });

  test.each(['0.0', '0.5'].flatMap((mix) => [1, 2, 3].map((kernels) => [mix, kernels] as const)))(
    'is the golden one for a = %s and %i kernels',
    async (mix, kernels) => {
      const { moments, convert } = await prepare(Number(mix));
      const { matrices, error } = await convert(kernels);
      const part = (name: string) => golden(`a${mix}.K${kernels}.${name}`).data;
      expect(differences(matrices.kernels.toSigns(), part('sign'))).toEqual([]);
      expect(relativeError(matrices.sOut.toFloat32(), part('s_out'))).toBeLessThanOrEqual(TOLERANCE);
      expect(relativeError(matrices.sIn.toFloat32(), part('s_in'))).toBeLessThanOrEqual(TOLERANCE);
      expect(relativeError([error], part('relative_error'))).toBeLessThanOrEqual(TOLERANCE);
      disposeMoments(moments);
    },
  );

  test('further rounds never make the outputs worse', async () => {
    const errors: number[] = [];
    for (const rounds of [1, 2, 4]) {
      const { moments, convert } = await prepare(0, rounds);
      errors.push((await convert(2)).error);
      disposeMoments(moments);
    }
    expect(errors).toEqual([...errors].sort((a, b) => b - a));
    expect(errors[1]).toBeLessThan(errors[0] as number);
  });

  test('starts closer in outputs from columns that are weighed by their inputs', async () => {
    const { moments } = await prepare(0);
    const errorOf = async (columnPower: number) => {
      const given = { ...settings, kernels: 3, refitRounds: 10, columnPower };
      return (await calibrateMatrix(weight, { module: 'module', moments }, given, undefined)).error;
    };
    expect(await errorOf(0.5)).toBeLessThan(await errorOf(0));
    disposeMoments(moments);
  });

  test('for inputs that are all zero is the data-free one', async () => {
    const { rows, cols } = weight;
    const corrections = new Map([['module', new Matrix({ rows, cols })]]);
    const moments = await prepareMoments({ h: new Matrix({ rows: cols, cols }), corrections }, undefined);
    const given = { ...settings, kernels: 2, rounds: 2, columnPower: 0.5 };
    const { matrices } = await calibrateMatrix(weight, { module: 'module', moments }, given, undefined);
    const plain = await svid(weight.toFloat32(), { rows, cols, kernels: 2 });
    expect(matrices.kernels.toSigns()).toEqual(plain.kernels.toSigns());
    expect(matrices.sOut.toFloat32()).toEqual(plain.sOut.toFloat32());
  });
});

/**
 * Layers that share an input: the hidden states to which they are relative, their residual, and the norm after them.
 */
interface MomentsCase {
  readonly modules: readonly string[];
  readonly relative?: string;
  readonly residual?: string;
  readonly norm?: string;
}

const PLAIN: readonly MomentsCase[] = [
  { modules: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'] },
  { modules: ['self_attn.o_proj'], relative: 'middle', residual: 'begin' },
  { modules: ['mlp.gate_proj', 'mlp.up_proj'], relative: 'middle' },
  { modules: ['mlp.down_proj'], relative: 'end', residual: 'middle' },
];
const NORMS: Readonly<Record<string, string>> = {
  begin: 'post_attention_layernorm',
  middle: 'post_feedforward_layernorm',
};
const NORMED = PLAIN.map((item) => (item.residual === undefined ? item : { ...item, norm: NORMS[item.residual] }));

test.each([
  ['llama-bias', PLAIN],
  ['gemma2', NORMED],
  ['gemma3', NORMED],
] as const)(
  'moments of %s are those of what each layer sees in the converted model and lacks of the original',
  async (family, cases) => {
    await using model = await Model.load(join(__dirname, '../golden', family));
    const hidden = model.config.hiddenSize;
    const [length, rows] = [8, 24];
    const aims = { targetMix: 0.25, residualMix: 0.75 };
    const random = new Random(5);
    const given = { student: random.normals(rows * hidden), teacher: random.normals(rows * hidden) };
    const states = new MemoryStateStore();
    for (const side of ['student', 'teacher'] as const) {
      for (const chunk of [0, 1, 2]) {
        await states.write(
          side,
          1,
          chunk,
          given[side].subarray(chunk * length * hidden, (chunk + 1) * length * hidden),
        );
      }
    }
    const walk = { source: loadedSource(coreOf(model)), length, precision: 'f32', states, signal: undefined } as const;

    const graph = new Graph();
    for (const side of ['student', 'teacher'] as const) {
      const x = graph.input(side, { rows: 'tokens', cols: hidden });
      const constants = coreOf(model).constants(length);
      const builder = coreOf(model).builder(graph);
      graph.output(`${side} end`, coreOf(model).family.block(builder, 1, x, coreOf(model).config, constants));
      graph.output(`${side} middle`, builder.residuals[0]?.sum as Tensor);
      for (const { module, input } of builder.linears) {
        const name = /(q_proj|o_proj|gate_proj|down_proj)$/.exec(module)?.[0];
        if (name !== undefined) graph.output(`${side} ${name}`, input);
      }
    }
    await using plan = new Plan(graph, { maxRows: rows });
    const seen = await plan.run({ inputs: given, scalars: { rows, sequenceLength: length } });
    const part = (name: string): Float32Array =>
      seen[name] ?? (name.startsWith('student') ? given.student : given.teacher);

    const block = { parameters: coreOf(model).parameters, formats: model.formats };
    const trace = traceBlock(walk, 1, block, new Graph().input('x', { rows: 'tokens', cols: hidden }));
    const path = (module: string) => `model.layers.1.${module}`;
    expect(sharedInputs(trace)).toEqual(cases.map(({ modules }) => modules.map(path)));

    for (const { modules, relative, residual, norm } of cases) {
      const sides = { student: block, teacher: block };
      const moments = await collectMoments(walk, { layer: 1, modules: modules.map(path), sides, aims });
      const input = /\w+$/.exec(modules[0] as string)?.[0];
      const [own, original] = [part(`student ${input}`), part(`teacher ${input}`)];
      // for a layer before a norm: the sizes of its outputs, and the gains of the norm
      const outputs = product(own, coreOf(model).parameters.get(`${path(modules[0] as string)}.weight`) as Matrix);
      const gains =
        norm && (coreOf(model).parameters.get(`${path(norm)}.weight`) as Matrix).toFloat32().map((w) => 1 + w);
      const weights = Float64Array.from({ length: rows }, (_, row) => {
        if (relative === undefined) return 1;
        const ofHidden = 1 / meanSquare(part(`teacher ${relative}`), row, hidden);
        return norm === undefined ? ofHidden : ofHidden / meanSquare(outputs, row, hidden);
      });
      expect(relativeError(moments.h.toFloat32(), gram(own, own, weights))).toBeLessThanOrEqual(1e-5);
      for (const module of modules) {
        const weight = coreOf(model).parameters.get(`${path(module)}.weight`) as Matrix;
        const lacks = product(
          original.map((value, i) => value - (own[i] as number)),
          weight,
        ).map((value) => aims.targetMix * value);
        if (residual !== undefined) {
          const [wanted, seen] = [part(`teacher ${residual}`), part(`student ${residual}`)];
          const z = Float64Array.from(wanted, (value, at) => value - (seen[at] as number));
          const added = gains ? beforeNorm(z, outputs, gains) : z;
          for (const [at, value] of added.entries()) lacks[at] = (lacks[at] as number) + aims.residualMix * value;
        }
        const correction = moments.corrections.get(path(module)) as Matrix;
        expect(relativeError(correction.toFloat32(), gram(lacks, own, weights))).toBeLessThanOrEqual(1e-5);
      }
      disposeMoments(moments);
    }
  },
);

/** Computes x wᵀ in float64. */
function product(x: Float32Array, weight: Matrix): Float64Array {
  const { rows: m, cols: n } = weight;
  const w = weight.toFloat32();
  return Float64Array.from({ length: (x.length / n) * m }, (_, at) => {
    const [row, i] = [Math.floor(at / m), at % m];
    let sum = 0;
    for (let j = 0; j < n; j++) sum += (x[row * n + j] as number) * (w[i * n + j] as number);
    return sum;
  });
}

/** Computes what y lacks for its norm to gain z, row by row. */
function beforeNorm(z: Float64Array, y: Float64Array, gains: Float32Array): Float64Array {
  const cols = gains.length;
  const u = z.map((error, at) => {
    const gain = gains[at % cols] as number;
    return (gain * error) / (gain * gain + error * error);
  });
  return u.map((value, at) => {
    const row = Math.floor(at / cols);
    const rho = Math.sqrt(meanSquare(y, row, cols) + 1e-6);
    const unit = y.subarray(row * cols, (row + 1) * cols).map((own) => own / rho);
    const along = unit.reduce((sum, own, j) => sum + (own * (u[row * cols + j] as number)) / cols, 0);
    return rho * (value - along * (unit[at % cols] as number));
  });
}

function meanSquare(x: Float32Array | Float64Array, row: number, cols: number): number {
  let sum = 0;
  for (const value of x.subarray(row * cols, (row + 1) * cols)) sum += value * value;
  return sum / cols;
}

/** Computes the mean over rows of weight · xᵀ y, in float64. */
function gram(x: Float32Array | Float64Array, y: Float32Array, weights: Float64Array): Float64Array {
  const rows = weights.length;
  const [m, n] = [x.length / rows, y.length / rows];
  const sum = new Float64Array(m * n);
  weights.forEach((weight, r) => {
    for (let i = 0; i < m; i++) {
      const left = ((x[r * m + i] as number) * weight) / rows;
      for (let j = 0; j < n; j++) sum[i * n + j] = (sum[i * n + j] as number) + left * (y[r * n + j] as number);
    }
  });
  return sum;
}

/** Prints a digest of everything in a calibrated model. */
const THREADS_PROGRAM = `
  import { createHash } from 'node:crypto';
  import { readFileSync } from 'node:fs';
  import { binarize } from './lib/compress/binarize';
  import { coreOf, Model } from './lib/model';
  void (async () => {
    const model = await Model.load('assets/tiny-stories');
    const data = readFileSync('assets/tiny-stories/corpus/valid.txt', 'utf8');
    const calibration = { data, windows: 9, length: 64, targetMix: 0.5, rounds: 2 };
    const small = await binarize(model, { kernels: 2, method: 'calibrated', calibration });
    const hash = createHash('sha256');
    for (const matrix of coreOf(small).parameters.values()) hash.update(matrix.raw());
    process.stdout.write(hash.digest('hex'));
  })();
`;

describe('binarize', () => {
  let model: Model;
  let folder: string;
  beforeAll(async () => {
    model = await Model.load(TINY_STORIES);
    folder = mkdtempSync(join(tmpdir(), 'mbok-compress-'));
  });
  afterAll(() => {
    model.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  const RESIDUALS = { svid: [0.597, 0.3545, 0.2347, 0.1728], refit: [0.597, 0.332, 0.182, 0.102] } as const;
  const published = (['svid', 'refit'] as const).flatMap((method) =>
    RESIDUALS[method].map((residual, i) => [method, i + 1, residual] as const),
  );

  test.each(published)('by %s to %i kernels leaves a mean residual of %d', async (method, kernels, residual) => {
    await using small = await binarize(model, { kernels, method });
    expect(Math.abs((small.conversion?.residual as number) - residual)).toBeLessThanOrEqual(0.001);
    expect(Object.keys(small.conversion?.residuals ?? {})).toEqual([...small.kernels.keys()]);
    const [module, reported] = Object.entries(small.conversion?.residuals ?? {})[3] as [string, number];
    await small.arrangeFor('training');
    const parts = coreOf(small).parts.filter(({ owner }) => owner.name === `${module}.weight`);
    const matrices = parts.map((part) => ({ part, ...(coreOf(small).stored.get(part.name) as StoredMatrix) }));
    const weight = coreOf(model).parameters.get(`${module}.weight`) as Matrix;
    const format = kernelsFormat(kernels);
    expect(await relativeResidual(weight, { format, matrices }, undefined)).toBe(reported);
  });

  test('leaves the model as it was, and embeddings, head and norms as they were', async () => {
    const before = await model.logits([1, 2, 3]);
    await using small = await binarize(model, { kernels: 1, method: 'svid' });
    expect(relativeError((await model.logits([1, 2, 3])).data, before.data)).toBe(0);
    for (const [name, own] of coreOf(small).parameters) {
      if (/boolean_kernels|s_out|s_in/.test(name)) continue;
      const original = coreOf(model).parameters.get(name) as Matrix;
      expect(own.raw()).toEqual(original.raw());
      expect(own).not.toBe(original);
    }
  });

  test('gives a model that reloads to the same logits and tells how it was converted', async () => {
    await using small = await binarize(model, { kernels: 2 });
    await small.save(join(folder, 'saved'));
    await using again = await Model.load(join(folder, 'saved'));
    const ids = [0, 5, 9, 300];
    expect(relativeError((await again.logits(ids)).data, (await small.logits(ids)).data)).toBe(0);
    expect(again.conversion).toEqual(small.conversion);
    expect(again.conversion?.method).toBe('refit');
  });

  test.each(['llama', 'llama-bias', 'llama-tied-rope3'])('converts %s, whose biases stay', async (family) => {
    await using dense = await Model.load(join(__dirname, '../golden', family));
    const data = Array.from({ length: 600 }, (_, i) => (i * i * 7 + i) % dense.config.vocabularySize);
    const reference = (await dense.logits(data.slice(0, 40))).data;
    const errors: number[] = [];
    for (const kernels of [1, 4, 8]) {
      await using small = await binarize(dense, { kernels });
      const { data: logits } = await small.logits(data.slice(0, 40));
      errors.push(relativeError(logits, reference));
      const biases = [...coreOf(dense).parameters.keys()].filter((name) => name.endsWith('.bias'));
      for (const name of biases) {
        expect(coreOf(small).parameters.get(name)?.toFloat32()).toEqual(
          coreOf(dense).parameters.get(name)?.toFloat32(),
        );
      }
    }
    expect(errors).toEqual([...errors].sort((a, b) => b - a));
    expect(errors[2]).toBeLessThan(0.05);
  });

  test('calibrated keeps more of the model than the refit, and says how', async () => {
    const calibration = { data: corpus('train'), windows: 16, length: 128 };
    await using small = await binarize(model, { kernels: 2, method: 'calibrated', calibration });
    await using plain = await binarize(model, { kernels: 2 });
    const valid = corpus('valid');
    const judge = { window: 128, maxWindows: 64 };
    const { perplexity } = await evaluatePerplexity(small, valid, judge);
    expect(perplexity).toBeLessThan((await evaluatePerplexity(plain, valid, judge)).perplexity);

    expect(small.conversion?.calibration).toEqual({
      windows: 16,
      length: 128,
      tokens: 2048,
      startToken: 'stream',
      targetMix: 0.5,
      residualMix: 0.5,
      rounds: 3,
      damping: 0.03,
      precision: 'bf16',
    });
    await small.save(join(folder, 'calibrated'));
    await using again = await Model.load(join(folder, 'calibrated'));
    expect(again.conversion).toEqual(small.conversion);
  });

  test('calibrated takes given settings, and fewer windows from a short text', async () => {
    const random = new Random(3);
    const data = Array.from({ length: 400 }, () => random.integer(0, model.config.vocabularySize - 1));
    const settings = { length: 64, targetMix: 0.25, residualMix: 0, rounds: 1, precision: 'f32' } as const;
    await using small = await binarize(model, { kernels: 1, method: 'calibrated', calibration: { data, ...settings } });
    const report = { windows: 6, tokens: 384, startToken: 'stream', damping: 0.03, ...settings };
    expect(small.conversion?.calibration).toEqual(report);
  });

  test('gives the same bits and scales for any number of threads', () => {
    const digest = (threads: number) => {
      const { status, stdout, stderr } = runTypeScript(THREADS_PROGRAM, { env: { MBOK_THREADS: String(threads) } });
      if (status !== 0) throw new Error(stderr);
      return stdout;
    };
    const one = digest(1);
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    expect([digest(2), digest(3)]).toEqual([one, one]);
  });

  test('tells its progress, module by module', async () => {
    const seen: { done: number; what: string }[] = [];
    await using small = await binarize(model, { kernels: 1, onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ what }) => what).slice(0, -1)).toEqual([...small.kernels.keys()]);
    expect(seen.map(({ done }) => done)).toEqual([...seen.map(({ done }) => done)].sort((a, b) => a - b));
    expect(seen.at(-1)?.done).toBe(1);
  });

  const ids = Array.from({ length: 200 }, (_, i) => i);
  const calibration = { data: ids, length: 32 };
  const METHOD = { kernels: 1, method: 'calibrated' } as const;
  test.each<[string, unknown]>([
    ['options that are null', null],
    ['two sizes', { kernels: 2, bits: 2 }],
    ['kernels: 0', { kernels: 0 }],
    ['kernels: 17', { kernels: 17 }],
    ['kernels: 1.5', { kernels: 1.5 }],
    ["kernels: '2'", { kernels: '2' }],
    ['an unknown method', { kernels: 1, method: 'magic' }],
    ['an unknown option', { kernels: 1, round: 3 }],
    ['rounds: 0', { kernels: 1, rounds: 0 }],
    ['calibration missing', METHOD],
    ['calibration for another method', { kernels: 1, method: 'refit', calibration }],
    ['calibration without data', { ...METHOD, calibration: {} }],
    ['calibration by an empty text', { ...METHOD, calibration: { data: '' } }],
    ['calibration by a blank text', { ...METHOD, calibration: { data: ' \n' } }],
    ['calibration by ids outside the vocabulary', { ...METHOD, calibration: { data: [2048] } }],
    ['calibration by less than a window', { ...METHOD, calibration: { data: [1, 2, 3], length: 4 } }],
    ['windows longer than the limit', { ...METHOD, calibration: { ...calibration, length: 513 } }],
    ['no windows', { ...METHOD, calibration: { ...calibration, windows: 0 } }],
    ['a mix above 1', { ...METHOD, calibration: { ...calibration, targetMix: 2 } }],
    ['no rounds of calibration', { ...METHOD, calibration: { ...calibration, rounds: 0 } }],
  ])('refuses %s', async (_, given) => {
    await expect(binarize(model, given as BinarizeOptions)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test('refuses a model that is Boolean already, one that is disposed, and what is no model', async () => {
    const small = await binarize(model, { kernels: 1, method: 'svid' });
    await expect(binarize(small, { kernels: 1 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
    small.dispose();
    await expect(binarize(small, { kernels: 1 })).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
    await expect(binarize({} as Model, { kernels: 1 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test.each<[string, Omit<BinarizeOptions, 'kernels'>]>([
    ['refit', { method: 'refit' }],
    ['calibrated', { method: 'calibrated', calibration: { data: ids, length: 32 } }],
  ])('stops a %s conversion when its signal fires', async (_, given) => {
    await expect(binarize(model, { ...given, kernels: 1, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'MBOK_ABORTED',
    });
    const controller = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ what }: { what: string }) => {
      if (seen.push(what) === 5) controller.abort();
    };
    const stopped = binarize(model, { ...given, kernels: 1, signal: controller.signal, onProgress });
    await expect(stopped).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    expect(seen).toHaveLength(5);
  });

  test('fails clearly when the model is disposed on the way', async () => {
    const source = await Model.load(TINY_STORIES);
    const onProgress = () => source.dispose();
    await expect(binarize(source, { kernels: 1, onProgress })).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });
});

describe('svid and refit refuse', () => {
  const weight = new Float32Array(6);
  const shape = { rows: 2, cols: 3, kernels: 1 };
  test.each<[string, string, unknown, unknown]>([
    ['an array that is no Float32Array', 'MBOK_INVALID_ARGUMENT', [1, 2, 3, 4, 5, 6], shape],
    ['a shape that does not fit', 'MBOK_SHAPE', weight, { ...shape, cols: 4 }],
    ['NaN', 'MBOK_NON_FINITE', Float32Array.of(1, 2, Number.NaN, 4, 5, 6), shape],
    ['infinity', 'MBOK_NON_FINITE', Float32Array.of(1, 2, 3, 4, 5, Infinity), shape],
    ['9 kernels', 'MBOK_INVALID_ARGUMENT', weight, { ...shape, kernels: 9 }],
    ['no rows', 'MBOK_INVALID_ARGUMENT', weight, { ...shape, rows: 0 }],
    ['iterations: 0', 'MBOK_INVALID_ARGUMENT', weight, { ...shape, iterations: 0 }],
    ['a misspelt option', 'MBOK_INVALID_ARGUMENT', weight, { ...shape, kernel: 2 }],
    ['no options', 'MBOK_INVALID_ARGUMENT', weight, undefined],
    ['an aborted signal', 'MBOK_ABORTED', weight, { ...shape, signal: AbortSignal.abort() }],
  ])('%s', async (_, code, given, options) => {
    await expect(svid(given as Float32Array, options as never)).rejects.toMatchObject({ code });
    await expect(refit(given as Float32Array, options as never)).rejects.toMatchObject({ code });
  });
});
