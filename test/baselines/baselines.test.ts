/** Round to nearest and GPTQ: against a float64 reference, by properties, and as folders. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gptq } from '../../lib/baselines/gptq';
import { fitGrid, type GridSettings, nearest } from '../../lib/baselines/grid';
import { type ColumnOrder, factorInputs, type InputFactor } from '../../lib/baselines/input_factor';
import { packedMatrixBytes } from '../../lib/baselines/packed_bytes';
import { type BaselineReport, quantizeFolder } from '../../lib/baselines/quantize_folder';
import type { QuantizeOptions } from '../../lib/baselines/quantize_options';
import { roundToNearest } from '../../lib/baselines/round_to_nearest';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { coreOf, Model } from '../../lib/model';
import { Matrix } from '../../lib/native/matrix';
import { runMbok } from '../helpers/command_line';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { readGolden } from '../helpers/golden';
import { Random, relativeError } from '../helpers/random';

interface Case extends GridSettings {
  readonly method: 'rtn' | 'gptq';
  readonly order?: 'natural' | 'falling';
  readonly output_error: number;
  readonly residual: number;
  readonly without_f16: number;
}

/** Computes √(tr(D H Dᵀ) / tr(W H Wᵀ)), D = W − Q. */
function outputError(weight: ArrayLike<number>, quantized: Float32Array, h: ArrayLike<number>, cols: number): number {
  const norm = (of: (at: number) => number) => {
    let sum = 0;
    for (let row = 0; row < weight.length; row += cols) {
      for (let i = 0; i < cols; i++) {
        for (let j = 0; j < cols; j++) sum += of(row + i) * (h[i * cols + j] as number) * of(row + j);
      }
    }
    return sum;
  };
  const rest = norm((at) => (weight[at] as number) - (quantized[at] as number));
  return Math.sqrt(rest / norm((at) => weight[at] as number));
}

describe('on the golden matrix and H', () => {
  const cases = JSON.parse(readFileSync(join(GOLDEN, 'gptq.json'), 'utf8')) as Case[];
  const golden = readGolden('calibrated.safetensors');
  const [weight, h] = ['W', 'H'].map((name) => Float32Array.from(golden(name).data)) as [Float32Array, Float32Array];
  const cols = Math.sqrt(h.length);

  const rows = cases.map((item) => [item.method, item.bits, item.group, item.order ?? 'no', item] as const);
  test.each(rows)(
    '%s of %i bits in groups of %i, %s order, has the error of the reference',
    async (...[, , , , item]) => {
      let quantized: Float32Array;
      if (item.order === undefined) {
        quantized = roundToNearest(weight, cols, item);
      } else {
        const order = item.order === 'falling' ? 'descending' : item.order;
        const inputs = await factorInputs(Matrix.from(h, { rows: cols, cols }), order, undefined);
        quantized = await gptq(weight, inputs, item, undefined);
        inputs.factor.dispose();
      }
      const error = outputError(weight, quantized, h, cols);
      expect(Math.abs(error / item.output_error - 1)).toBeLessThanOrEqual(1e-5);
      expect(Math.abs(relativeError(quantized, weight) / item.residual - 1)).toBeLessThanOrEqual(1e-5);
      // F16 scales change almost nothing
      expect(Math.abs(error / item.without_f16 - 1)).toBeLessThanOrEqual(0.02);
    },
  );
});

