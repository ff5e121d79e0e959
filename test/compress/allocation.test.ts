/** Kernel allocation: each method on problems small enough to check by hand, and budgets met to the byte. */

import fc from 'fast-check';
import { uniformAllocation } from '../../lib/compress/allocation/allocate';
import { type AllocationOptions, checkAllocation } from '../../lib/compress/allocation/allocation_options';
import {
  type AllocationProblem,
  allocationProblem,
  type Strategy,
  sharesOf,
  solveAllocation,
} from '../../lib/compress/allocation/budget';
import type { ChoiceSet } from '../../lib/compress/allocation/choices';
import { measuredAt, nearShares, withCosts } from '../../lib/compress/allocation/costs';
import { leastCostStrategy, solveKnapsack } from '../../lib/compress/allocation/knapsack';
import {
  type AllocatableLayer,
  addGreedily,
  type Choice,
  type Chosen,
  type CostedChoice,
  largest,
  smallest,
  totalBytes,
} from '../../lib/compress/allocation/layers';
import { allocateByPaper, type PaperLayer, paperGain, sizeFactor } from '../../lib/compress/allocation/paper';
import { pwcca } from '../../lib/compress/allocation/pwcca';
import type { DenseSource } from '../../lib/compress/dense_source';
import { safetensorsBytes } from '../../lib/io/safetensors';
import { DENSE } from '../../lib/structures/dense';
import { isFactors } from '../../lib/structures/factors';
import { INT8 } from '../../lib/structures/int8';
import { isKernels, kernelsFormat } from '../../lib/structures/kernels';
import type { Formats, LayerFormat } from '../../lib/structures/structure';

/** Returns kernels by module, for modules with kernels. */
function kernelCounts(formats: Formats): ReadonlyMap<string, number> {
  return new Map(
    [...formats].flatMap(([module, format]) => (isKernels(format) ? [[module, format.count] as const] : [])),
  );
}

/** Returns the choices of 1 to `most` kernels, each of `bytes` bytes. */
const kernelChoices = (bytes: number, most = 8): readonly Choice[] =>
  Array.from({ length: most }, (_, i) => ({ format: kernelsFormat(i + 1), bytes: (i + 1) * bytes, rung: i }));

/** Returns choices of these sizes, with arbitrary formats. */
const choicesOfSizes = (sizes: readonly number[]): readonly Choice[] =>
  sizes.map((bytes, rung) => ({ format: { kind: `of ${bytes} bytes` }, bytes, rung }));

/** Adds costs to choices. */
const costed = (choices: readonly Choice[], cost: (index: number) => number): readonly CostedChoice[] =>
  choices.map((choice, index) => ({ ...choice, cost: cost(index) }));

const totalCost = (layers: readonly AllocatableLayer<CostedChoice>[], chosen: Chosen) =>
  layers.reduce((sum, { choices }, i) => sum + (choices[chosen[i] as number]?.cost as number), 0);

/** Finds the least cost within a budget by exhaustive search. */
function leastCost(layers: readonly AllocatableLayer<CostedChoice>[], budget: number): number {
  const all = layers.reduce<Chosen[]>(
    (before, { choices }) => before.flatMap((chosen) => choices.map((_, index) => [...chosen, index])),
    [[]],
  );
  const within = all.filter((chosen) => totalBytes(layers, chosen) <= budget);
  return Math.min(...within.map((chosen) => totalCost(layers, chosen)));
}

