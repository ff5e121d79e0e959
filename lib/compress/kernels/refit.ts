/** The joint refit of one matrix: all kernels' scales by least squares, all signs at once, in turns. */

import { integerInRange, options } from '../../base/validate';
import { type Decomposition, decomposeArray, type MatrixOptions, REFIT_ROUNDS } from './decompose';

/** Options of {@link refit}. */
export interface RefitOptions extends MatrixOptions {
  /** Rounds of output scales, input scales, signs. Default 10. */
  readonly rounds?: number;
}

/**
 * Successive SVID of `weight` [rows, cols] and then `rounds` rounds in which output scales and input scales are solved
 * for all kernels together and every weight takes the nearest of its 2^K values. Much closer than SVID alone for three
 * kernels and more, the same at one. Needs no data.
 *
 * @param weight - row-major, rows · cols finite numbers; copied
 * @returns kernels and scales in native memory, and how far they are from the weight; dispose it
 * @throws MbokError as {@link svid} does
 */
export async function refit(weight: Float32Array, settings: RefitOptions): Promise<Decomposition> {
  const checked = options('options', settings, ['rows', 'cols', 'kernels', 'iterations', 'rounds', 'signal']);
  return decomposeArray(weight, checked, integerInRange('rounds', checked.rounds ?? REFIT_ROUNDS, 1, 1000));
}