describe('a grid', () => {
  const random = new Random(1);
  test.each([2, 3, 4])('of %i bits has 0, and rounds to its nearest value', (bits) => {
    for (let trial = 0; trial < 50; trial++) {
      const values = random.normals(40).map((value) => value * 10 ** ((trial % 9) - 6) + (trial % 3) - 1);
      const grid = fitGrid(values, { begin: 0, stride: 1, count: values.length, bits });
      expect(Number.isInteger(grid.zero)).toBe(true);
      expect(grid.zero).toBeGreaterThanOrEqual(0);
      expect(grid.zero).toBeLessThanOrEqual(2 ** bits - 1);
      const all = Array.from({ length: 2 ** bits }, (_, code) => grid.scale * (code - grid.zero));
      expect(all).toContain(0);
      for (const value of values) {
        const rounded = nearest(grid, value);
        const distance = Math.min(...all.map((other) => Math.abs(other - value)));
        expect(all).toContain(rounded);
        expect(Math.abs(rounded - value)).toBeLessThanOrEqual(distance * (1 + 1e-12));
      }
    }
  });

  test('of zeros, and of numbers below F16, is of zeros', () => {
    for (const values of [new Float32Array(8), new Float32Array(8).fill(1e-12)]) {
      const grid = fitGrid(values, { begin: 0, stride: 1, count: 8, bits: 2 });
      expect(values.map((value) => nearest(grid, value))).toEqual(new Float32Array(8));
    }
  });

  test('refuses numbers beyond the range of F16', () => {
    expect(() => fitGrid(Float32Array.of(1e9), { begin: 0, stride: 1, count: 1, bits: 2 })).toThrow(
      expect.objectContaining({ code: 'MBOK_NON_FINITE' }),
    );
  });
});

test.each([
  [1, 7],
  [3, 7],
  [4, 8],
  [7, 7],
  [100, 7],
])('groups of %i of %i inputs have grids of their own, the tail too', (group, cols) => {
  const weight = new Random(2).normals(3 * cols);
  const rounded = roundToNearest(weight, cols, { bits: 2, group });
  for (let row = 0; row < 3; row++) {
    for (let begin = 0; begin < cols; begin += group) {
      const own = weight.slice(row * cols + begin, row * cols + Math.min(cols, begin + group));
      const alone = roundToNearest(own, own.length, { bits: 2, group: own.length });
      expect(rounded.slice(row * cols + begin, row * cols + begin + own.length)).toEqual(alone);
      expect(new Set(alone).size).toBeLessThanOrEqual(4);
    }
  }
});

