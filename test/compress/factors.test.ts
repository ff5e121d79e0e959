/** Factor pairs: the parts of the fit, the layer and its gradients against golden values. */

import { alternate } from '../../lib/compress/factors/admm';
import { fitPair } from '../../lib/compress/factors/fit_pair';
import { bindPair, type PairMatrices } from '../../lib/compress/factors/pair_matrices';
import { descendLeftSigns, descendRightSigns, fitPairScales } from '../../lib/compress/factors/scales';
import { startingFactors } from '../../lib/compress/factors/start';
import { inputBasis } from '../../lib/compress/input_basis';
import { filled } from '../../lib/graph/filled';
import { appendGradients } from '../../lib/graph/gradients';
import { Graph, type Tensor } from '../../lib/graph/graph';
import {
  multiply,
  ridgeSolve,
  symmetricEigen,
  times,
  timesTransposed,
  transposedTimes,
} from '../../lib/graph/operations/factor_fit';
import { Plan } from '../../lib/graph/plan';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { factors, rankForBits } from '../../lib/structures/factors';
import { readGolden } from '../helpers/golden';
import { Random, relativeError } from '../helpers/random';

const golden = readGolden('factors.safetensors');
const [M, N, RANK] = [28, 40, 20];
const ITERATIONS = 100;

function matrix(name: string, rows?: number): Matrix {
  const { data, shape } = golden(name);
  const count = rows ?? (shape.length === 1 ? 1 : (shape[0] as number));
  return Matrix.from(Float32Array.from(data), { rows: count, cols: data.length / count });
}

function bits(name: string): BitMatrix {
  const { data, shape } = golden(name);
  return BitMatrix.fromSigns(data, { rows: shape[0] as number, cols: shape[1] as number });
}

function pairOf(signs: string, scales: string): PairMatrices {
  const name = (part: string) => (scales === '0' ? `${part}0` : `${scales}.${part}`);
  return {
    a: bits(`${signs}A`),
    b: bits(`${signs}B`),
    sOut: matrix(name('a')),
    sMid: matrix(name('m')),
    sIn: matrix(name('b')),
  };
}

const reconstructed = (pair: PairMatrices) =>
  filled(new Matrix({ rows: pair.a.rows, cols: pair.b.cols }), (graph, dense) => {
    const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
    factors.multiplyOut({ boolean_a: a, boolean_b: b, s_out: sOut, s_mid: sMid, s_in: sIn }, dense);
  });

/** √(Σᵢ D_i Fᵢ Ĥ Fᵢᵀ / Σᵢ D_i Wᵢ Ĥ Wᵢᵀ), F = W − Ŵ, in f64. */
function weightedError(rebuilt: Float32Array): number {
  const [w, h, d] = ['W', 'H', 'D'].map((name) => golden(name).data) as [Float64Array, Float64Array, Float64Array];
  const mean = Array.from({ length: N }, (_, j) => h[j * N + j] as number).reduce((sum, value) => sum + value, 0) / N;
  const size = (f: (index: number) => number) => {
    let sum = 0;
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++)
        for (let k = 0; k < N; k++) {
          const moment = (h[j * N + k] as number) + (j === k ? 0.03 * mean : 0);
          sum += (d[i] as number) * f(i * N + j) * moment * f(i * N + k);
        }
    return sum;
  };
  return Math.sqrt(size((i) => (w[i] as number) - (rebuilt[i] as number)) / size((i) => w[i] as number));
}

