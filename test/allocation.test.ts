/** Kernel allocation: each method on problems small enough to check, and budgets that are kept to the byte. */

import fc from 'fast-check';
import { uniformAllocation } from '../lib/compress/allocation/allocate';
import { allocationProblem, averageKernels, type Strategy, solveAllocation } from '../lib/compress/allocation/budget';
import { solveKnapsack } from '../lib/compress/allocation/knapsack';
import type { AllocatableLayer } from '../lib/compress/allocation/layers';
import { type AllocationOptions, checkAllocation } from '../lib/compress/allocation/options';
import { allocateByPaper, type PaperLayer, paperGain, sizeFactor } from '../lib/compress/allocation/paper';
import { pwcca } from '../lib/compress/allocation/pwcca';
import type { DenseSource } from '../lib/compress/dense_source';
import { safetensorsBytes } from '../lib/io/safetensors';

describe("the paper's greedy rule", () => {
  // shares ¼, ¼ and ½, so f = 4·ln 4 = 5.545 and 2·ln 2 = 1.386; a kernel of the third layer costs twice as much
  const layers: readonly PaperLayer[] = [
    { module: 'a', weights: 8, kernelBytes: 1, importance: 0.1, residuals: [4, 2, 1, 0.5] },
    { module: 'b', weights: 8, kernelBytes: 1, importance: 0.2, residuals: [4, 3, 2.5, 2.25] },
    { module: 'c', weights: 16, kernelBytes: 2, importance: 0.5, residuals: [10, 5, 2, 1] },
  ];

  test('weighs a layer by (1/p) log(1/p)', () => {
    expect(sizeFactor(0.25)).toBeCloseTo(5.545, 3);
    expect(sizeFactor(0.5)).toBeCloseTo(1.386, 3);
  });

  // drops a byte by hand: c 0.5·5·1.386/2 = 1.733; a 0.1·2·5.545 = b 0.2·1·5.545 = 1.109; c 0.5·3·1.386/2 = 1.040;
  // a 0.1·1·5.545 = b 0.2·0.5·5.545 = 0.555; c 0.5·1·1.386/2 = 0.347; a 0.1·0.5·5.545 = b 0.2·0.25·5.545 = 0.277
  test.each([
    [4, [1, 1, 1]],
    [5, [2, 1, 1]],
    [6, [1, 1, 2]],
    [7, [2, 1, 2]],
    [8, [2, 2, 2]],
    [9, [3, 2, 2]],
    [10, [2, 2, 3]],
    [11, [3, 2, 3]],
    [12, [3, 3, 3]],
    [14, [3, 3, 4]],
    [15, [4, 3, 4]],
  ])('gives %i bytes to the layers in the order of their drops', (budget, expected) => {
    expect(allocateByPaper(layers, budget)).toEqual(expected);
  });
});

describe('PWCCA', () => {
  const diagonal = (...values: number[]) =>
    Float64Array.from({ length: values.length ** 2 }, (_, at) =>
      at % (values.length + 1) === 0 ? (values[at / (values.length + 1)] as number) : 0,
    );

  test('of single numbers is their correlation', () => {
    expect(pwcca({ xx: Float64Array.of(4), yy: Float64Array.of(9), xy: Float64Array.of(-3) })).toBeCloseTo(0.5, 5);
  });

  test('weighs directions by how much of x they carry', () => {
    // correlations 0.9 and 0.5 of components with standard deviations 2 and 1
    const moments = { xx: diagonal(4, 1), yy: diagonal(1, 1), xy: diagonal(1.8, 0.5) };
    expect(pwcca(moments)).toBeCloseTo((2 * 0.9 + 0.5) / 3, 5);
  });

  test('of a linear image is 1, of zeros too', () => {
    // y = x A with A = [[1, 2], [3, 5]], x of covariance [[2, 1], [1, 3]]
    const [xx, xy, yy] = [
      [2, 1, 1, 3],
      [5, 9, 10, 17],
      [35, 60, 60, 103],
    ].map((m) => Float64Array.from(m)) as [Float64Array, Float64Array, Float64Array];
    expect(pwcca({ xx, xy, yy })).toBeCloseTo(1, 3);
    expect(pwcca({ xx: new Float64Array(4), xy: new Float64Array(4), yy: new Float64Array(4) })).toBe(1);
  });
});

const shapes = fc.array(fc.record({ rows: fc.integer({ min: 1, max: 70 }), cols: fc.integer({ min: 1, max: 70 }) }), {
  minLength: 1,
  maxLength: 12,
});
const bytesOf = ({ rows, cols }: { rows: number; cols: number }) => rows * Math.ceil(cols / 8) + 2 * (rows + cols);

