/** Calibrated conversion of one matrix: signs and scales that keep its outputs on real inputs. */

import { Graph, matrixShape, SCALAR_SHAPE } from '../../graph/graph';
import {
  calibratedError,
  calibrationTarget,
  compensatedSigns,
  descendInputScales,
  refit,
  scaleColumns,
  solveOutputScales,
  svid,
} from '../../graph/operations/kernel_fit';
import { Plan } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import type { CalibrationRounds } from '../converter';
import type { PreparedMoments } from '../input_moments';
import type { DecompositionSettings } from './decompose';
import { bindKernels, cloneKernels, createKernels, disposeKernels, type KernelMatrices } from './kernel_matrices';

/** Weight of a column in the decomposition that calibrated scales start from: H_jj. Measured on SmolLM2 at K = 2. */
export const COLUMN_POWER = 1;

export type CalibratedSettings = CalibrationRounds & DecompositionSettings;

/** The kernels and √(tr(D H Dᵀ) / tr(W' H W'ᵀ)), D = W' − Ŵ: the relative error of the layer's outputs. */
export interface CalibratedKernels {
  readonly matrices: KernelMatrices;
  readonly error: number;
}

/**
 * Converts `weight` (f32) of `module` for inputs of the given moments. The scales start from a data-free decomposition
 * of the target; of several rounds the best by error is kept. Where H is all zero that decomposition is the result.
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

/** Has `use` work on what the layer aims at in spite of the errors before it. */
export async function withTarget<T>(
  weight: Matrix,
  { module, moments }: { readonly module: string; readonly moments: PreparedMoments },
  signal: AbortSignal | undefined,
  use: (target: Matrix) => Promise<T>,
): Promise<T> {
  const correction = moments.compensation === undefined ? undefined : moments.corrections.get(module);
  if (correction === undefined) return await use(weight);
  const target = new Matrix(weight);
  try {
    await aim(weight, correction, moments, target, signal);
    return await use(target);
  } finally {
    target.dispose();
  }
}

async function fitTarget(
  target: Matrix,
  moments: PreparedMoments,
  settings: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<CalibratedKernels> {
  const current = createKernels(target, settings.kernels);
  try {
    await start(target, moments, current, settings, signal);
    if (moments.compensation === undefined) return { matrices: cloneKernels(current), error: 0 };
    const { rounds } = settings;
    return await bestOfRounds(current, rounds, (round) =>
      improveOnce(target, moments, current, { descend: round < rounds }, signal),
    );
  } finally {
    disposeKernels(current);
  }
}

async function aim(
  weight: Matrix,
  correction: Matrix,
  { compensation }: PreparedMoments,
  target: Matrix,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { factor, order } = compensation as { factor: Matrix; order: Matrix };
  const graph = new Graph();
  const bound = { factor: graph.bind(factor), order: graph.bind(order) };
  calibrationTarget(graph.bind(weight), graph.bind(correction), bound, graph.bind(target));
  await using plan = new Plan(graph);
  await plan.run({ signal });
}

/**
 * Starting scales: the decomposition of the target with columns weighed by (H_jj)^power. A decomposition of the columns
 * times √weight, whose input scales are then divided by it, minimizes the weighted error.
 */
async function start(
  target: Matrix,
  { h, compensation }: PreparedMoments,
  current: KernelMatrices,
  { kernels, iterations, refitRounds, columnPower }: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const graph = new Graph();
  const weighs = columnPower > 0 && refitRounds > 0 && kernels > 1 && compensation !== undefined;
  const own = graph.bind(target);
  const aimed = weighs ? scaleColumns(own, graph.bind(h), columnPower / 2) : own;
  const tensors = bindKernels(graph, current);
  svid(aimed, tensors, graph.create(matrixShape(1, kernels)), iterations);
  if (refitRounds > 0) refit(aimed, tensors, graph.create(SCALAR_SHAPE), refitRounds);
  if (weighs) graph.emit('scale_columns', [tensors.sIn, graph.bind(h)], [tensors.sIn], [-columnPower / 2]);
  await using plan = new Plan(graph);
  await plan.run({ signal });
}

/** Improves `current` again and again, by `improve` of rounds 1, 2, …, which tells its error; returns a copy of the best. */
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
  await using plan = new Plan(graph);
  const results = await plan.run({ signal });
  return results.error?.[0] as number;
}