describe('linear algebra', () => {
  const random = new Random(3);
  const draw = (rows: number, cols: number) =>
    Matrix.from(
      Float32Array.from({ length: rows * cols }, () => random.normal()),
      { rows, cols },
    );

  test.each([1, 2, 3, 31, 32, 33, 64, 65, 100, 257])('the eigenvectors of a matrix of %d rebuild it', async (n) => {
    const graph = new Graph();
    const x = graph.bind(draw(2 * n, n));
    const gram = transposedTimes(x, x);
    const [vectors, values] = [new Matrix({ rows: n, cols: n }), new Matrix({ rows: 1, cols: n })];
    symmetricEigen(gram, graph.bind(vectors), graph.bind(values));
    graph.output('gram', gram);
    const v = graph.bind(vectors);
    graph.output('rebuilt', transposedTimes(v, multiply(v, graph.bind(columnOf(new Float32Array(n).fill(1))))));
    await using plan = new Plan(graph);
    const { gram: expected } = await plan.run();
    const check = new Graph();
    const again = check.bind(vectors);
    check.output('rebuilt', transposedTimes(multiply(again, check.bind(columnOf(values.toFloat32()))), again));
    check.output('identity', timesTransposed(again, again));
    await using other = new Plan(check);
    const { rebuilt, identity } = await other.run();
    expect(relativeError(rebuilt as Float32Array, expected as Float32Array)).toBeLessThan(1e-5);
    const unit = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
    expect(relativeError(identity as Float32Array, unit)).toBeLessThan(1e-5);
    const ascending = [...values.toFloat32()].every((value, i, all) => i === 0 || value >= (all[i - 1] as number));
    expect(ascending).toBe(true);
  });

  function columnOf(values: Float32Array): Matrix {
    return Matrix.from(values, { rows: values.length, cols: 1 });
  }

  test.each([
    ['the identity', (i: number, j: number) => (i === j ? 1 : 0)],
    ['zeros', () => 0],
    ['rank 1', (i: number, j: number) => (i + 1) * (j + 1)],
    ['two clusters', (i: number, j: number) => (i === j ? (i % 2) + 1 : 0)],
    ['a path', (i: number, j: number) => (Math.abs(i - j) === 1 ? 1 : 0)],
  ])('eigenvectors of %s', async (_, value) => {
    const n = 90;
    const data = Float32Array.from({ length: n * n }, (__, at) => value(Math.floor(at / n), at % n));
    const [vectors, values] = [new Matrix({ rows: n, cols: n }), new Matrix({ rows: 1, cols: n })];
    await filled(vectors, (graph) =>
      symmetricEigen(graph.bind(Matrix.from(data, { rows: n, cols: n })), graph.bind(vectors), graph.bind(values)),
    );
    const graph = new Graph();
    const v = graph.bind(vectors);
    graph.output('rebuilt', transposedTimes(multiply(v, graph.bind(columnOf(values.toFloat32()))), v));
    await using plan = new Plan(graph);
    const { rebuilt } = await plan.run();
    const scale = Math.max(...data.map(Math.abs), 1);
    for (let i = 0; i < data.length; i++)
      expect(Math.abs((rebuilt?.[i] as number) - (data[i] as number)) / scale).toBeLessThan(1e-4);
  });

  test('a matrix whose products overflow is refused', async () => {
    const n = 80;
    const huge = Matrix.from(new Float32Array(n * n).fill(3e38), { rows: n, cols: n });
    const graph = new Graph();
    const [vectors, values] = [new Matrix({ rows: n, cols: n }), new Matrix({ rows: 1, cols: n })];
    symmetricEigen(graph.bind(huge), graph.bind(vectors), graph.bind(values));
    await using plan = new Plan(graph);
    await expect(plan.run()).rejects.toMatchObject({ code: 'MBOK_NON_FINITE' });
  });

  test('a matrix with NaN is refused', async () => {
    const graph = new Graph();
    const bad = Matrix.from(Float32Array.of(1, NaN, NaN, 1), { rows: 2, cols: 2 });
    symmetricEigen(
      graph.bind(bad),
      graph.create({ rows: 2, cols: 2, type: 'f32' }),
      graph.create({ rows: 1, cols: 2, type: 'f32' }),
    );
    await using plan = new Plan(graph);
    await expect(plan.run()).rejects.toMatchObject({ code: 'MBOK_NON_FINITE' });
  });

  test.each([
    [1, 1],
    [7, 3],
    [64, 10],
    [130, 200],
  ])('ridge regression with %d unknowns and %d rows', async (r, q) => {
    const graph = new Graph();
    const x = graph.bind(draw(r + 5, r));
    const g = transposedTimes(x, x);
    const [b, z, u] = [graph.bind(draw(q, r)), graph.bind(draw(q, r)), graph.bind(draw(q, r))];
    const ridge = graph.bind(Matrix.from(Float32Array.of(0.5), { rows: 1, cols: 1 }));
    const solution = ridgeSolve(g, b, ridge, { z, u });
    graph.output('solution', solution);
    graph.output('image', times(solution, g));
    for (const [name, tensor] of Object.entries({ g, b, z, u })) graph.output(name, times(tensor, graph.bind(unit(r))));
    await using plan = new Plan(graph);
    const results = (await plan.run()) as Record<string, Float32Array> & { g: Float32Array };
    const shift =
      (0.5 * Array.from({ length: r }, (_, i) => results.g[i * (r + 1)] as number).reduce((s, v) => s + v)) / r;
    const right = results.b?.map(
      (value, i) => value + shift * ((results.z?.[i] as number) - (results.u?.[i] as number)),
    );
    const left = results.image?.map((value, i) => value + shift * (results.solution?.[i] as number));
    expect(relativeError(left as Float32Array, right as Float32Array)).toBeLessThan(1e-4);
  });

  function unit(n: number): Matrix {
    const data = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
    return Matrix.from(data, { rows: n, cols: n });
  }
});

