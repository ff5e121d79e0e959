/** The target of a calibrated conversion: the weight, changed to make up for the errors of the layers before it. */

import { Graph } from '../graph/graph';
import { calibrationTarget } from '../graph/operations/kernel_fit';
import { runOnce } from '../graph/plan';
import { Matrix } from '../native/matrix';
import type { PreparedMoments } from './input_moments';

/** Calls `use` with the target W' = W + R Ĥ⁻¹, or with `weight` itself if there is nothing to correct. */
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
    await computeTarget(weight, correction, moments, target, signal);
    return await use(target);
  } finally {
    target.dispose();
  }
}

async function computeTarget(
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
  await runOnce(graph, signal);
}