describe('the knapsack', () => {
  const smallProblem = fc.record({
    shapes: fc.array(fc.record({ rows: fc.integer({ min: 1, max: 9 }), cols: fc.integer({ min: 1, max: 20 }) }), {
      minLength: 1,
      maxLength: 4,
    }),
    // costs need not fall, nor fall by less and less
    costs: fc.array(fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 8, maxLength: 8 }), {
      minLength: 4,
      maxLength: 4,
    }),
    fill: fc.double({ min: 0, max: 1.1, noNaN: true }),
  });

  test('finds what trying everything finds', () => {
    fc.assert(
      fc.property(smallProblem, ({ shapes: given, costs, fill }) => {
        const layers = given.map((shape, i) => ({ module: `${i}`, weights: 1, kernelBytes: bytesOf(shape) }));
        const once = layers.reduce((sum, { kernelBytes }) => sum + kernelBytes, 0);
        const budget = Math.floor(once * (1 + 7 * fill));
        const cost = (i: number, count: number) => costs[i]?.[count - 1] as number;
        const total = (counts: readonly number[]) => counts.reduce((sum, count, i) => sum + cost(i, count), 0);
        const bytes = (counts: readonly number[]) =>
          counts.reduce((sum, count, i) => sum + count * (layers[i]?.kernelBytes as number), 0);
        let least = Infinity;
        for (let code = 0; code < 8 ** layers.length; code++) {
          const counts = layers.map((_, i) => (Math.floor(code / 8 ** i) % 8) + 1);
          if (bytes(counts) <= budget) least = Math.min(least, total(counts));
        }
        const found = solveKnapsack(layers, budget, cost);
        expect(bytes(found)).toBeLessThanOrEqual(budget);
        expect(total(found)).toBe(least);
      }),
      { numRuns: 60 },
    );
  });

  test('of a large model keeps to its budget and comes close to the bound of the relaxed problem', () => {
    // no common divisor: bytes are rounded to units
    const layers = Array.from({ length: 224 }, (_, i) => ({
      module: `${i}`,
      weights: 1,
      kernelBytes: 2_000_003 + 7919 * i,
    }));
    const once = layers.reduce((sum, { kernelBytes }) => sum + kernelBytes, 0);
    const cost = (i: number, count: number) => (1 + (i % 13)) * 0.3 ** count;
    const budget = Math.floor(2.3 * once);
    const counts = solveKnapsack(layers, budget, cost);
    const bytes = (of: readonly number[]) =>
      of.reduce((sum, count, i) => sum + count * (layers[i]?.kernelBytes ?? 0), 0);
    const total = (of: readonly number[]) => of.reduce((sum, count, i) => sum + cost(i, count), 0);
    expect(bytes(counts)).toBeLessThanOrEqual(budget);
    // Lagrange: for every price of a byte the least of cost + price · bytes bounds the optimum from below
    const bound = Math.max(
      ...Array.from({ length: 400 }, (_, step) => {
        const price = 10 ** (-9 + step / 100);
        const own = layers.map(({ kernelBytes }, i) =>
          Math.min(...Array.from({ length: 8 }, (_, k) => cost(i, k + 1) + price * (k + 1) * kernelBytes)),
        );
        return own.reduce((sum, value) => sum + value, -price * budget);
      }),
    );
    expect(total(counts)).toBeLessThanOrEqual(bound * 1.005);
  });
});

/** A model of linear layers of these shapes, some with biases, and an embedding table. */
function modelOf(given: readonly { rows: number; cols: number }[]): DenseSource {
  const specifications = given.flatMap(({ rows, cols }, i) => [
    { name: `layers.${i}.linear.weight`, rows, cols, role: 'linear' as const },
    ...(i % 2 === 0 ? [{ name: `layers.${i}.linear.bias`, rows: 1, cols: rows, role: 'bias' as const }] : []),
  ]);
  const embedding = { name: 'embed.weight', rows: 11, cols: 6, role: 'embedding' as const };
  return { specifications: [embedding, ...specifications], storage: () => 'F32' } as unknown as DenseSource;
}

