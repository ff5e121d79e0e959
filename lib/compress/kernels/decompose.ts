/** Data-free decomposition of one matrix: successive SVID (svid.ts), then the joint refit (refit.ts). */

import { MbokError } from '../../base/errors';
import { integerInRange, invalid } from '../../base/validate';
import { Graph, matrixShape, SCALAR_SHAPE } from '../../graph/graph';
import { refit, svid } from '../../graph/operations/kernel_fit';
import { widen } from '../../graph/operations/weights';
import { runOnce } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import { MAX_KERNELS } from '../../structures/kernels';
import type { DecompositionRounds } from '../converter';
import { bindKernels, createKernels, disposeKernels, type KernelMatrices } from './kernel_matrices';

/** Maximum rounds of SVID's power iteration; about 30 suffice. It stops earlier once v hardly moves. */
export const SVID_ITERATIONS = 30;
/** Rounds of the joint refit. Later rounds change the residual in the fourth digit only. */
export const REFIT_ROUNDS = 10;

export interface DecompositionSettings extends DecompositionRounds {
  readonly kernels: number;
}

/** Kernels and scales of one matrix, with their relative error. Dispose it, or leave it to the garbage collector. */
export interface Decomposition extends KernelMatrices {
  /** ‖W − Ŵ‖ / ‖W‖ after each kernel of the successive extraction, before any refit. */
  readonly residuals: readonly number[];
  /** ‖W − Ŵ‖ / ‖W‖ of the result. */
  readonly residual: number;
  /** Frees the matrices. */
  dispose(): void;
}

/** Decomposes `weight` (f32 or a 16-bit type) in one native call. */
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
    const results = await runOnce(graph, signal);
    const after = [...(results.residuals as Float32Array)];
    const residual = (results.residual ?? results.residuals?.slice(-1))?.[0] as number;
    return { ...matrices, residuals: after, residual, dispose: () => disposeKernels(matrices) };
  } catch (error) {
    disposeKernels(matrices);
    throw error;
  }
}

/** Options common to {@link svid} and {@link refit}. */
export interface MatrixOptions {
  /** Rows of the weight: its outputs. */
  readonly rows: number;
  /** Columns of the weight: its inputs. */
  readonly cols: number;
  /** Number of ±1 kernels, 1 to 8. */
  readonly kernels: number;
  /** Maximum rounds of the power iteration for each kernel. Default 30. */
  readonly iterations?: number;
  /** Aborts the call, which then throws MBOK_ABORTED. */
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
  // compare the tag: it holds across realms, instanceof does not
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