describe('GPTQ', () => {
  const random = new Random(3);
  /** Computes XᵀX of correlated inputs. */
  function gram(cols: number, tokens: number): Float32Array {
    const common = random.normals(tokens);
    const x = random.normals(tokens * cols).map((value, i) => value + (common[Math.floor(i / cols)] as number));
    return Float32Array.from({ length: cols * cols }, (_, at) => {
      const [i, j] = [Math.floor(at / cols), at % cols];
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += (x[t * cols + i] as number) * (x[t * cols + j] as number);
      return sum;
    });
  }
  const factor = (h: Float32Array, order: ColumnOrder) => {
    const cols = Math.sqrt(h.length);
    return factorInputs(Matrix.from(h, { rows: cols, cols }), order, undefined);
  };

  test.each(['natural', 'descending'] as const)('factors the damped inverse in %s order', async (order) => {
    const h = gram(30, 40);
    const { factor: matrix, order: places } = await factor(h, order);
    const u = matrix.toFloat32();
    const diagonal = [...places].map((j) => h[j * 30 + j] as number);
    const sorted = order === 'natural' ? [...places.keys()] : [...diagonal].sort((a, b) => b - a);
    expect(order === 'natural' ? [...places] : diagonal).toEqual(sorted);
    const shift = (0.01 * diagonal.reduce((sum, value) => sum + value, 0)) / 30;
    // Uᵀ U Ĥ = I
    const product = new Float64Array(900);
    const identity = new Float64Array(900);
    for (let i = 0; i < 30; i++) {
      identity[i * 31] = 1;
      for (let k = 0; k < 30; k++) {
        let inverse = 0;
        for (let l = 0; l < 30; l++) inverse += (u[l * 30 + i] as number) * (u[l * 30 + k] as number);
        for (let j = 0; j < 30; j++) {
          const own = (h[(places[k] as number) * 30 + (places[j] as number)] as number) + (j === k ? shift : 0);
          product[i * 30 + j] = (product[i * 30 + j] as number) + inverse * own;
        }
      }
    }
    expect(relativeError(product, identity)).toBeLessThanOrEqual(1e-3);
    for (let i = 0; i < 30; i++) for (let j = 0; j < i; j++) expect(u[i * 30 + j]).toBe(0);
  });

  test.each([
    [2, 400, 'descending'],
    [3, 128, 'natural'],
    [4, 100, 'descending'],
    [2, 150, 'natural'],
  ] as const)(
    'of %i bits in groups of %i, %s, is column by column what it is in blocks',
    async (bits, group, order) => {
      const [rows, cols] = [5, 300];
      const weight = random.normals(rows * cols);
      const inputs = await factor(gram(cols, 350), order);
      const quantized = await gptq(weight, inputs, { bits, group }, undefined);
      expect(relativeError(quantized, oneByOne(weight, inputs, { bits, group }))).toBeLessThanOrEqual(1e-2);
    },
  );

  /** Runs GPTQ without blocks, row by row in float64. */
  function oneByOne(weight: Float32Array, { factor: matrix, order }: InputFactor, { bits, group }: GridSettings) {
    const cols = order.length;
    const u = matrix.toFloat32();
    const result = new Float32Array(weight.length);
    for (let row = 0; row < weight.length; row += cols) {
      const w = Float64Array.from(order, (col) => weight[row + col] as number);
      let grid = { scale: 1, zero: 0, largest: 0 };
      for (let j = 0; j < cols; j++) {
        const count = Math.min(group, cols - j);
        if (j % group === 0) grid = fitGrid(Float32Array.from(w), { begin: j, stride: 1, count, bits });
        const value = nearest(grid, w[j] as number);
        const error = ((w[j] as number) - value) / (u[j * cols + j] as number);
        for (let l = j; l < cols; l++) w[l] = (w[l] as number) - error * (u[j * cols + l] as number);
        result[row + (order[j] as number)] = value;
      }
    }
    return result;
  }

  test('equals round to nearest for uncorrelated inputs', async () => {
    const h = Float32Array.from({ length: 400 }, (_, at) => (at % 21 === 0 ? 1 + at : 0));
    const weight = random.normals(60);
    const settings = { bits: 3, group: 8 };
    const quantized = await gptq(weight, await factor(h, 'natural'), settings, undefined);
    expect(quantized).toEqual(roundToNearest(weight, 20, settings));
  });

  test('zeroes weights of zero inputs, and treats the others as if there were none', async () => {
    const live = gram(10, 20);
    const h = new Float32Array(121);
    for (let i = 0; i < 10; i++) h.set(live.subarray(i * 10, i * 10 + 10), (i + 1) * 11 + 1);
    const weight = random.normals(22);
    const kept = weight.filter((_, at) => at % 11 !== 0);
    const settings = { bits: 2, group: 11 };
    const quantized = await gptq(weight, await factor(h, 'natural'), settings, undefined);
    expect([quantized[0], quantized[11]]).toEqual([0, 0]);
    const alone = await gptq(kept, await factor(live, 'natural'), settings, undefined);
    expect(
      relativeError(
        quantized.filter((_, at) => at % 11 !== 0),
        alone,
      ),
    ).toBeLessThanOrEqual(1e-5);
  });

  test('of inputs that are all zero is zero', async () => {
    const quantized = await gptq(
      random.normals(12),
      await factor(new Float32Array(36), 'descending'),
      { bits: 2, group: 4 },
      undefined,
    );
    expect(quantized).toEqual(new Float32Array(12));
  });

  test('stops when its signal fires', async () => {
    const h = Matrix.from(gram(4, 8), { rows: 4, cols: 4 });
    await expect(factorInputs(h, 'natural', AbortSignal.abort())).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  });
});

