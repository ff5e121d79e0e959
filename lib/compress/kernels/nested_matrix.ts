/** Calibrated conversion of one matrix that keeps the signs of an earlier one, with fewer kernels or more. */

import { throwIfAborted } from '../../base/validate';
import { Graph, SCALAR_SHAPE, type Tensor } from '../../graph/graph';
import { add } from '../../graph/operations/add';
import {
  calibratedError,
  compensatedSigns,
  descendInputScales,
  type KernelTensors,
  reconstruct,
  solveOutputScales,
  svid,
} from '../../graph/operations/kernel_fit';
import { scale } from '../../graph/operations/weighted_sum';
import { Plan } from '../../graph/plan';
import type { Matrix } from '../../native/matrix';
import { dampedMoments, type PreparedMoments } from '../input_moments';
import { bestOfRounds, type CalibratedKernels, type CalibratedSettings, withTarget } from './calibrated_matrix';
import {
  bindKernels,
  cloneKernels,
  createKernels,
  disposeKernels,
  joinKernels,
  type KernelMatrices,
  sliceKernels,
} from './kernel_matrices';

/** Rounds of output and input scales for given signs: one is as good within 0.1 % of perplexity, five are no better. */
const SCALE_ROUNDS = 2;

/** What a matrix aims at on which inputs. */
interface Goal {
  readonly target: Matrix;
  readonly moments: PreparedMoments;
  /** H with its damping, which scales are fitted under. */
  readonly damped: Matrix;
  readonly signal: AbortSignal | undefined;
}

/**
 * Converts `weight` (f32) of `module` to `settings.kernels` kernels, beginning with the signs of `earlier`: as many are left
 * as they are, of fewer the scales are fitted anew, and one more is chosen for what the others leave. Of several
 * rounds the best by error is kept.
 */
export async function calibrateFrom(
  earlier: KernelMatrices,
  weight: Matrix,
  { module, moments }: { readonly module: string; readonly moments: PreparedMoments },
  settings: CalibratedSettings,
  signal: AbortSignal | undefined,
): Promise<CalibratedKernels> {
  return await withTarget(weight, { module, moments }, signal, async (target) => {
    const { kernels } = settings;
    const count = earlier.sOut.rows;
    if (kernels === count) return { matrices: cloneKernels(earlier), error: 0 };
    const damped = dampedMoments(moments.h);
    try {
      const goal = { target, moments, damped, signal };
      if (kernels > count) return await extend(earlier, goal, settings);
      const matrices = sliceKernels(earlier, 0, kernels);
      return { matrices, error: await fitScales(matrices, goal) };
    } finally {
      damped.dispose();
    }
  });
}

/** One kernel more: that which error compensation finds for what the others leave, then scales of all, in turns. */
async function extend(
  earlier: KernelMatrices,
  goal: Goal,
  { rounds, iterations }: CalibratedSettings,
): Promise<CalibratedKernels> {
  const { target, moments, signal } = goal;
  const none = createKernels(target, 1);
  const current = joinKernels(earlier, none);
  try {
    await chooseLast(current, goal, (rest, last) => svid(rest, last, rest.graph.create(SCALAR_SHAPE), iterations));
    const { compensation } = moments;
    if (compensation === undefined) return { matrices: cloneKernels(current), error: 0 };
    return await bestOfRounds(current, rounds, async () => {
      throwIfAborted(signal);
      await chooseLast(current, goal, (rest, last) => {
        const { graph } = rest;
        const bound = { factor: graph.bind(compensation.factor), order: graph.bind(compensation.order) };
        compensatedSigns(rest, bound, last);
      });
      return await fitScales(current, goal);
    });
  } finally {
    disposeKernels(none);
    disposeKernels(current);
  }
}

/** Has `choose` write the last kernel of `current` for the rest that the others leave of the target. */
async function chooseLast(
  current: KernelMatrices,
  { target, signal }: Goal,
  choose: (rest: Tensor, last: KernelTensors) => void,
): Promise<void> {
  const others = current.sOut.rows - 1;
  const [first, last] = [sliceKernels(current, 0, others), sliceKernels(current, others, 1)];
  try {
    const graph = new Graph();
    const w = graph.bind(target);
    const rebuilt = graph.create(w);
    reconstruct(bindKernels(graph, first), rebuilt);
    choose(add(scale(rebuilt, -1), w), bindKernels(graph, last));
    await using plan = new Plan(graph);
    await plan.run({ signal });
    for (const part of ['kernels', 'sOut', 'sIn'] as const) {
      current[part].writeAt(first[part].byteLength, last[part].raw());
    }
  } finally {
    disposeKernels(first);
    disposeKernels(last);
  }
}

/** Fits all scales to the signs under the damped H; returns the error of the layer's outputs. */
async function fitScales(matrices: KernelMatrices, { target, moments, damped, signal }: Goal): Promise<number> {
  if (moments.compensation === undefined) return 0;
  const graph = new Graph();
  const [w, gram] = [graph.bind(target), graph.bind(damped)];
  const tensors = bindKernels(graph, matrices);
  for (let round = 0; round < SCALE_ROUNDS; round++) {
    solveOutputScales(w, gram, tensors);
    descendInputScales(w, gram, tensors);
  }
  solveOutputScales(w, gram, tensors);
  const error = graph.create(SCALAR_SHAPE);
  calibratedError(w, graph.bind(moments.h), tensors, error);
  graph.output('error', error);
  await using plan = new Plan(graph);
  return (await plan.run({ signal })).error?.[0] as number;
}
