/**
 * Calibrated conversion of one matrix for a nested model: it keeps the signs of an earlier conversion
 * (nested_steps.ts).
 *
 * With fewer kernels than the earlier conversion, only scales are fitted: the first kernels keep their signs. With one
 * more kernel, the earlier signs stay and one kernel is added:
 *
 * 1. start: SVID of the residual W' − Ŵ gives the new kernel's scales;
 * 2. signs of the new kernel: error compensation on the residual (calibrated_matrix.ts, step 3);
 * 3. scales of all kernels by least squares under the damped H, output and input scales in turn; then step 2 again.
 *
 * The round with the least error √(tr(D H Dᵀ) / tr(W' H W'ᵀ)), H not damped, wins.
 */

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
import { runOnce } from '../../graph/plan';
import type { Matrix } from '../../native/matrix';
import { withTarget } from '../calibration_target';
import { dampedMoments } from '../damping';
import type { PreparedMoments } from '../input_moments';
import { bestOfRounds, type CalibratedKernels, type CalibratedSettings } from './calibrated_matrix';
import {
  bindKernels,
  cloneKernels,
  createKernels,
  disposeKernels,
  joinKernels,
  type KernelMatrices,
  sliceKernels,
} from './kernel_matrices';

/** Rounds of output and input scales for fixed signs. One round is within 0.1 % of perplexity, five are no better. */
const SCALE_ROUNDS = 2;

/** The target of one matrix, and the moments of its inputs. */
interface Goal {
  readonly target: Matrix;
  readonly moments: PreparedMoments;
  /** H with damping on its diagonal, under which scales are fitted. */
  readonly damped: Matrix;
  readonly signal: AbortSignal | undefined;
}

/**
 * Converts `weight` (f32) of `module` to `settings.kernels` kernels that begin with the signs of `earlier`. With equal
 * numbers it copies `earlier`. With fewer kernels it fits the scales of the first ones. With more it adds one kernel,
 * so `earlier` must have one kernel less.
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

/** Adds one kernel to `earlier` for its residual and fits the scales of all kernels. Returns the best round. */
async function extend(
  earlier: KernelMatrices,
  goal: Goal,
  { rounds, iterations }: CalibratedSettings,
): Promise<CalibratedKernels> {
  const { target, moments, signal } = goal;
  const added = createKernels(target, 1);
  const current = joinKernels(earlier, added);
  try {
    await chooseLast(current, goal, (residual, last) =>
      svid(residual, last, residual.graph.create(SCALAR_SHAPE), iterations),
    );
    const { compensation } = moments;
    if (compensation === undefined) return { matrices: cloneKernels(current), error: 0 };
    return await bestOfRounds(current, rounds, async () => {
      throwIfAborted(signal);
      await chooseLast(current, goal, (residual, last) => {
        const { graph } = residual;
        const bound = { factor: graph.bind(compensation.factor), order: graph.bind(compensation.order) };
        compensatedSigns(residual, bound, last);
      });
      return await fitScales(current, goal);
    });
  } finally {
    disposeKernels(added);
    disposeKernels(current);
  }
}

/** Calls `choose` with the residual of all kernels but the last; it writes the last kernel of `current`. */
async function chooseLast(
  current: KernelMatrices,
  { target, signal }: Goal,
  choose: (residual: Tensor, last: KernelTensors) => void,
): Promise<void> {
  const lastIndex = current.sOut.rows - 1;
  const [first, last] = [sliceKernels(current, 0, lastIndex), sliceKernels(current, lastIndex, 1)];
  try {
    const graph = new Graph();
    const w = graph.bind(target);
    const rebuilt = graph.create(w);
    reconstruct(bindKernels(graph, first), rebuilt);
    choose(add(scale(rebuilt, -1), w), bindKernels(graph, last));
    await runOnce(graph, signal);
    for (const part of ['kernels', 'sOut', 'sIn'] as const) {
      current[part].writeAt(first[part].byteLength, last[part].raw());
    }
  } finally {
    disposeKernels(first);
    disposeKernels(last);
  }
}

/** Fits all scales for fixed signs under the damped H. Returns the relative error of the layer's outputs. */
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
  return (await runOnce(graph, signal)).error?.[0] as number;
}