test.each([
  [{ rows: 192, cols: 512 }, { bits: 2, group: 128, order: 'natural' }, 24576 + 1536 + 192],
  [{ rows: 192, cols: 512 }, { bits: 2, group: 128, order: 'descending' }, 24576 + 1536 + 192 + 128],
  [{ rows: 3, cols: 5 }, { bits: 3, group: 128, order: 'descending' }, 6 + 6 + 2],
  [{ rows: 3, cols: 5 }, { bits: 3, group: 2, order: 'natural' }, 6 + 18 + 4],
  [{ rows: 3, cols: 5 }, { bits: 3, group: 2, order: 'descending' }, 6 + 18 + 4 + 2],
] as const)('packed, %j with %j takes %i bytes', (shape, settings, bytes) => {
  expect(packedMatrixBytes(shape, settings)).toBe(bytes);
});

describe('a folder', () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  /** Returns a few thousand tokens of text. */
  const corpus = (name: 'train' | 'valid') =>
    readFileSync(join(TINY_STORIES, 'corpus', `${name}.txt`), 'utf8').slice(0, 30_000);
  const calibration = { data: corpus('train'), windows: 8, length: 128 };
  const perplexity = async (path: string) => {
    await using model = await Model.load(path);
    return (await evaluatePerplexity(model, corpus('valid'), { window: 128, maxWindows: 16 })).perplexity;
  };

  test('by GPTQ is better than by rounding and better with more bits, and reports its settings', async () => {
    await quantizeFolder(TINY_STORIES, at('rtn3'), { method: 'rtn', bits: 3 });
    for (const bits of [3, 4]) {
      const report = await quantizeFolder(TINY_STORIES, at(`gptq${bits}`), { method: 'gptq', bits, calibration });
      expect(JSON.parse(readFileSync(join(at(`gptq${bits}`), 'baseline.json'), 'utf8'))).toEqual(report);
      expect(report).toMatchObject({
        ...{ method: 'gptq', bits, group: 128, order: 'descending' },
        calibration: { windows: 8, length: 128, tokens: 1024, precision: 'bf16', damping: 0.01 },
      });
      expect(Object.keys(report.residuals)).toHaveLength(42);
      // codes, plus a scale and a zero point per row of 64 to 128 weights
      expect(report.packed.bitsPerWeight).toBeGreaterThan(bits + 0.14);
      expect(report.packed.bitsPerWeight).toBeLessThan(bits + 0.25);
    }
    const found: number[] = [];
    for (const name of ['gptq4', 'gptq3', 'rtn3']) found.push(await perplexity(at(name)));
    expect(found).toEqual([...found].sort((a, b) => a - b));
    expect(readdirSync(folder).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  test('has at most 2^bits values per group, and everything else unchanged', async () => {
    await quantizeFolder(join(GOLDEN, 'gpt2'), at('gpt2'), { method: 'rtn', bits: 3, group: 16 });
    await using model = await Model.load(at('gpt2'));
    await using original = await Model.load(join(GOLDEN, 'gpt2'));
    const linears = new Set(coreOf(model).linears.map(({ name }) => name));
    for (const [name, matrix] of coreOf(model).parameters) {
      const values = matrix.toFloat32();
      const given = (coreOf(original).parameters.get(name) as Matrix).toFloat32();
      expect(values).toEqual(linears.has(name) ? roundToNearest(given, matrix.cols, { bits: 3, group: 16 }) : given);
    }
  });

  test.each(['llama', 'opt', 'gemma2', 'phi3'])('of %s can be made by GPTQ', async (family) => {
    const data = Array.from({ length: 256 }, (_, i) => (i * 7) % 60);
    const options = { method: 'gptq', bits: 4, group: 32, calibration: { data, length: 16 } } as const;
    const { residual } = await quantizeFolder(join(GOLDEN, family), at(family), options);
    expect(residual).toBeLessThan(0.3);
  });

  test('that was interrupted continues with the same numbers', async () => {
    const options: QuantizeOptions = { method: 'gptq', bits: 3, order: 'natural', calibration };
    const whole = await quantizeFolder(TINY_STORIES, at('whole'), options);
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done > 0.5) controller.abort();
    };
    const stopped = quantizeFolder(TINY_STORIES, at('again'), { ...options, signal: controller.signal, onProgress });
    await expect(stopped).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    const other = quantizeFolder(TINY_STORIES, at('again'), { ...options, bits: 2 });
    await expect(other).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
    const seen: number[] = [];
    const report = await quantizeFolder(TINY_STORIES, at('again'), {
      ...options,
      onProgress: ({ done }) => seen.push(done),
    });
    expect(seen[0]).toBeGreaterThanOrEqual(0.5);
    expect(report).toEqual(whole);
    const weights = (name: string) => readFileSync(join(at(name), 'model.safetensors'));
    expect(weights('again').equals(weights('whole'))).toBe(true);
  });

  test.each<[string, unknown]>([
    ['no options', undefined],
    ['an unknown method', { method: 'awq', bits: 3 }],
    ['no bits', { method: 'rtn' }],
    ['1 bit', { method: 'rtn', bits: 1 }],
    ['5 bits', { method: 'rtn', bits: 5 }],
    ['groups of none', { method: 'rtn', bits: 3, group: 0 }],
    ['a fraction of a group', { method: 'rtn', bits: 3, group: 1.5 }],
    ['an order for rounding', { method: 'rtn', bits: 3, order: 'natural' }],
    ['calibration for rounding', { method: 'rtn', bits: 3, calibration }],
    ['GPTQ without calibration', { method: 'gptq', bits: 3 }],
    ['an unknown order', { method: 'gptq', bits: 3, order: 'random', calibration }],
    ['settings of other conversions', { method: 'gptq', bits: 3, calibration: { ...calibration, targetMix: 0.5 } }],
    ['too little text', { method: 'gptq', bits: 3, calibration: { data: [1, 2, 3], length: 4 } }],
    ['a misspelt option', { method: 'rtn', bit: 3 }],
  ])('cannot be made with %s', async (_, options) => {
    const made = quantizeFolder(TINY_STORIES, at('refused'), options as QuantizeOptions);
    await expect(made).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
    expect(readdirSync(folder)).not.toContain('refused');
  });

  test('is created, evaluated and refused from a shell', () => {
    const run = (...args: string[]) => runMbok(folder, args);
    const text = join(TINY_STORIES, 'corpus', 'train.txt');
    const calibrated = [
      '--calibration',
      text,
      '--calibration-windows',
      '4',
      '--calibration-window',
      '64',
      '--cache',
      'cache',
    ];
    const made = run('baseline', TINY_STORIES, 'shell', '--method', 'gptq', '--bits', '3', ...calibrated, '--json');
    const report = JSON.parse(made.stdout) as BaselineReport;
    expect(report).toMatchObject({ method: 'gptq', bits: 3, group: 128, calibration: { windows: 4, length: 64 } });
    const judged = run('eval', 'perplexity', 'shell', '--text', text, '--window', '64', '--max-windows', '4', '--json');
    expect((JSON.parse(judged.stdout) as { perplexity: number }).perplexity).toBeLessThan(20);

    const rounded = run('baseline', TINY_STORIES, 'rounded', '--method', 'rtn', '--bits', '2');
    expect(rounded.stdout).toMatch(/rounded: 2\.\d+ bits a weight, \d\.\d+ MB if packed, residual 0\.\d+/);
    for (const args of [
      ['--bits', '3'],
      ['--method', 'rtn'],
      ['--method', 'rtn', '--bits', '8'],
      ['--method', 'gptq', '--bits', '3'],
      ['--method', 'rtn', '--bits', '3', ...calibrated],
    ]) {
      expect(run('baseline', TINY_STORIES, 'wrong', ...args).status).toBe(2);
    }
    run('binarize', TINY_STORIES, 'boolean', '--kernels', '1', '--method', 'svid');
    const again = run('baseline', 'boolean', 'wrong', '--method', 'rtn', '--bits', '3');
    expect([again.status, again.stderr]).toEqual([1, expect.stringContaining('MBOK_INVALID_ARGUMENT')]);
  });
});