/** What the model's file holds, told in another way than by the code under test. */
function tensorsOf(given: readonly { rows: number; cols: number }[], kernels: ReadonlyMap<string, number>) {
  const linears = given.flatMap(({ rows, cols }, i) => {
    const module = `layers.${i}.linear`;
    const k = kernels.get(module);
    const weight =
      k === undefined
        ? [{ name: `${module}.weight`, dtype: 'F32' as const, shape: rows === 1 ? [cols] : [rows, cols] }]
        : [
            { name: `${module}.boolean_kernels`, dtype: 'U8' as const, shape: [k, rows, Math.ceil(cols / 8)] },
            { name: `${module}.s_out`, dtype: 'F16' as const, shape: [k, rows] },
            { name: `${module}.s_in`, dtype: 'F16' as const, shape: [k, cols] },
          ];
    return [...weight, ...(i % 2 === 0 ? [{ name: `${module}.bias`, dtype: 'F32' as const, shape: [rows] }] : [])];
  });
  return linears;
}

const WIDTHS = { U8: 1, F16: 2, F32: 4 };
const EMBEDDING = { name: 'embed.weight', dtype: 'F32' as const, shape: [11, 6] };

function strategies(layers: readonly AllocatableLayer[], seed: number): Readonly<Record<string, Strategy>> {
  const cost = (i: number, count: number) => (1 + ((i * 7 + seed) % 5)) * 0.35 ** count;
  const judged = layers.map(
    (layer, i): PaperLayer => ({
      ...layer,
      importance: 1 + ((i + seed) % 3),
      residuals: Array.from({ length: 8 }, (_, k) => 0.6 ** k),
    }),
  );
  return {
    measured: {
      allocate: (budget) => solveKnapsack(layers, budget, cost),
      gain: (i, count) => cost(i, count) - cost(i, count + 1),
    },
    paper: { allocate: (budget) => allocateByPaper(judged, budget), gain: paperGain(judged) },
  };
}

test.each(['bits', 'size'] as const)(
  'a budget of %s is never exceeded, and what is left is less than a kernel',
  (kind) => {
    const problems = fc.record({
      given: shapes,
      fill: fc.double({ min: 0, max: 1, noNaN: true }),
      seed: fc.nat(100),
      kept: fc.boolean(),
    });
    fc.assert(
      fc.property(problems, ({ given, fill, seed, kept: keepsFirst }) => {
        const source = modelOf(given);
        const weights = given.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
        const kept = new Map(keepsFirst && given.length > 1 ? [['layers.0.linear', 'dense' as const]] : []);
        const stored = (kernels: ReadonlyMap<string, number>) => {
          const tensors = tensorsOf(given, kernels);
          if (kind === 'size') return safetensorsBytes([EMBEDDING, ...tensors], { format: 'pt' });
          return tensors.reduce((sum, { dtype, shape }) => sum + shape.reduce((n, size) => n * size, WIDTHS[dtype]), 0);
        };
        const all = (count: number) =>
          new Map(given.map((_, i) => [`layers.${i}.linear`, count] as const).filter(([module]) => !kept.has(module)));
        const [low, high] = [stored(all(1)), stored(new Map())];
        const limit = Math.floor(low + fill * Math.max(0, high - low));
        // tiny layers may take more as a kernel than they do dense
        fc.pre(low <= high);
        const goal = kind === 'size' ? { size: limit } : { bits: ((limit + 0.5) * 8) / weights };
        fc.pre(limit < high);
        const problem = allocationProblem(source, { goal, method: 'uniform', kept }, new Set());
        const results = [
          uniformAllocation(problem),
          ...Object.values(strategies(problem.layers, seed)).map((strategy) => solveAllocation(problem, strategy)),
        ];
        for (const kernels of results) {
          expect([...kernels.keys()]).toEqual([...all(1).keys()]);
          expect(stored(kernels)).toBeLessThanOrEqual(limit);
          for (const [module, count] of kernels) {
            expect(count).toBeGreaterThanOrEqual(1);
            expect(count).toBeLessThanOrEqual(8);
            if (count < 8) expect(stored(new Map(kernels).set(module, count + 1))).toBeGreaterThan(limit);
          }
        }
      }),
      { numRuns: 40 },
    );
  },
);

test('a uniform allocation spreads what is left over the model', () => {
  const source = modelOf(Array.from({ length: 8 }, () => ({ rows: 8, cols: 64 })));
  const kernels = (bits: number) => [
    ...uniformAllocation(
      allocationProblem(source, { goal: { bits }, method: 'uniform', kept: new Map() }, new Set()),
    ).values(),
  ];
  // a kernel has 8 · 8 bytes of bits and 2 · 72 of scales for 512 weights: 3.25 bits; half of the biases are ¼ bit each
  expect(kernels(3.25 * 2 + 0.25)).toEqual([2, 2, 2, 2, 2, 2, 2, 2]);
  expect(kernels(3.25 * 2.5 + 0.25)).toEqual([2, 3, 2, 3, 2, 3, 2, 3]);
  expect(kernels(3.25 * 1.25 + 0.25)).toEqual([1, 1, 1, 2, 1, 1, 1, 2]);
});

