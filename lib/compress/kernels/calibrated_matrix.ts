/**
 * Calibrated conversion of one matrix: signs and scales that minimize the error of the layer's outputs on real inputs.
 * It extends the paper (arXiv 2505.22811).
 *
 * The input is two moments over calibration tokens (input_moments.ts). H = X̃ᵀX̃ / N [n, n] is of the layer's inputs X̃
 * in the model as converted so far. R = ZᵀX̃ / N [m, n] is of the output errors Z to correct. The error of Ŵ = Σₖ
 * diag(sOut[k]) · B[k] · diag(sIn[k]) is tr(D H Dᵀ), D = W' − Ŵ.
 *
 * 1. Target. W' makes up for the errors of the layers before it; {@link DAMPING} is 0.03.
 *
 *      Ĥ = H + 0.03 · mean(diag H) · I,  W' = W + R Ĥ⁻¹
 *
 * 2. Starting scales. Successive SVID and the joint refit of W', with columns weighted by H_jj if K ≥ 2.
 * 3. Signs with error compensation, in the order and with the feedback of GPTQ (arXiv 2210.17323). Columns are taken in
 *    descending order of H_jj. U is upper triangular with UᵀU = Ĥ⁻¹ in that order, and w starts at W'. For each column
 *    j, every row i takes the level Σₖ ± sOut[k, i] sIn[k, j] nearest to w_j. Later columns l make up for the error:
 *
 *      e = (w_j − level) / U_jj,  w_l ← w_l − e · U_jl
 *
 * 4. Output scales s = sOut[·, i] of every row i by least squares; this H is not damped.
 *
 *      (A + 10⁻⁵ · mean(diag A) · I) s = P H w'ᵢ,  A = P H Pᵀ,  P[k] = B[k, i, ·] ⊙ sIn[k]
 *
 * 5. Input scales by one sweep of coordinate descent under H; then steps 3 and 4 again, for `rounds` rounds.
 *
 * The last round omits step 5. The result is the round with the least error. If H is zero, only step 2 runs, on W. All
 * steps are deterministic.
 */

import { Graph, matrixShape, SCALAR_SHAPE } from '../../graph/graph';
import {
  calibratedError,
  compensatedSigns,
  descendInputScales,
  refit,
  scaleColumns,
  solveOutputScales,
  svid,
} from '../../graph/operations/kernel_fit';
import { runOnce } from '../../graph/plan';
import type { Matrix } from '../../native/matrix';
import { withTarget } from '../calibration_target';
import type { CalibrationRounds } from '../converter';
import type { PreparedMoments } from '../input_moments';
import type { DecompositionSettings } from './decompose';
import { bindKernels, cloneKernels, createKernels, disposeKernels, type KernelMatrices } from './kernel_matrices';

/** Power of H_jj by which step 2 weights column j. Measured on SmolLM2 at K = 2. */
export const COLUMN_POWER = 1;

export type CalibratedSettings = CalibrationRounds & DecompositionSettings;

/** Kernels with their relative output error √(tr(D H Dᵀ) / tr(W' H W'ᵀ)), D = W' − Ŵ. */
export interface CalibratedKernels {
  readonly matrices: KernelMatrices;
  readonly error: number;
}

/**
 * Converts `weight` (f32) of `module` for inputs with these moments by the steps in this file's header. Returns the
 * round with the least error. If H is zero, returns the data-free decomposition with error 0.
 */
export async function calibrateMatrix(
  weight: Matrix,
  { module, moments }: { readonly module: string; readonly moments: PreparedMoments },
  settings: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<CalibratedKernels> {
  return await withTarget(weight, { module, moments }, signal, (target) =>
    fitTarget(target, moments, settings, signal),
  );
}

async function fitTarget(
  target: Matrix,
  moments: PreparedMoments,
  settings: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<CalibratedKernels> {
  const current = createKernels(target, settings.kernels);
  try {
    await fitStartingScales(target, moments, current, settings, signal);
    if (moments.compensation === undefined) return { matrices: cloneKernels(current), error: 0 };
    const { rounds } = settings;
    return await bestOfRounds(current, rounds, (round) =>
      improveOnce(target, moments, current, { descend: round < rounds }, signal),
    );
  } finally {
    disposeKernels(current);
  }
}

/**
 * Computes the starting scales (step 2): decomposes the target with columns weighted by (H_jj)^power. The columns are
 * multiplied by the square root of that weight before the decomposition, and the input scales divided by it after. This
 * minimizes the weighted error.
 */
async function fitStartingScales(
  target: Matrix,
  { h, compensation }: PreparedMoments,
  current: KernelMatrices,
  { kernels, iterations, refitRounds, columnPower }: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const graph = new Graph();
  const weighs = columnPower > 0 && refitRounds > 0 && kernels > 1 && compensation !== undefined;
  const w = graph.bind(target);
  const weighted = weighs ? scaleColumns(w, graph.bind(h), columnPower / 2) : w;
  const tensors = bindKernels(graph, current);
  svid(weighted, tensors, graph.create(matrixShape(1, kernels)), iterations);
  if (refitRounds > 0) refit(weighted, tensors, graph.create(SCALAR_SHAPE), refitRounds);
  if (weighs) graph.emit('scale_columns', [tensors.sIn, graph.bind(h)], [tensors.sIn], [-columnPower / 2]);
  await runOnce(graph, signal);
}

/**
 * Calls `improve` for rounds 1, 2, … `rounds`; it changes `current` and returns its error. Returns a copy of the best
 * round.
 */
export async function bestOfRounds(
  current: KernelMatrices,
  rounds: number,
  improve: (round: number) => Promise<number>,
): Promise<CalibratedKernels> {
  let best: CalibratedKernels | undefined;
  try {
    for (let round = 1; round <= rounds; round++) {
      const error = await improve(round);
      if (best !== undefined && best.error <= error) continue;
      if (best !== undefined) disposeKernels(best.matrices);
      best = { matrices: cloneKernels(current), error };
    }
  } catch (error) {
    if (best !== undefined) disposeKernels(best.matrices);
    throw error;
  }
  return best as CalibratedKernels;
}

async function improveOnce(
  target: Matrix,
  { h, compensation }: PreparedMoments,
  current: KernelMatrices,
  { descend }: { descend: boolean },
  signal: AbortSignal | undefined,
): Promise<number> {
  const { factor, order } = compensation as { factor: Matrix; order: Matrix };
  const graph = new Graph();
  const [w, gram] = [graph.bind(target), graph.bind(h)];
  const tensors = bindKernels(graph, current);
  compensatedSigns(w, { factor: graph.bind(factor), order: graph.bind(order) }, tensors);
  solveOutputScales(w, gram, tensors);
  if (descend) descendInputScales(w, gram, tensors);
  const error = graph.create(SCALAR_SHAPE);
  calibratedError(w, gram, tensors, error);
  graph.output('error', error);
  const results = await runOnce(graph, signal);
  return results.error?.[0] as number;
}