describe('the fit', () => {
  test('the basis of the inputs rebuilds the scaled second moments', async () => {
    using basis = await inputBasis(matrix('H'), N, undefined);
    const graph = new Graph();
    const v = graph.bind(basis.vectors);
    const column = Matrix.from(basis.values.toFloat32(), { rows: N, cols: 1 });
    graph.output('rebuilt', transposedTimes(multiply(v, graph.bind(column)), v));
    await using plan = new Plan(graph);
    const { rebuilt } = await plan.run();
    expect(relativeError(rebuilt as Float32Array, golden('scaled_H').data)).toBeLessThan(1e-5);
  });

  test('the start is the truncated SVD: its product, and factors of equal size', async () => {
    for (const rank of [5, RANK, 28, 60]) {
      const weight = matrix('scaled_W');
      const { a, b } = await startingFactors(weight, rank, undefined);
      const graph = new Graph();
      graph.output('product', times(graph.bind(a), graph.bind(b)));
      await using plan = new Plan(graph);
      const { product } = await plan.run();
      const error = relativeError(product as Float32Array, golden('scaled_W').data);
      if (rank >= 28) expect(error).toBeLessThan(1e-4);
      if (rank === RANK) {
        // the product of the golden start is the same matrix, over ν
        const reference = new Graph();
        reference.output(
          'product',
          times(reference.bind(matrix('admm.start_A')), reference.bind(matrix('admm.start_B'))),
        );
        await using other = new Plan(reference);
        const expected = (await other.run()).product as Float32Array;
        const size = Math.sqrt(golden('scaled_W').data.reduce((sum, value) => sum + value * value, 0) / (M * N));
        const scaled = expected.map((value) => value * size);
        expect(relativeError(product as Float32Array, scaled)).toBeLessThan(1e-4);
      }
      const meanSquare = (values: Float32Array) =>
        values.reduce((sum, value) => sum + value * value, 0) / values.length;
      expect(meanSquare(a.toFloat32()) / meanSquare(b.toFloat32())).toBeCloseTo(1, 4);
    }
  });

  test('from the golden start every iteration has the golden error, and the result the golden signs and scales', async () => {
    using basis = await inputBasis(matrix('H'), N, undefined);
    const { data } = golden('scaled_W');
    const size = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / (M * N));
    const weight = Matrix.from(
      Float32Array.from(data, (value) => value / size),
      { rows: M, cols: N },
    );
    const start = { a: matrix('admm.start_A'), b: matrix('admm.start_B') };
    const errors: number[] = [];
    const settings = { iterations: ITERATIONS, ridge: 0.05, onIteration: (error: number) => errors.push(error) };
    const { pair, error } = await alternate(weight, basis, start, settings, undefined);
    const expected = golden('admm.errors').data;
    expect(errors).toHaveLength(ITERATIONS);
    for (const [t, value] of errors.entries()) expect(Math.abs(value / (expected[t] as number) - 1)).toBeLessThan(1e-5);
    expect(error).toBeCloseTo(golden('admm.best_error').data[0] as number, 5);
    expect([...pair.a.toSigns()]).toEqual([...golden('A').data]);
    expect([...pair.b.toSigns()]).toEqual([...golden('B').data]);
    const a = pair.sOut.toFloat32().map((value, i) => (size * value) / Math.sqrt(golden('D').data[i] as number));
    const b = pair.sIn.toFloat32().map((value, j) => value / (basis.scales[j] as number));
    expect(relativeError(a, golden('a0').data)).toBeLessThan(1e-4);
    expect(relativeError(pair.sMid.toFloat32(), golden('m0').data)).toBeLessThan(1e-4);
    expect(relativeError(b, golden('b0').data)).toBeLessThan(1e-4);
  });

  test('the scales are the golden least squares', async () => {
    using basis = await inputBasis(matrix('H'), N, undefined);
    const pair = pairOf('', '0');
    const goal = { target: matrix('W'), damped: basis.damped, importances: Float32Array.from(golden('D').data) };
    await fitPairScales(pair, goal, undefined);
    for (const [part, scales] of [
      ['a', pair.sOut],
      ['m', pair.sMid],
      ['b', pair.sIn],
    ] as const)
      expect(relativeError(scales.toFloat32(), golden(`scales.${part}`).data)).toBeLessThan(1e-4);
    expect([...pair.a.toSigns()]).toEqual([...golden('scales.A').data]);
    expect([...pair.b.toSigns()]).toEqual([...golden('scales.B').data]);
    const error = weightedError((await reconstructed(pair)).toFloat32());
    expect(error).toBeCloseTo(golden('error').data[0] as number, 5);
  });

  test('a sweep over the bits of A flips the golden ones', async () => {
    using basis = await inputBasis(matrix('H'), N, undefined);
    const pair = pairOf('scales.', 'scales');
    await descendLeftSigns(pair, { target: matrix('W'), damped: basis.damped }, undefined);
    expect([...pair.a.toSigns()]).toEqual([...golden('descent.A').data]);
    expect([...pair.b.toSigns()]).toEqual([...golden('scales.B').data]);
    const error = weightedError((await reconstructed(pair)).toFloat32());
    expect(error).toBeCloseTo(golden('descent.error').data[0] as number, 5);
  });

  test('a sweep over the bits of B flips each bit that lowers the weighted error, columns in order', async () => {
    using basis = await inputBasis(matrix('H'), N, undefined);
    const pair = pairOf('scales.', 'scales');
    const [a, b] = [pair.a.toSigns(), pair.b.toSigns()];
    const [sOut, sMid, sIn] = [pair.sOut, pair.sMid, pair.sIn].map((scales) => scales.toFloat32()) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const errorNow = () =>
      weightedError(
        Float32Array.from({ length: M * N }, (_, at) => {
          const [i, j] = [Math.floor(at / N), at % N];
          let sum = 0;
          for (let k = 0; k < RANK; k++)
            sum += (a[i * RANK + k] as number) * (sMid[k] as number) * (b[k * N + j] as number);
          return sum * (sOut[i] as number) * (sIn[j] as number);
        }),
      );
    let [error, flips] = [errorNow(), 0];
    for (let j = 0; j < N; j++)
      for (let k = 0; k < RANK; k++) {
        b[k * N + j] = -(b[k * N + j] as number);
        const flipped = errorNow();
        if (flipped < error) [error, flips] = [flipped, flips + 1];
        else b[k * N + j] = -(b[k * N + j] as number);
      }
    expect(flips).toBeGreaterThan(0);
    const importances = Float32Array.from(golden('D').data);
    await descendRightSigns(pair, { target: matrix('W'), damped: basis.damped, importances }, undefined);
    expect([...pair.b.toSigns()]).toEqual([...b]);
    expect([...pair.a.toSigns()]).toEqual([...a]);
  });

  test('the whole fit, with its own rotation, is at most 3 % worse than the golden one', async () => {
    using basis = await inputBasis(matrix('H'), N, undefined);
    const goal = { target: matrix('W'), basis, importances: Float32Array.from(golden('D').data) };
    const pair = await fitPair(goal, { rank: RANK, iterations: ITERATIONS, ridge: 0.05 }, undefined);
    const error = weightedError((await reconstructed(pair)).toFloat32());
    expect(error).toBeLessThan(1.03 * (golden('error').data[0] as number));
    expect([pair.sOut, pair.sMid, pair.sIn].every((scales) => scales.toFloat32().every((value) => value > 0))).toBe(
      true,
    );
  });

  test.each([
    [1, 1, 1],
    [3, 70, 9],
    [65, 5, 8],
    [33, 40, 64],
  ])('a matrix of %d × %d has a pair of rank %d', async (rows, cols, rank) => {
    const random = new Random(rows);
    const target = Matrix.from(
      Float32Array.from({ length: rows * cols }, () => random.normal()),
      { rows, cols },
    );
    using basis = await inputBasis(undefined, cols, undefined);
    const goal = { target, basis, importances: new Float32Array(rows).fill(1) };
    const pair = await fitPair(goal, { rank, iterations: 20, ridge: 0.05 }, undefined);
    const error = relativeError((await reconstructed(pair)).toFloat32(), target.toFloat32());
    expect(error).toBeLessThan(rank >= Math.min(rows, cols) ? 0.5 : 0.9);
  });

  test('zeros stay zeros', async () => {
    using basis = await inputBasis(undefined, 6, undefined);
    const goal = { target: new Matrix({ rows: 4, cols: 6 }), basis, importances: new Float32Array(4).fill(1) };
    const pair = await fitPair(goal, { rank: 8, iterations: 3, ridge: 0.05 }, undefined);
    expect((await reconstructed(pair)).toFloat32().every((value) => value === 0)).toBe(true);
  });

  // Gaussian matrices of 1024²; relative squared errors by another implementation
  test.each([
    [0.5, 0.594],
    [0.8, 0.425],
  ])('without data a Gaussian matrix has the known error at %d bits', async (bitsPerWeight, squared) => {
    const size = 256;
    const random = new Random(5);
    const target = Matrix.from(
      Float32Array.from({ length: size * size }, () => random.normal()),
      { rows: size, cols: size },
    );
    using basis = await inputBasis(undefined, size, undefined);
    const goal = { target, basis, importances: new Float32Array(size).fill(1) };
    // without the scales' share, which is larger here than at 1024
    const rank = Math.floor((bitsPerWeight * size) / 2);
    const pair = await fitPair(goal, { rank, iterations: 100, ridge: 0.05 }, undefined);
    const error = relativeError((await reconstructed(pair)).toFloat32(), target.toFloat32());
    expect(error ** 2).toBeLessThan(1.03 * squared);
  });
});