describe("the paper's greedy rule", () => {
  // shares ¼, ¼ and ½, so f = 4·ln 4 = 5.545 and 2·ln 2 = 1.386; a kernel of the third layer has twice the bytes
  const layers: readonly PaperLayer[] = [
    { module: 'a', weights: 8, choices: kernelChoices(1, 4), importance: 0.1, residuals: [4, 2, 1, 0.5] },
    { module: 'b', weights: 8, choices: kernelChoices(1, 4), importance: 0.2, residuals: [4, 3, 2.5, 2.25] },
    { module: 'c', weights: 16, choices: kernelChoices(2, 4), importance: 0.5, residuals: [10, 5, 2, 1] },
  ];

  test('weighs a layer by (1/p) log(1/p)', () => {
    expect(sizeFactor(0.25)).toBeCloseTo(5.545, 3);
    expect(sizeFactor(0.5)).toBeCloseTo(1.386, 3);
  });

  // drops per byte by hand: c 0.5·5·1.386/2 = 1.733; a 0.1·2·5.545 = b 0.2·1·5.545 = 1.109; c 0.5·3·1.386/2 = 1.040; a
  // 0.1·1·5.545 = b 0.2·0.5·5.545 = 0.555; c 0.5·1·1.386/2 = 0.347; a 0.1·0.5·5.545 = b 0.2·0.25·5.545 = 0.277
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
    expect(allocateByPaper(layers, budget).map((index) => index + 1)).toEqual(expected);
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
    // costs need neither fall nor be convex
    costs: fc.array(fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 8, maxLength: 8 }), {
      minLength: 4,
      maxLength: 4,
    }),
    fill: fc.double({ min: 0, max: 1.1, noNaN: true }),
  });

  test('finds the same optimum as exhaustive search', () => {
    fc.assert(
      fc.property(smallProblem, ({ shapes: given, costs, fill }) => {
        const layers = given.map((shape, i) => ({
          module: `${i}`,
          weights: 1,
          choices: costed(kernelChoices(bytesOf(shape)), (index) => costs[i]?.[index] as number),
        }));
        const budget = Math.floor(totalBytes(layers, smallest(layers)) * (1 + 7 * fill));
        const found = solveKnapsack(layers, budget);
        expect(totalBytes(layers, found)).toBeLessThanOrEqual(budget);
        expect(totalCost(layers, found)).toBe(leastCost(layers, budget));
      }),
      { numRuns: 60 },
    );
  });

  test('meets the budget of a large model and comes close to the bound of the relaxed problem', () => {
    // no common divisor: bytes are rounded to units
    const layers = Array.from({ length: 224 }, (_, i) => ({
      module: `${i}`,
      weights: 1,
      choices: costed(kernelChoices(2_000_003 + 7919 * i), (index) => (1 + (i % 13)) * 0.3 ** (index + 1)),
    }));
    const budget = Math.floor(2.3 * totalBytes(layers, smallest(layers)));
    const found = solveKnapsack(layers, budget);
    expect(totalBytes(layers, found)).toBeLessThanOrEqual(budget);
    // Lagrange: for every price per byte the least of cost + price · bytes is a lower bound of the optimum
    const bound = Math.max(
      ...Array.from({ length: 400 }, (_, step) => {
        const price = 10 ** (-9 + step / 100);
        const own = layers.map(({ choices }) => Math.min(...choices.map(({ cost, bytes }) => cost + price * bytes)));
        return own.reduce((sum, value) => sum + value, -price * budget);
      }),
    );
    expect(totalCost(layers, found)).toBeLessThanOrEqual(bound * 1.005);
  });
});

