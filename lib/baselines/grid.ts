/**
 * Uniform grids of 2^bits values, one for every row and group of inputs, as GPTQ and plain rounding use them
 * (arXiv 2210.17323, section 4 and the quantizer of its authors' code): asymmetric, from the least to the largest weight
 * of the group and always over 0.
 */

import { MbokError } from '../base/errors';
import { f16ToF32, f32ToF16 } from '../io/half';

export interface GridSettings {
  /** Of a code, 2 to 4. */
  readonly bits: number;
  /** Consecutive inputs that share a grid in every row, at least 1; the last group of a row may be smaller. */
  readonly group: number;
}

/** The values scale · (code − zero), code = 0 … 2^bits − 1. */
export interface Grid {
  /** Positive, an F16. */
  readonly scale: number;
  /** A code: that of the value 0. */
  readonly zero: number;
  /** 2^bits − 1. */
  readonly largest: number;
}

/** The smallest positive F16: a group whose weights are smaller still becomes 0. */
const LEAST_SCALE = 2 ** -24;

/**
 * The grid of `count` numbers that lie `stride` apart from `begin` on. Its scale is rounded to the F16 that it would be
 * stored in before anything is rounded to the grid. Throws MBOK_NON_FINITE where that is too small a format.
 */
export function fitGrid(
  values: Float32Array,
  { begin, stride, count, bits }: { begin: number; stride: number; count: number; bits: number },
): Grid {
  let [least, most] = [0, 0];
  for (let at = begin, end = begin + count * stride; at < end; at += stride) {
    const value = values[at] as number;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  const largest = 2 ** bits - 1;
  if (least === most) return { scale: 2 / largest, zero: Math.round(largest / 2), largest };
  const scale = Math.max(LEAST_SCALE, f16ToF32(f32ToF16(Float32Array.of((most - least) / largest)))[0] as number);
  if (scale === Infinity) {
    throw new MbokError('MBOK_NON_FINITE', `weights from ${least} to ${most} are too far apart for a scale in F16`);
  }
  return { scale, zero: Math.round(-least / scale), largest };
}

/** The value of the grid that is nearest to `value`. */
export function nearest({ scale, zero, largest }: Grid, value: number): number {
  const code = Math.round(value / scale) + zero;
  return scale * ((code < 0 ? 0 : code > largest ? largest : code) - zero);
}
