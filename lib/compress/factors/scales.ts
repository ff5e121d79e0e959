/**
 * Refinement of a factor pair: sweeps over the signs of A and of B, and scales by least squares. For fixed signs Ŵ = diag(a)
 * A diag(c) B diag(b) minimizes Σᵢ D_i (W' − Ŵ)ᵢ Ĥ (W' − Ŵ)ᵢᵀ over a, over c, over b in turn. Rows with negative scales are
 * flipped after.
 */

import { constantOnes } from '../../graph/constants';
import { Graph, type Tensor } from '../../graph/graph';
import { add } from '../../graph/operations/add';
import {
  columnSums,
  copy,
  coupledSignDescent,
  multiply,
  ridgeSolve,
  rowDots,
  signDescent,
  times,
  timesTransposed,
  transposedTimes,
} from '../../graph/operations/factor_fit';
import { reconstruct } from '../../graph/operations/kernel_fit';
import { signsOf } from '../../graph/operations/training';
import { transpose } from '../../graph/operations/transpose';
import { scale } from '../../graph/operations/weighted_sum';
import { runOnce } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import { bindPair, type PairMatrices } from './pair_matrices';

/** Rounds over all three vectors; a is fitted once more after them. */
const ROUNDS = 2;
/** Ridges in units of the mean diagonal. */
const MIDDLE_RIDGE = 1e-4;
const INPUT_RIDGE = 1e-6;

/** What the scales are fitted to. */
export interface ScaleGoal {
  /** W', f32 [m, n]. */
  readonly target: Matrix;
  /** Ĥ, f32 [n, n]. */
  readonly damped: Matrix;
  /** D, m weights of the outputs. */
  readonly importances: Float32Array;
}

/** Fits the scales of `pair` in place, makes them positive and gives the three vectors equal means. */
export async function fitPairScales(
  pair: PairMatrices,
  { target, damped, importances }: ScaleGoal,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { rows, cols } = target;
  using moments = new Matrix({ rows, cols });
  using weights = Matrix.from(importances, { rows, cols: 1 });
  await run((graph) => void times(graph.bind(target), graph.bind(damped), graph.bind(moments)), signal);
  const goal = { moments, damped, weights };
  for (let round = 0; round < ROUNDS; round++) {
    await fitOutputScales(pair, goal, signal);
    await run((graph) => fitMiddleScales(graph, pair, goal), signal);
    await run((graph) => fitInputScales(graph, pair, goal), signal);
  }
  await fitOutputScales(pair, goal, signal);
  await makePositive(pair, signal);
}

/**
 * Flips bits of A in place: one sweep of coordinate descent under Ĥ, for the scales of `pair`. No row's error grows, so
 * the importances of the outputs do not matter.
 */
export async function descendLeftSigns(
  pair: PairMatrices,
  { target, damped }: Omit<ScaleGoal, 'importances'>,
  signal: AbortSignal | undefined,
): Promise<void> {
  await run((graph) => {
    const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
    const right = factor(b, sMid, sIn);
    const moments = times(right, graph.bind(damped));
    const gram = timesTransposed(moments, right);
    const x = factor(a, sOut);
    const gradient = add(times(x, gram), scale(timesTransposed(graph.bind(target), moments), -1));
    signDescent(gram, x, gradient);
    signsOf(x, a, 0);
  }, signal);
}

/**
 * Flips bits of B in place: one sweep of coordinate descent under Ĥ and D, for the scales of `pair`. With C = diag(a) A
 * diag(c) and Y = B diag(b) the error is tr(CᵀDC Y Ĥ Yᵀ) − 2 tr(Y Ĥ W'ᵀ D C) and a constant.
 */
export async function descendRightSigns(
  pair: PairMatrices,
  { target, damped, importances }: ScaleGoal,
  signal: AbortSignal | undefined,
): Promise<void> {
  using weights = Matrix.from(importances, { rows: target.rows, cols: 1 });
  await run((graph) => {
    const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
    const metric = graph.bind(damped);
    const left = factor(a, sOut, sMid);
    const weighted = multiply(left, graph.bind(weights));
    const gram = transposedTimes(left, weighted);
    const moments = times(metric, transposedTimes(graph.bind(target), weighted));
    const x = transpose(factor(b, undefined, sIn));
    coupledSignDescent({ gram, metric, moments }, x);
    signsOf(transpose(x), b, 0);
  }, signal);
}

interface Goal {
  /** W' Ĥ [m, n]. */
  readonly moments: Matrix;
  readonly damped: Matrix;
  /** D [m, 1]. */
  readonly weights: Matrix;
}

