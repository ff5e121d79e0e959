/**
 * Conversions between f32 and the two 16-bit floating-point formats that models are stored in: f16 (IEEE binary16) and
 * bf16 (the upper half of an f32). To 16 bits they round to nearest, ties to even; NaN stays NaN.
 */

import { MbokError } from '../base/errors';

/** Formats of 16 bits, named as in safetensors files. */
export type HalfType = 'F16' | 'BF16';
/** Formats that weights are stored in. */
export type FloatType = 'F32' | HalfType;

/** Converts f32 to the bits of `type`. */
export function f32ToHalf(source: Float32Array, type: HalfType): Uint16Array {
  return type === 'F16' ? f32ToF16(source) : f32ToBf16(source);
}

/** As {@link f32ToHalf}, for a file. Throws MBOK_NON_FINITE, naming the tensor, where a number is not or becomes infinite. */
export function encodeHalf(name: string, source: Float32Array, type: HalfType): Uint16Array {
  const bits = f32ToHalf(source, type);
  const exponent = type === 'F16' ? F16_INFINITY : BF16_INFINITY;
  const bad = bits.findIndex((value) => (value & exponent) === exponent);
  if (bad >= 0) throw new MbokError('MBOK_NON_FINITE', `'${name}' holds ${source[bad]}, which is no number of ${type}`);
  return bits;
}

/** Converts bits of `type` to f32. */
export function halfToF32(source: Uint16Array, type: HalfType): Float32Array {
  return type === 'F16' ? f16ToF32(source) : bf16ToF32(source);
}

const F16_INFINITY = 0x7c00;
const BF16_INFINITY = 0x7f80;
const F16_NAN = 0x7e00;

let f16Values: Float32Array | undefined;

/** Every f16 as an f32, indexed by its bits: 256 KB that turn the conversion into one load. */
function f16Table(): Float32Array {
  if (f16Values) return f16Values;
  const table = new Float32Array(0x10000);
  for (let bits = 0; bits < 0x10000; bits++) {
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    let value: number;
    if (exponent === 0) value = fraction * 2 ** -24;
    else if (exponent === 31) value = fraction === 0 ? Infinity : NaN;
    else value = (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -value : value;
  }
  f16Values = table;
  return table;
}

/** Converts f16 bits to f32, into `target` if given (of at least the same length). */
export function f16ToF32(source: Uint16Array, target: Float32Array = new Float32Array(source.length)): Float32Array {
  const table = f16Table();
  for (let i = 0; i < source.length; i++) target[i] = table[source[i] as number] as number;
  return target;
}

/** Converts f32 to f16 bits; what is too large becomes infinite. */
export function f32ToF16(source: Float32Array, target: Uint16Array = new Uint16Array(source.length)): Uint16Array {
  const bits = bitsOf(source);
  const scratch = new Float32Array(1);
  const scratchBits = bitsOf(scratch);
  for (let i = 0; i < source.length; i++) {
    const x = bits[i] as number;
    const magnitude = x & 0x7fffffff;
    let half: number;
    if (magnitude >= 0x47800000) {
      // 2^16 and beyond
      half = magnitude > 0x7f800000 ? F16_NAN : F16_INFINITY;
    } else if (magnitude < 0x38800000) {
      // below 2^-14, the smallest normal f16: adding 0.5 makes the f32 unit round to f16's subnormal grid of 2^-24
      scratch[0] = Math.abs(source[i] as number) + 0.5;
      half = (scratchBits[0] as number) - 0x3f000000;
    } else {
      // exponent bias 127 → 15; a carry out of the fraction rightly raises the exponent, up to infinity
      const odd = (magnitude >>> 13) & 1;
      half = (magnitude - 0x38000000 + 0xfff + odd) >>> 13;
    }
    target[i] = ((x >>> 16) & 0x8000) | half;
  }
  return target;
}

/** Rounding to F16 moves a vector of its normal numbers by less than this part of its length. */
export const F16_PRECISION = 2 ** -11;
/** Part of its length that rounding may move a vector of scales by: four kernels leave a tenth of the weights anyway. */
export const LARGEST_F16_LOSS = 2 ** -4;

/** Numbers as F16 holds them, and what that loses. */
export interface F16Rounding {
  readonly values: Float32Array;
  /** ‖v − v̂‖ / ‖v‖; not finite where a number is not or becomes infinite. */
  readonly loss: number;
  /** How many numbers become 0. */
  readonly vanished: number;
}

/** The numbers of `source` times `factor`, rounded to F16. */
export function roundToF16(source: Float32Array, factor = 1): F16Rounding {
  const values = f16ToF32(f32ToF16(factor === 1 ? source : source.map((value) => value * factor)));
  let [moved, whole, vanished] = [0, 0, 0];
  for (let i = 0; i < source.length; i++) {
    const exact = (source[i] as number) * factor;
    const rounded = values[i] as number;
    moved += (exact - rounded) ** 2;
    whole += exact ** 2;
    if (rounded === 0 && exact !== 0) vanished++;
  }
  return { values, loss: moved === 0 ? 0 : Math.sqrt(moved / whole), vanished };
}

/** Converts bf16 bits to f32, into `target` if given (of at least the same length). */
export function bf16ToF32(source: Uint16Array, target: Float32Array = new Float32Array(source.length)): Float32Array {
  const bits = bitsOf(target);
  for (let i = 0; i < source.length; i++) bits[i] = (source[i] as number) << 16;
  return target;
}

/** Converts f32 to bf16 bits; what is too large becomes infinite. */
export function f32ToBf16(source: Float32Array, target: Uint16Array = new Uint16Array(source.length)): Uint16Array {
  const bits = bitsOf(source);
  for (let i = 0; i < source.length; i++) {
    const x = bits[i] as number;
    const nan = (x & 0x7fffffff) > 0x7f800000;
    // rounding could carry a NaN's fraction over to infinity, so its quiet bit is set instead
    target[i] = nan ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return target;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
