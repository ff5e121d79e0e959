/** Data-free decomposition of one matrix: successive SVID, then the joint refit. */

import { MbokError } from '../../base/errors';
import { integerInRange, invalid } from '../../base/validate';
import { Graph, matrixShape, SCALAR_SHAPE } from '../../graph/graph';
import { refit, svid } from '../../graph/operations/kernel_fit';
import { widen } from '../../graph/operations/weights';
import { Plan } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import { MAX_KERNELS } from '../../structures/kernels';
import type { DecompositionRounds } from '../converter';
import { bindKernels, createKernels, disposeKernels, type KernelMatrices } from './kernel_matrices';

/** The power iteration converges in about 30 rounds (method: Prop. 4.3 and Perron–Frobenius, |W| has no sign to lose). */
export const SVID_ITERATIONS = 30;
/** Rounds of the joint refit; later ones change the residual in the fourth digit. */
export const REFIT_ROUNDS = 10;

export interface DecompositionSettings extends DecompositionRounds {
  readonly kernels: number;
}

/** Kernels of one matrix and how far they are from it. Dispose it, or leave it to the garbage collector. */
export interface Decomposition extends KernelMatrices {
  /** ‖W − Ŵ‖ / ‖W‖ after each successive kernel, before any refit. */
  readonly residuals: readonly number[];
  /** ‖W − Ŵ‖ / ‖W‖ of the result. */
  readonly residual: number;
  /** Frees the matrices. */
  dispose(): void;
}

/** Decomposes `weight`, f32 or of 16 bits, in one native call. */
export async function decompose(
  weight: Matrix,
  { kernels: count, iterations, refitRounds }: DecompositionSettings,
  signal: AbortSignal | undefined,
): Promise<Decomposition> {
  const matrices = createKernels(weight, count);
  try {
    const graph = new Graph();
    const w = widen(graph.bind(weight));
    const tensors = bindKernels(graph, matrices);
    const residuals = graph.create(matrixShape(1, count));
    svid(w, tensors, residuals, iterations);
    graph.output('residuals', residuals);
    if (refitRounds > 0) {
      const residual = graph.create(SCALAR_SHAPE);
      refit(w, tensors, residual, refitRounds);
      graph.output('residual', residual);
    }
    await using plan = new Plan(graph);
    const results = await plan.run({ signal });
    const after = [...(results.residuals as Float32Array)];
    const residual = (results.residual ?? results.residuals?.slice(-1))?.[0] as number;
    return { ...matrices, residuals: after, residual, dispose: () => disposeKernels(matrices) };
  } catch (error) {
    disposeKernels(matrices);
    throw error;
  }
}

/** Options that {@link svid} and {@link refit} share. */
export interface MatrixOptions {
  /** Of the weight: outputs. */
  readonly rows: number;
  /** Of the weight: inputs. */
  readonly cols: number;
  /** How many ±1 kernels, 1 to 8. */
  readonly kernels: number;
  /** Rounds of the power iteration. Default 30. */
  readonly iterations?: number;
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal;
}

/** Checks the arguments that `svid` and `refit` share, decomposes, and frees the copy of the weight. */
export async function decomposeArray(
  weight: Float32Array,
  { rows, cols, kernels, iterations = SVID_ITERATIONS, signal }: MatrixOptions,
  refitRounds: number,
): Promise<Decomposition> {
  const settings = {
    kernels: integerInRange('kernels', kernels, 1, MAX_KERNELS),
    iterations: integerInRange('iterations', iterations, 1, 10_000),
    refitRounds,
  };
  const shape = { rows: integerInRange('rows', rows, 1, 2 ** 31), cols: integerInRange('cols', cols, 1, 2 ** 31) };
  // by its tag, which holds across realms, as instanceof does not
  if (Object.prototype.toString.call(weight) !== '[object Float32Array]') invalid('weight', 'a Float32Array', weight);
  if (weight.length !== rows * cols) {
    throw new MbokError('MBOK_SHAPE', `'weight' has ${weight.length} elements, expected ${rows} × ${cols}`);
  }
  const bad = weight.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new MbokError('MBOK_NON_FINITE', `'weight' is ${weight[bad]} at element ${bad}`);
  const matrix = Matrix.from(weight, shape);
  try {
    return await decompose(matrix, settings, signal);
  } finally {
    matrix.dispose();
  }
}