describe('choices of any sizes', () => {
  const sizes = fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
  const costs = fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 5, maxLength: 5 });
  const problems = fc.record({
    given: fc.array(fc.record({ sizes, costs }), { minLength: 1, maxLength: 4 }),
    fill: fc.double({ min: 0, max: 1.1, noNaN: true }),
  });
  type Given = { sizes: readonly number[]; costs: readonly number[] }[];

  const layersOf = (given: Given) =>
    given.map(({ sizes: own, costs: [...each] }, i): AllocatableLayer<CostedChoice> => {
      const choices = choicesOfSizes(own.toSorted((a, b) => a - b));
      return { module: `${i}`, weights: 1, choices: costed(choices, (index) => each[index] as number) };
    });
  const budgetOf = (layers: readonly AllocatableLayer[], fill: number) => {
    const [least, most] = [totalBytes(layers, smallest(layers)), totalBytes(layers, largest(layers))];
    return Math.floor(least + fill * (most - least));
  };
  const expectMaximal = (layers: readonly AllocatableLayer[], chosen: Chosen, budget: number) => {
    expect(totalBytes(layers, chosen)).toBeLessThanOrEqual(budget);
    for (const [i, index] of chosen.entries()) {
      const hasNext = index + 1 < (layers[i] as AllocatableLayer).choices.length;
      if (hasNext) expect(totalBytes(layers, chosen.with(i, index + 1))).toBeGreaterThan(budget);
    }
  };
  const problemOf = (layers: readonly AllocatableLayer[], budget: number): AllocationProblem => ({
    layers,
    budget,
    excess: (choices) => choices.reduce((sum, { bytes }) => sum + bytes, -budget),
    formats: (choices) => new Map(layers.map(({ module }, i) => [module, choices[i]?.format ?? DENSE])),
  });
  const chosenIn = (layers: readonly AllocatableLayer[], formats: ReadonlyMap<string, object>) =>
    layers.map(({ module, choices }) => choices.findIndex(({ format }) => format === formats.get(module)));

  test('the knapsack finds the same optimum as exhaustive search', () => {
    fc.assert(
      fc.property(problems, ({ given, fill }) => {
        const layers = layersOf(given);
        const budget = budgetOf(layers, fill);
        const found = solveKnapsack(layers, budget);
        expect(totalBytes(layers, found)).toBeLessThanOrEqual(budget);
        expect(totalCost(layers, found)).toBe(leastCost(layers, budget));
      }),
      { numRuns: 200 },
    );
  });

  test('the knapsack weighs every choice by its bytes', () => {
    // 7 more bytes save 5 of cost, and one byte more saves 4
    const own = () => ({
      module: 'a',
      weights: 1,
      choices: costed(choicesOfSizes([3, 10, 11]), (i) => [10, 5, 1][i] as number),
    });
    const layers = [own(), own()];
    expect(solveKnapsack(layers, 6)).toEqual([0, 0]);
    expect(solveKnapsack(layers, 13)).toEqual([1, 0]);
    expect(solveKnapsack(layers, 14)).toEqual([2, 0]);
    expect(solveKnapsack(layers, 20)).toEqual([1, 1]);
    expect(solveKnapsack(layers, 21)).toEqual([2, 1]);
    expect(solveKnapsack(layers, 22)).toEqual([2, 2]);
  });

  test('every method meets the budget, and no larger choice fits into the remainder', () => {
    fc.assert(
      fc.property(problems, ({ given, fill }) => {
        const layers = layersOf(given);
        const budget = budgetOf(layers, fill);
        const problem = problemOf(layers, budget);
        const cost = (i: number, index: number) => layers[i]?.choices[index]?.cost as number;
        const gain = (i: number, index: number) => cost(i, index) - cost(i, index + 1);
        const fits = (chosen: Chosen) => totalBytes(layers, chosen) <= budget;
        expectMaximal(layers, addGreedily(layers, smallest(layers), gain, fits), budget);
        expectMaximal(layers, chosenIn(layers, uniformAllocation(problem)), budget);
        expectMaximal(layers, chosenIn(layers, solveAllocation(problem, leastCostStrategy(layers))), budget);
      }),
      { numRuns: 200 },
    );
  });

  test('the greedy rule uses the gain of the next choice', () => {
    const layers = [
      { module: 'a', weights: 1, choices: choicesOfSizes([3, 10, 11]) },
      { module: 'b', weights: 1, choices: choicesOfSizes([3, 5, 20]) },
    ];
    // gains per byte: a 14/7 = 2, then 5/1; b 6/2 = 3, then 15/15 = 1
    const gains = [
      [14, 5],
      [6, 15],
    ];
    const allocate = (budget: number) =>
      addGreedily(
        layers,
        [0, 0],
        (i, index) => gains[i]?.[index] as number,
        (chosen) => totalBytes(layers, chosen) <= budget,
      );
    expect(allocate(7)).toEqual([0, 0]);
    expect(allocate(8)).toEqual([0, 1]);
    expect(allocate(15)).toEqual([1, 1]);
    expect(allocate(16)).toEqual([2, 1]);
    expect(allocate(31)).toEqual([2, 2]);
  });

  /** Costs by the number of kernels. */
  const measuredCosts = (costs: Readonly<Record<number, number>>, choices: readonly Choice[]) =>
    new Map(choices.flatMap(({ format }, i) => (costs[i + 1] === undefined ? [] : [[format, costs[i + 1] as number]])));

  test('unmeasured costs fall exponentially with the bytes', () => {
    const choices = kernelChoices(1, 6);
    const costsOf = (costs: Readonly<Record<number, number>>) =>
      withCosts(choices, measuredCosts(costs, choices)).map(({ cost }) => cost);
    expect(costsOf({ 1: 8, 2: 4 })).toEqual([8, 4, 2, 1, 0.5, 0.25]);
    expect(costsOf({ 2: 16, 4: 4, 5: 1 })).toEqual([32, 16, 8, 4, 1, 0.25]);
    const [only] = kernelChoices(3, 1) as [Choice];
    expect(withCosts([only], new Map([[only.format, 7]]))).toEqual([{ ...only, cost: 7 }]);
  });

  test('choices that cost no less than smaller ones are dropped, and dense weights cost nothing', () => {
    const choices = [...kernelChoices(2, 3), { format: { kind: 'other' }, bytes: 9, rung: 3 }];
    const dense = { format: DENSE, bytes: 20, rung: 4 };
    const costs = new Map(
      [[choices[0], 5] as const, [choices[1], 6] as const, [choices[2], 3] as const, [choices[3], 3] as const].map(
        ([choice, cost]) => [(choice as Choice).format, cost],
      ),
    );
    expect(withCosts([...choices, dense], costs)).toEqual([
      { ...choices[0], cost: 5 },
      { ...choices[2], cost: 3 },
      { ...dense, cost: 0 },
    ]);
  });

  test('choices far from the share of a layer are not considered, unless some layer has none within its share', () => {
    const [few, many] = [[20, 30, 200], Array.from({ length: 100 }, (_, i) => i + 1)].map(
      (sizes, i): AllocatableLayer => ({ module: `${i}`, weights: 1, choices: choicesOfSizes(sizes) }),
    ) as [AllocatableLayer, AllocatableLayer];
    const sizes = (layers: readonly AllocatableLayer[]) =>
      layers.map(({ choices }) => choices.map(({ bytes }) => bytes));
    const [ofFew, ofMany] = sizes(nearShares([few, many], [50, 20]));
    expect(ofFew).toEqual([30, 200]);
    expect([ofMany?.[0], ofMany?.at(-1)]).toEqual([12, 36]);
    expect(sizes(nearShares([few, many], [10, 20]))).toEqual([[20], Array.from({ length: 36 }, (_, i) => i + 1)]);
  });

  test('three choices of a structure are measured, at 0.6, 1 and 1.6 of the share', () => {
    const choices = [...kernelChoices(1, 60), { format: { kind: 'other' }, bytes: 70, rung: 60 }];
    const measured = measuredAt(20, [...choices, { format: DENSE, bytes: 99, rung: 61 }]);
    expect(measured.map(({ bytes }) => bytes)).toEqual([12, 20, 32, 70]);
  });
});

