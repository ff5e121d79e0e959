/**
 * Uniform grids of 2^bits values, one per row and group of inputs, as in GPTQ and in plain rounding (arXiv 2210.17323,
 * section 4, and its authors' code). They are asymmetric, reach from the smallest to the largest weight of the group,
 * and always include 0.
 */

import { MbokError } from '../base/errors';
import { f16ToF32, f32ToF16 } from '../io/half';

export interface GridSettings {
  /** Bits of a code, 2 to 4. */
  readonly bits: number;
  /** Consecutive inputs that share a grid in every row, at least 1. The last group of a row may be smaller. */
  readonly group: number;
}

/** A grid of values scale · (code − zero), code = 0 … 2^bits − 1. */
export interface Grid {
  /** Positive, representable in F16. */
  readonly scale: number;
  /** Code of the value 0. */
  readonly zero: number;
  /** 2^bits − 1. */
  readonly largest: number;
}

/** Smallest positive F16. A group whose weights are smaller still becomes 0. */
const LEAST_SCALE = 2 ** -24;

/**
 * Fits the grid of `count` numbers, `stride` apart from `begin` on. The scale is rounded to F16, its storage format,
 * before values are rounded to the grid. Throws MBOK_NON_FINITE if the scale exceeds F16.
 */
export function fitGrid(
  values: Float32Array,
  { begin, stride, count, bits }: { begin: number; stride: number; count: number; bits: number },
): Grid {
  let [min, max] = [0, 0];
  for (let at = begin, end = begin + count * stride; at < end; at += stride) {
    const value = values[at] as number;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const largest = 2 ** bits - 1;
  if (min === max) return { scale: 2 / largest, zero: Math.round(largest / 2), largest };
  const scale = Math.max(LEAST_SCALE, f16ToF32(f32ToF16(Float32Array.of((max - min) / largest)))[0] as number);
  if (scale === Infinity) {
    throw new MbokError('MBOK_NON_FINITE', `weights from ${min} to ${max} need a scale beyond F16`);
  }
  return { scale, zero: Math.round(-min / scale), largest };
}

/** Returns the value of the grid that is nearest to `value`. */
export function nearest({ scale, zero, largest }: Grid, value: number): number {
  const code = Math.round(value / scale) + zero;
  return scale * ((code < 0 ? 0 : code > largest ? largest : code) - zero);
}
