/** Calibrated conversion of one matrix: signs and scales that keep its outputs on real inputs. */

import { Graph } from '../graph/graph';
import {
  calibratedError,
  calibrationTarget,
  compensatedSigns,
  descendInputScales,
  refit,
  solveOutputScales,
  svid,
} from '../graph/operations/conversion';
import { Plan } from '../graph/plan';
import { matrixShape, SCALAR_SHAPE } from '../graph/tensor';
import { Matrix } from '../native/matrix';
import type { DecompositionSettings } from './decompose';
import { DAMPING, type PreparedMoments } from './input_moments';
import { bindKernels, cloneKernels, createKernels, disposeKernels, type KernelMatrices } from './kernel_matrices';

export interface CalibratedSettings extends DecompositionSettings {
  /** How far the target moves towards the original model's outputs, 0 to 1; needs C unless 0. */
  readonly mix: number;
  /** Rounds of signs and output scales; input scales descend between them. */
  readonly rounds: number;
}

/** The kernels and √(tr(D H Dᵀ) / tr(W' H W'ᵀ)), D = W' − Ŵ: the relative error of the layer's outputs. */
export interface CalibratedKernels {
  readonly matrices: KernelMatrices;
  readonly error: number;
}

/**
 * Converts `weight` for inputs of the given moments. The scales start from a data-free decomposition of the target;
 * of several rounds the best by error is kept. Where H is all zero that decomposition is the result.
 */
export async function calibrateMatrix(
  weight: Matrix,
  moments: PreparedMoments,
  settings: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<CalibratedKernels> {
  const target = settings.mix !== 0 && moments.compensation !== undefined ? new Matrix(weight) : undefined;
  const current = createKernels(weight, settings.kernels);
  try {
    await start(weight, target, moments, current, settings, signal);
    if (moments.compensation === undefined) return { matrices: cloneKernels(current), error: 0 };
    return await improve(target ?? weight, moments, current, settings.rounds, signal);
  } finally {
    target?.dispose();
    disposeKernels(current);
  }
}

/** Target and starting scales. */
async function start(
  weight: Matrix,
  target: Matrix | undefined,
  { h, c }: PreparedMoments,
  current: KernelMatrices,
  { kernels, iterations, refitRounds, mix }: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const graph = new Graph();
  let aim = graph.bind(weight);
  if (target !== undefined && c !== undefined) {
    aim = graph.bind(target);
    const bound = { h: graph.bind(h), c: graph.bind(c) };
    calibrationTarget(graph.bind(weight), bound, aim, { mix, damping: DAMPING });
  }
  const tensors = bindKernels(graph, current);
  svid(aim, tensors, graph.create(matrixShape(1, kernels)), iterations);
  if (refitRounds > 0) refit(aim, tensors, graph.create(SCALAR_SHAPE), refitRounds);
  await using plan = new Plan(graph);
  await plan.run({ signal });
}

/** Rounds of signs and scales; returns a copy of the best. */
async function improve(
  target: Matrix,
  moments: PreparedMoments,
  current: KernelMatrices,
  rounds: number,
  signal: AbortSignal | undefined,
): Promise<CalibratedKernels> {
  let best: CalibratedKernels | undefined;
  try {
    for (let round = 1; round <= rounds; round++) {
      const error = await improveOnce(target, moments, current, { descend: round < rounds }, signal);
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