/** Creates a model of linear layers of these shapes, some with biases, and an embedding table. */
function modelOf(given: readonly { rows: number; cols: number }[]): DenseSource {
  const specifications = given.flatMap(({ rows, cols }, i) => [
    { name: `layers.${i}.linear.weight`, rows, cols, role: 'linear' as const },
    ...(i % 2 === 0 ? [{ name: `layers.${i}.linear.bias`, rows: 1, cols: rows, role: 'bias' as const }] : []),
  ]);
  const embedding = { name: 'embed.weight', rows: 11, cols: 6, role: 'embedding' as const };
  return {
    specifications: [embedding, ...specifications],
    formats: new Map(),
    storage: (name: string) => (/\.(weight|bias)$/.test(name) ? 'F32' : undefined),
  } as unknown as DenseSource;
}

/** Lists the tensors of the model's file, by other code than that under test. */
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
  const cost = (i: number, index: number) => (1 + ((i * 7 + seed) % 5)) * 0.35 ** (index + 1);
  const measured = layers.map((layer, i) => ({
    ...layer,
    choices: costed(layer.choices, (index) => cost(i, index)),
  }));
  const known = layers.map(
    (layer, i): PaperLayer => ({
      ...layer,
      importance: 1 + ((i + seed) % 3),
      residuals: Array.from({ length: 8 }, (_, k) => 0.6 ** k),
    }),
  );
  return {
    measured: leastCostStrategy(measured),
    paper: { layers, allocate: (budget) => allocateByPaper(known, budget), gain: paperGain(known) },
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
        const fixedFormats = new Map(keepsFirst && given.length > 1 ? [['layers.0.linear', DENSE]] : []);
        const stored = (kernels: ReadonlyMap<string, number>) => {
          const tensors = tensorsOf(given, kernels);
          if (kind === 'size') return safetensorsBytes([EMBEDDING, ...tensors], { format: 'pt' });
          return tensors.reduce((sum, { dtype, shape }) => sum + shape.reduce((n, size) => n * size, WIDTHS[dtype]), 0);
        };
        const all = (count: number) =>
          new Map(
            given.map((_, i) => [`layers.${i}.linear`, count] as const).filter(([module]) => !fixedFormats.has(module)),
          );
        const [low, high] = [stored(all(1)), stored(new Map())];
        const limit = Math.floor(low + fill * Math.max(0, high - low));
        // a kernel of a tiny layer may take more bytes than its dense weight
        fc.pre(low <= high);
        const goal = kind === 'size' ? { size: limit } : { bits: ((limit + 0.5) * 8) / weights };
        fc.pre(limit < high);
        const problem = allocationProblem(
          source,
          { goal, method: 'uniform', choices: 'extracted', fixedFormats },
          new Map(),
        );
        const results = [
          uniformAllocation(problem),
          ...Object.values(strategies(problem.layers, seed)).map((strategy) => solveAllocation(problem, strategy)),
        ];
        for (const kernels of results.map(kernelCounts)) {
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

test('a uniform allocation spreads the remainder over the model', () => {
  const source = modelOf(Array.from({ length: 8 }, () => ({ rows: 8, cols: 64 })));
  const kernels = (bits: number) => [
    ...kernelCounts(
      uniformAllocation(
        allocationProblem(
          source,
          { goal: { bits }, method: 'uniform', choices: 'extracted', fixedFormats: new Map() },
          new Map(),
        ),
      ),
    ).values(),
  ];
  // a kernel has 8 · 8 bytes of bits and 2 · 72 of scales for 512 weights: 3.25 bits; half of the biases add ¼ bit each
  expect(kernels(3.25 * 2 + 0.25)).toEqual([2, 2, 2, 2, 2, 2, 2, 2]);
  expect(kernels(3.25 * 2.5 + 0.25)).toEqual([2, 3, 2, 3, 2, 3, 2, 3]);
  expect(kernels(3.25 * 1.25 + 0.25)).toEqual([1, 1, 1, 2, 1, 1, 1, 2]);
});

/** Computes the bytes of a weight in a format, and its bits per weight, from the definitions of the formats. */
function sizeOf({ rows, cols }: { rows: number; cols: number }, format: LayerFormat) {
  const packed = (bits: number) => Math.ceil(bits / 8);
  const bytes = isFactors(format)
    ? rows * packed(format.rank) + format.rank * packed(cols) + 2 * (rows + format.rank + cols)
    : isKernels(format)
      ? format.count * (rows * packed(cols) + 2 * (rows + cols))
      : rows * cols * (format.kind === 'int8' ? 1 : 4) + (format.kind === 'int8' ? 2 * rows : 0);
  return { bytes, bits: (bytes * 8) / (rows * cols) };
}

describe('every structure', () => {
  const given = Array.from({ length: 12 }, (_, i) => ({ rows: [96, 192, 512][i % 3] as number, cols: 192 }));
  const biases = given.reduce((sum, { rows }, i) => sum + (i % 2 === 0 ? 4 * rows : 0), 0);
  const weights = given.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const problemFor = (bits: number, choices: ChoiceSet) =>
    allocationProblem(
      modelOf(given),
      { goal: { bits }, method: 'uniform', choices, fixedFormats: new Map() },
      new Map(),
    );
  const used = (formats: Formats) => given.map((shape, i) => sizeOf(shape, formats.get(`layers.${i}.linear`) ?? DENSE));
  const kindsOf = (formats: Formats) => [...new Set([...formats.values()].map(({ kind }) => kind))].sort();

  test.each([
    [0.4, ['factors']],
    [0.8, ['factors']],
    [1.2, ['factors']],
    [1.9, ['factors']],
    [3.7, ['kernels']],
    [6.2, ['kernels']],
    [9, ['int8']],
  ])('at %p bits without measurement all layers have the same, up to the remainder', (bits, kinds) => {
    const formats = uniformAllocation(problemFor(bits, 'usual'));
    expect(kindsOf(formats)).toEqual(kinds);
    const sizes = used(formats);
    const total = sizes.reduce((sum, { bytes }) => sum + bytes, biases);
    expect((total * 8) / weights).toBeLessThanOrEqual(bits);
    expect((total * 8) / weights).toBeGreaterThan(0.97 * bits - 0.01);
    const each = sizes.filter((_, i) => formats.has(`layers.${i}.linear`)).map((size) => size.bits);
    expect(Math.max(...each) / Math.min(...each)).toBeLessThan(kinds[0] === 'factors' ? 1.4 : 1.7);
  });

  test('budgets from 0.4 to 16 bits are met to the byte', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.4, max: 16, noNaN: true }), fc.nat(100), (bits, seed) => {
        const problem = problemFor(bits, 'all');
        const layers = nearShares(problem.layers, sharesOf(problem)).map((layer, i) => {
          const measured = measuredAt(sharesOf(problem)[i] as number, layer.choices);
          const cost = ({ bytes }: Choice, k: number) =>
            (1 + ((i * 7 + k + seed) % 5)) * 0.1 ** (bytes / layer.weights);
          const costs = new Map(measured.map((choice, k) => [choice.format, cost(choice, k)]));
          return { ...layer, choices: withCosts(layer.choices, costs) };
        });
        const measured = leastCostStrategy(layers);
        for (const formats of [solveAllocation(problem, measured), uniformAllocation(problemFor(bits, 'usual'))]) {
          const total = used(formats).reduce((sum, { bytes }) => sum + bytes, biases);
          expect((total * 8) / weights).toBeLessThanOrEqual(bits);
          expect((total * 8) / weights).toBeGreaterThan(0.7 * bits);
        }
      }),
      { numRuns: 40 },
    );
  });
});

