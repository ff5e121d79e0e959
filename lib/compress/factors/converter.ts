/** Conversion of weights to Boolean factor pairs: without data, or calibrated on the layer's inputs. */

import { moduleOf } from '../../models/parts';
import { withWidened } from '../../models/widen';
import type { Matrix } from '../../native/matrix';
import { type FactorsFormat, factorsFormat, MOST_PAIR_BITS, rankForBits } from '../../structures/factors';
import type { WeightShape } from '../../structures/structure';
import { withTarget } from '../calibration_target';
import type { ConvertedWeight } from '../converted';
import type { FitGoal, WeightConverter } from '../converter';
import { LazyBasis } from '../input_basis';
import { relativeResidual } from '../relative_residual';
import { fitPair, pairNumbers } from './fit_pair';
import { extendPair } from './nested_pair';
import { disposePair, type PairMatrices, pairOf, pairParts, roundPairScales } from './pair_matrices';

/** First ridges: below and from {@link LARGE} bits per weight on. */
const [SMALL_RIDGE, LARGE_RIDGE, LARGE] = [0.05, 0.2, 2];

export const factorsConverter: WeightConverter<FactorsFormat> = {
  formats: (shape) => ranksOf(shape).map((rank) => factorsFormat(rank)),
  inOrder: true,
  weighsOutputs: true,
  budget: { formats: rungsOf, usualBits: [0, MOST_PAIR_BITS] },
  fitBytes: ({ rows, cols }, { rank }) => 4 * (2 * rows * cols + pairNumbers({ rows, cols }, rank)),

  async fit(weight, goal): Promise<ConvertedWeight> {
    const { owner, format, signal } = goal;
    const pair = await fitWeight(weight, goal);
    try {
      roundPairScales(moduleOf(owner.name), pair);
      const matrices = pairParts(owner, format, pair);
      return { format, matrices, residual: await relativeResidual(weight, { format, matrices }, signal) };
    } catch (error) {
      disposePair(pair);
      throw error;
    }
  },
};

/** Bits per weight of the smallest pair that a budget chooses, of the largest, and the ratio from one to the next. */
const [LEAST_RUNG, MOST_RUNG, STEP] = [0.25, 3.3, 1.08];

/** The pairs that a budget chooses among: ranks for geometrically growing bits per weight. */
function rungsOf(shape: WeightShape): readonly FactorsFormat[] {
  const count = Math.floor(Math.log(MOST_RUNG / LEAST_RUNG) / Math.log(STEP)) + 1;
  return Array.from({ length: count }, (_, i) => factorsFormat(rankForBits(shape, LEAST_RUNG * STEP ** i)));
}

/** Every rank up to that of the weight's size in {@link MOST_BITS} bits. */
function ranksOf(shape: WeightShape): readonly number[] {
  return Array.from({ length: rankForBits(shape, MOST_BITS) }, (_, i) => i + 1);
}

/** Bits per weight beyond which kernels are better. */
const MOST_BITS = 8;

async function fitWeight(
  weight: Matrix,
  { owner, format, calibration, rounds, signal, onDetail }: FitGoal<FactorsFormat>,
): Promise<PairMatrices> {
  const { rank } = format;
  const bits = (rank * (owner.rows + owner.cols)) / (owner.rows * owner.cols);
  const ridge = bits < LARGE ? SMALL_RIDGE : LARGE_RIDGE;
  const iterations = rounds.pairIterations;
  const module = moduleOf(owner.name);
  let done = 0;
  const onIteration = (error: number) =>
    onDetail?.(`${module}, error ${error.toFixed(4)} after iteration ${++done} of ${iterations}`);
  const settings = { rank, iterations, ridge, onIteration };
  const alike = new Float32Array(owner.rows).fill(1);
  if (calibration === undefined) {
    const basis = new LazyBasis(undefined, owner.cols);
    try {
      const identity = await basis.get(signal);
      return await withWidened(weight, signal, (target) =>
        fitPair({ target, basis: identity, importances: alike }, settings, signal),
      );
    } finally {
      basis.dispose();
    }
  }
  const { moments, importances = alike, earlier } = calibration;
  return await withTarget(weight, { module, moments }, signal, async (target) => {
    const goal = { target, basis: await moments.basis.get(signal), importances };
    if (earlier === undefined) return await fitPair(goal, settings, signal);
    return await extendPair(pairOf(earlier), goal, settings, signal);
  });
}
