/** Successive SVID of one matrix (paper §4): B = sign(R), |R| ≈ sOut sInᵀ, R the rest that earlier kernels leave. */

import { options } from '../../base/validate';
import { type Decomposition, decomposeArray, type MatrixOptions } from './decompose';

/** Options of {@link svid}. */
export type SvidOptions = MatrixOptions;

/**
 * Approximates `weight` [rows, cols], row by row, by `kernels` ±1 matrices with scales, each the best of its signs for
 * what those before it leave. Needs no data.
 *
 * @param weight - row-major, rows · cols finite numbers; copied
 * @returns kernels and scales in native memory, and how far they are from the weight; dispose it
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE where `weight` has not rows × cols elements, MBOK_NON_FINITE,
 * MBOK_OUT_OF_MEMORY, MBOK_ABORTED
 *
 * @example
 * const { kernels, sOut, sIn, residual } = await svid(weight, { rows: 512, cols: 512, kernels: 2 });
 */
export async function svid(weight: Float32Array, settings: SvidOptions): Promise<Decomposition> {
  const checked = options('options', settings, ['rows', 'cols', 'kernels', 'iterations', 'signal']);
  return decomposeArray(weight, checked, 0);
}