test('the average excludes kept layers', () => {
  const source = modelOf([
    { rows: 8, cols: 64 },
    { rows: 8, cols: 64 },
  ]);
  const fixedFormats = new Map([['layers.0.linear', kernelsFormat(8)]]);
  // 26 bytes · 8 … for two kernels of the other layer
  const problem = allocationProblem(
    source,
    { goal: { bits: (8 * 3.25 + 2 * 3.25) / 2 + 0.25 }, method: 'uniform', choices: 'extracted', fixedFormats },
    new Map(),
  );
  expect(sharesOf(problem)).toEqual([problem.layers[0]?.choices[1]?.bytes]);
});

const linearsOf = (modules: readonly string[]) =>
  modules.map((module) => ({ name: `${module}.weight`, rows: 8, cols: 64, role: 'linear' as const }));

describe('nonsense is refused', () => {
  const linears = linearsOf(['layers.0.q', 'layers.0.down', 'layers.1.q', 'layers.1.down']);
  const cases: readonly (readonly [string, object, RegExp])[] = [
    [
      'two goals',
      { kernels: 2, bits: 2 },
      /at most one of 'kernels', 'factors', 'bits' and 'size', got "kernels and bits"/,
    ],
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
    [
      'a format of no structure',
      { kernels: 2, keep: { '*.q': { kind: 'magic' } } },
      /keep\['\*.q'\].kind' .*got "magic"/,
    ],
    [
      'a format without a kind',
      { kernels: 2, keep: { '*.q': { count: 2 } } },
      /keep\['\*.q'\]: 'kind' must be a string/,
    ],
    ['a list as a format', { kernels: 2, keep: { '*.q': [2] } }, /'kind' must be a string/],
    [
      'kernels without a number',
      { kernels: 2, keep: { '*.q': { kind: 'kernels' } } },
      /keep\['\*.q'\]: 'count' must be a positive integer, got undefined/,
    ],
    [
      'a setting that no format has',
      { kernels: 2, keep: { '*.q': { kind: 'kernels', count: 2, rank: 4 } } },
      /keep\['\*.q'\]: 'rank' is 4, which is not read/,
    ],
    [
      'a setting of another format',
      { kernels: 2, keep: { '*.q': { kind: 'int8', count: 2 } } },
      /keep\['\*.q'\]: 'count' is 2, which is not read/,
    ],
    [
      'a format of 9 kernels',
      { kernels: 2, keep: { '*.q': { kind: 'kernels', count: 9 } } },
      /keep\['\*.q'\]' must be a format that a conversion can give 'layers.0.q', got {"kind": "kernels", "count": 9}/,
    ],
    [
      'kernels of which some are nested',
      { kernels: 2, keep: { '*.q': { kind: 'kernels', count: 2, nested: true } } },
      /a format that a conversion can give/,
    ],
    [
      'a format that only GGUF files have',
      { kernels: 2, keep: { '*.q': { kind: 'q8' } } },
      /a format that a conversion can give/,
    ],
  ];
  test.each(cases)('%s', (_, given, message) => {
    const check = () => checkAllocation(given as AllocationOptions, linears, { calibrated: false, extracted: false });
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
    const pose = () =>
      allocationProblem(source, { goal, method: 'uniform', choices: 'extracted', fixedFormats: new Map() }, new Map());
    expect(pose).toThrow(
      expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });
});

test('layers are kept by name or pattern, and the last match wins', () => {
  const linears = linearsOf(['layers.0.q', 'layers.0.down', 'layers.10.q', 'layers.10.down']);
  const { fixedFormats } = checkAllocation(
    { kernels: 2, keep: { '*.down': 3, 'layers.0.*': 'dense', 'layers.10.q': 1 } },
    linears,
    { calibrated: false, extracted: false },
  );
  expect(Object.fromEntries(fixedFormats)).toEqual({
    'layers.0.q': DENSE,
    'layers.0.down': DENSE,
    'layers.10.q': kernelsFormat(1),
    'layers.10.down': kernelsFormat(3),
  });
});

test('a format expands the shorthand of a number or a name', () => {
  const keep = { 'a.q': { kind: 'kernels', count: 2 }, 'b.q': { kind: 'int8' }, 'c.q': DENSE, 'd.q': kernelsFormat(3) };
  const { fixedFormats } = checkAllocation({ bits: 4, keep }, linearsOf(Object.keys(keep)), {
    calibrated: false,
    extracted: false,
  });
  const short = { 'a.q': 2, 'b.q': 'int8', 'c.q': 'dense', 'd.q': 3 } as const;
  expect(fixedFormats).toEqual(
    checkAllocation({ bits: 4, keep: short }, linearsOf(Object.keys(keep)), { calibrated: false, extracted: false })
      .fixedFormats,
  );
  expect([...fixedFormats.values()]).toEqual([kernelsFormat(2), INT8, DENSE, kernelsFormat(3)]);
});