test('ranks for bits per weight', () => {
  expect(rankForBits({ rows: 1024, cols: 1024 }, 1)).toBe(Math.floor((1024 * 1024 - 16 * 2048) / 2064));
  expect(rankForBits({ rows: 16, cols: 16 }, 0.4)).toBe(8);
});

describe('the layer', () => {
  test('computes the golden outputs and gradients', async () => {
    const pair = pairOf('scales.', 'scales');
    const graph = new Graph();
    const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
    const weight = { boolean_a: a, boolean_b: b, s_out: sOut, s_mid: sMid, s_in: sIn };
    const x = graph.input('x', { rows: 'tokens', cols: N });
    const z = graph.input('z', { rows: 'tokens', cols: M });
    const y = (factors.layer as NonNullable<typeof factors.layer>)(weight, x, { rounded: (each) => each });
    graph.output('y', y);
    const sums = new Map(
      [sOut, sMid, sIn].map((scale) => [scale, graph.bind(new Matrix({ rows: 1, cols: scale.cols }))]),
    );
    const signals = new Map(
      [a, b].map((bits) => [bits, graph.bind(new Matrix({ rows: bits.rows as number, cols: bits.cols }))]),
    );
    const booleans = new Map(
      [...signals].map(([bits, signal]) => [bits, { kind: 'dense', signal, kernel: 0 } as const]),
    );
    const [dx] = appendGradients(y, z, { accumulators: sums, booleans, wanted: [x] });
    graph.output('dx', dx as Tensor);
    const results: readonly (readonly [string, Tensor])[] = [
      ['grad_a', sums.get(sOut) as Tensor],
      ['grad_m', sums.get(sMid) as Tensor],
      ['grad_b', sums.get(sIn) as Tensor],
      ['grad_A', signals.get(a) as Tensor],
      ['grad_B', signals.get(b) as Tensor],
    ];
    for (const [name, tensor] of results) graph.output(name, tensor);
    await using plan = new Plan(graph, { maxRows: 9 });
    const inputs = { x: Float32Array.from(golden('layer.x').data), z: Float32Array.from(golden('layer.z').data) };
    const outputs = await plan.run({ inputs, scalars: { rows: 9 } });
    expect(relativeError(outputs.y as Float32Array, golden('layer.y').data)).toBeLessThan(1e-5);
    expect(relativeError(outputs.dx as Float32Array, golden('layer.grad_x').data)).toBeLessThan(1e-5);
    // the signals are the gradients times the scales of their factor, which golden ones contain
    for (const [name] of results)
      expect(relativeError(outputs[name] as Float32Array, golden(`layer.${name}`).data)).toBeLessThan(1e-5);
  });
});
