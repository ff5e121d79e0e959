/**
 * The fit of a factor pair that begins with the bits of a smaller one, for nested models (nested_steps.ts). The first
 * columns of A and rows of B stay, the others are added:
 *
 * 1. scales of the smaller pair by least squares on the present inputs (scales.ts), and its residual R = W' − Ŵ;
 * 2. a pair for R (fit_pair.ts) gives the added bits;
 * 3. scales of the joined pair, sweeps over the added bits of A and of B, and the scales again.
 *
 * For equal targets the error is 5 to 8 % above that of a pair of the whole rank (layers of the embedded model, 0.51 and
 * 1.16 bits). Iterations on the weighted sum of the errors of all prefixes end with larger errors at every size.
 */

import { Graph } from '../../graph/graph';
import { add } from '../../graph/operations/add';
import { copy } from '../../graph/operations/factor_fit';
import { scale } from '../../graph/operations/weighted_sum';
import { runOnce } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import { factors } from '../../structures/factors';
import { fitPair, type PairGoal, type PairSettings } from './fit_pair';
import { bindPair, clonePair, disposePair, joinPairs, type PairMatrices, slicePair } from './pair_matrices';
import { descendLeftSigns, descendRightSigns, fitPairScales, type ScaleGoal } from './scales';

/**
 * Fits a pair of rank `settings.rank` that begins with the bits of `earlier`. With equal ranks it copies `earlier`.
 * Dispose it.
 */
export async function extendPair(
  earlier: PairMatrices,
  goal: PairGoal,
  settings: PairSettings,
  signal: AbortSignal | undefined,
): Promise<PairMatrices> {
  const count = settings.rank - earlier.a.cols;
  const first = clonePair(earlier);
  if (count === 0) return first;
  const { target, basis, importances } = goal;
  const scaleGoal = { target, damped: basis.damped, importances };
  let joined: PairMatrices;
  try {
    await fitPairScales(first, scaleGoal, signal);
    using residual = await residualOf(target, first, signal);
    const added = await fitPair({ ...goal, target: residual }, { ...settings, rank: count }, signal);
    try {
      joined = joinPairs(first, added);
    } finally {
      disposePair(added);
    }
  } finally {
    disposePair(first);
  }
  try {
    await fitPairScales(joined, scaleGoal, signal);
    const pair = await descendLastSigns(joined, count, scaleGoal, signal);
    try {
      await fitPairScales(pair, scaleGoal, signal);
      return pair;
    } catch (error) {
      disposePair(pair);
      throw error;
    }
  } finally {
    disposePair(joined);
  }
}

/** Returns a copy of `pair` after sweeps over the bits of the last `count` columns of A and rows of B. */
async function descendLastSigns(
  pair: PairMatrices,
  count: number,
  { target, ...metric }: ScaleGoal,
  signal: AbortSignal | undefined,
): Promise<PairMatrices> {
  const before = pair.a.cols - count;
  const [first, last] = [slicePair(pair, 0, before), slicePair(pair, before, count)];
  try {
    using residual = await residualOf(target, first, signal);
    const goal = { target: residual, ...metric };
    await descendLeftSigns(last, goal, signal);
    await descendRightSigns(last, goal, signal);
    return joinPairs(first, last);
  } finally {
    disposePair(first);
    disposePair(last);
  }
}

/** Computes W' − Ŵ. Dispose it. */
async function residualOf(target: Matrix, pair: PairMatrices, signal: AbortSignal | undefined): Promise<Matrix> {
  const residual = new Matrix(target);
  try {
    const graph = new Graph();
    const { a, b, sOut, sMid, sIn } = bindPair(graph, pair);
    const dense = graph.create(target);
    factors.multiplyOut({ boolean_a: a, boolean_b: b, s_out: sOut, s_mid: sMid, s_in: sIn }, dense);
    copy(add(scale(dense, -1), graph.bind(target)), graph.bind(residual));
    await runOnce(graph, signal);
    return residual;
  } catch (error) {
    residual.dispose();
    throw error;
  }
}
