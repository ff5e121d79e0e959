/**
 * Successive SVID of one matrix (arXiv 2505.22811, §4; SVID itself: OneBit, arXiv 2402.11295).
 *
 * A weight W [m, n] becomes K kernels: ±1 matrices with one scale per row and one per column.
 *
 *   W ≈ Ŵ = Σₖ diag(sOut[k]) · B[k] · diag(sIn[k]),  B[k] ∈ {−1, +1}^{m×n}
 *
 * Kernel k is extracted from the residual R = W − Σ_{l<k} Ŵ[l] of the kernels before it:
 *
 *   B[k] = sign(R), sign(0) = +1;  |R| ≈ σ₁ u vᵀ (rank-1 SVD);  sOut[k] = √σ₁ u;  sIn[k] = √σ₁ v
 *
 * These scales minimize ‖R − Ŵ[k]‖ for B[k] = sign(R) (Prop. 4.3 of the paper). u and v are not negative
 * (Perron–Frobenius). Power iteration on |R|ᵀ|R| computes them, so no SVD library is needed.
 */

import { options } from '../../base/validate';
import { type Decomposition, decomposeArray, type MatrixOptions } from './decompose';

/** Options of {@link svid}. */
export type SvidOptions = MatrixOptions;

/**
 * Approximates `weight` [rows, cols] by `kernels` ±1 matrices with scales. Needs no data. Each kernel is extracted from
 * the residual of the kernels before it.
 *
 * @param weight - row-major, rows · cols finite numbers; copied
 * @returns kernels and scales in native memory, and their relative error; dispose it
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if `weight` does not have rows × cols elements, MBOK_NON_FINITE,
 * MBOK_OUT_OF_MEMORY, MBOK_ABORTED
 *
 * @example
 * const { kernels, sOut, sIn, residual } = await svid(weight, { rows: 512, cols: 512, kernels: 2 });
 */
export async function svid(weight: Float32Array, settings: SvidOptions): Promise<Decomposition> {
  const checked = options('options', settings, ['rows', 'cols', 'kernels', 'iterations', 'signal']);
  return decomposeArray(weight, checked, 0);
}
