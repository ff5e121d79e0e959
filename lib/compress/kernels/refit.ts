/**
 * The joint refit of one matrix: least squares over all kernels at once. It extends the paper (arXiv 2505.22811, §4).
 *
 * Successive SVID fits each kernel to a residual and never returns to the kernels before it. The refit starts from its
 * result and minimizes the error over all kernels by block coordinate descent:
 *
 *   ‖W − Ŵ‖²,  Ŵ = Σₖ diag(sOut[k]) · B[k] · diag(sIn[k])
 *
 * A round has three exact steps:
 *
 * 1. rows: solve K × K least squares for sOut[·, i]; kernel k has the design row B[k, i, ·] ⊙ sIn[k];
 * 2. columns: solve the same for sIn[·, j] with design rows B[k, ·, j] ⊙ sOut[k];
 * 3. signs: for each weight choose, of its 2^K levels Σₖ ± sOut[k, i] sIn[k, j], the nearest to W_ij.
 *
 * Both solves add a ridge of 10⁻⁶ times the mean of the matrix's diagonal. Scales may become negative. With one kernel
 * SVID is already optimal, and the refit changes nothing.
 */

import { integerInRange, options } from '../../base/validate';
import { type Decomposition, decomposeArray, type MatrixOptions, REFIT_ROUNDS } from './decompose';

/** Options of {@link refit}. */
export interface RefitOptions extends MatrixOptions {
  /** Rounds of output scales, input scales and signs. Default 10. */
  readonly rounds?: number;
}

/**
 * Decomposes `weight` [rows, cols] by successive SVID and then refits all kernels jointly for `rounds` rounds. Needs no
 * data. The error is smaller than after SVID from two kernels on, and equal for one kernel.
 *
 * @param weight - row-major, rows · cols finite numbers; copied
 * @returns kernels and scales in native memory, and their relative error; dispose it
 * @throws MbokError as {@link svid} does
 */
export async function refit(weight: Float32Array, settings: RefitOptions): Promise<Decomposition> {
  const checked = options('options', settings, ['rows', 'cols', 'kernels', 'iterations', 'rounds', 'signal']);
  return decomposeArray(weight, checked, integerInRange('rounds', checked.rounds ?? REFIT_ROUNDS, 1, 1000));
}