async function run(
  emit: (graph: Graph) => void,
  signal: AbortSignal | undefined,
): Promise<Record<string, Float32Array>> {
  const graph = new Graph();
  emit(graph);
  return await runOnce(graph, signal);
}

/** Returns A or B as numbers, with scales for its rows and columns; absent ones are ones. */
function factor(bits: Tensor, rows?: Tensor, columns?: Tensor): Tensor {
  const { graph, cols } = bits;
  const count = bits.rows as number;
  const dense = graph.create({ rows: count, cols, type: 'f32' });
  const scales = { sOut: rows ?? constantOnes(graph, count), sIn: columns ?? constantOnes(graph, cols) };
  reconstruct({ kernels: bits, ...scales }, dense);
  return dense;
}

/** a_i = (W' Ĥ Vᵀ)_ii / (V Ĥ Vᵀ)_ii, V = A diag(c) B diag(b). */
async function fitOutputScales(pair: PairMatrices, goal: Goal, signal: AbortSignal | undefined): Promise<void> {
  const { cross, square } = await run((graph) => {
    const { a, b, sMid, sIn } = bindPair(graph, pair);
    const v = times(factor(a, undefined, sMid), factor(b, undefined, sIn));
    graph.output('cross', rowDots(graph.bind(goal.moments), v));
    graph.output('square', rowDots(times(v, graph.bind(goal.damped)), v));
  }, signal);
  pair.sOut.write((cross as Float32Array).map((value, i) => quotientOrZero(value, square?.[i] as number)));
}

function quotientOrZero(value: number, by: number): number {
  return by > 0 ? value / by : 0;
}

/** c solves ((AᵀD_aA) ∘ (B_b Ĥ B_bᵀ)) c = diag(AᵀD diag(a) W' Ĥ B_bᵀ), D_a = diag(a² D), B_b = B diag(b). */
function fitMiddleScales(graph: Graph, pair: PairMatrices, goal: Goal): void {
  const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
  const left = factor(a, sOut);
  const weighted = multiply(left, graph.bind(goal.weights));
  const right = factor(b, undefined, sIn);
  const squares = timesTransposed(times(right, graph.bind(goal.damped)), right);
  const system = multiply(transposedTimes(left, weighted), squares);
  const moments = rowDots(transposedTimes(weighted, graph.bind(goal.moments)), right);
  copy(ridgeSolve(system, moments, constant(graph, MIDDLE_RIDGE)), sMid);
}

/** b solves ((CᵀDC) ∘ Ĥ) b = Σᵢ C_ij D_i (W' Ĥ)_ij, C = diag(a) A diag(c) B. */
function fitInputScales(graph: Graph, pair: PairMatrices, goal: Goal): void {
  const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
  const c = times(factor(a, sOut, sMid), factor(b));
  const weighted = multiply(c, graph.bind(goal.weights));
  const system = multiply(transposedTimes(c, weighted), graph.bind(goal.damped));
  const moments = columnSums(multiply(weighted, graph.bind(goal.moments)));
  copy(ridgeSolve(system, moments, constant(graph, INPUT_RIDGE)), sIn);
}

function constant(graph: Graph, value: number): Tensor {
  return graph.bind(Matrix.from(Float32Array.of(value), { rows: 1, cols: 1 }));
}

/** Flips the signs of rows and columns with negative scales, and gives a, c and b the geometric mean of their means. */
async function makePositive(pair: PairMatrices, signal: AbortSignal | undefined): Promise<void> {
  const scales = [pair.sOut, pair.sMid, pair.sIn].map((matrix) => matrix.toFloat32());
  const signs = scales.map((values) => values.map((value) => (value < 0 ? -1 : 1)));
  const [rows, middle, columns] = signs.map((values) => Matrix.from(values, { rows: 1, cols: values.length })) as [
    Matrix,
    Matrix,
    Matrix,
  ];
  try {
    await run((graph) => {
      const { a, b } = bindPair(graph, pair);
      signsOf(factor(a, graph.bind(rows), graph.bind(middle)), a, 0);
      signsOf(factor(b, undefined, graph.bind(columns)), b, 0);
    }, signal);
  } finally {
    for (const matrix of [rows, middle, columns]) matrix.dispose();
  }
  const sizes = scales.map((values) => values.map(Math.abs));
  const means = sizes.map((values) => values.reduce((total, value) => total + value, 0) / values.length);
  const mean = Math.cbrt(means.reduce((product, value) => product * value, 1));
  for (const [i, matrix] of [pair.sOut, pair.sMid, pair.sIn].entries()) {
    const factorOf = mean > 0 ? mean / (means[i] as number) : 1;
    matrix.write((sizes[i] as Float32Array).map((value) => value * factorOf));
  }
}