test('the average leaves out layers that are kept', () => {
  const source = modelOf([
    { rows: 8, cols: 64 },
    { rows: 8, cols: 64 },
  ]);
  const kept = new Map([['layers.0.linear', 8]]);
  // 26 bytes · 8 … for two kernels of the other layer
  const problem = allocationProblem(
    source,
    { goal: { bits: (8 * 3.25 + 2 * 3.25) / 2 + 0.25 }, method: 'uniform', kept },
    new Set(),
  );
  expect(averageKernels(problem)).toBeCloseTo(2, 1);
});

describe('nonsense is refused', () => {
  const modules = ['layers.0.q', 'layers.0.down', 'layers.1.q', 'layers.1.down'];
  const cases: readonly (readonly [string, object, RegExp])[] = [
    ['nothing to keep to', {}, /exactly one of 'kernels', 'bits' and 'size', got undefined/],
    ['two goals', { kernels: 2, bits: 2 }, /exactly one of .*, got "kernels and bits"/],
    ['three goals', { kernels: 2, bits: 2, size: 100 }, /got "kernels and bits and size"/],
    ['no bits', { bits: 0 }, /'bits' must be a finite number above 0/],
    ['bits that are not a number', { bits: Number.NaN }, /'bits' must be a finite number/],
    ['half a byte', { size: 0.5 }, /'size' must be an integer of at least 1/],
    ['17 kernels', { kernels: 17 }, /'kernels' must be an integer from 1 to 8, got 17/],
    [
      'an unknown method',
      { bits: 2, allocation: 'magic' },
      /'allocation' must be one of "measured", "uniform", "paper"/,
    ],
    [
      'a method without a budget',
      { kernels: 2, allocation: 'uniform' },
      /'allocation' must be given with 'bits' or 'size'/,
    ],
    ['a measure without calibration', { bits: 2, allocation: 'measured' }, /'uniform' without calibration/],
    [
      'a layer that is not there',
      { bits: 2, keep: { 'layers.2.q': 1 } },
      /'keep' must be of linear layers such as 'layers.0.q', got "layers.2.q"/,
    ],
    ['a pattern that fits nothing', { kernels: 2, keep: { '*.up': 1 } }, /got "\*.up"/],
    [
      '9 kernels kept',
      { kernels: 2, keep: { '*.q': 9 } },
      /keep\['\*.q'\]' must be 'dense', 'int8' or a number of kernels from 1 to 8, got 9/,
    ],
    ['a layer kept at nothing', { kernels: 2, keep: { '*.q': 'int4' } }, /got "int4"/],
    ['a list of layers', { kernels: 2, keep: ['*.q'] }, /'keep' must be an object/],
  ];
  test.each(cases)('%s', (_, given, message) => {
    const check = () => checkAllocation(given as AllocationOptions, modules, { calibrated: false });
    expect(check).toThrow(
      expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });

  test.each([
    [{ bits: 0.99 }, /'bits' must be from 3.5 bits a weight .* to 32.25 bits a weight \(dense\), got 0.99/],
    [{ bits: 33 }, /got 33/],
    [{ size: 10 }, /'size' must be from \d+ bytes .* to \d+ bytes \(dense\), got 10/],
    [{ size: 1e9 }, /got 1000000000/],
  ])('%j, which no allocation keeps to or none can fill', (goal, message) => {
    const source = modelOf(Array.from({ length: 8 }, () => ({ rows: 8, cols: 64 })));
    const pose = () => allocationProblem(source, { goal, method: 'uniform', kept: new Map() }, new Set());
    expect(pose).toThrow(
      expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });
});

test('layers are kept by name or by pattern, the last one that matches holding', () => {
  const modules = ['layers.0.q', 'layers.0.down', 'layers.10.q', 'layers.10.down'];
  const { kept } = checkAllocation(
    { kernels: 2, keep: { '*.down': 3, 'layers.0.*': 'dense', 'layers.10.q': 1 } },
    modules,
    { calibrated: false },
  );
  expect(Object.fromEntries(kept)).toEqual({
    'layers.0.q': 'dense',
    'layers.0.down': 'dense',
    'layers.10.q': 1,
    'layers.10.down': 3,
  });
});
