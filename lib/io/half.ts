/**
 * Conversions between f32 and the two 16-bit formats of model files: f16 (IEEE binary16) and bf16 (the upper half of an
 * f32). Conversions to 16 bits round to nearest, ties to even. NaN stays NaN.
 */

import { MbokError } from '../base/errors';

/** 16-bit floating-point formats, named as in safetensors files. */
export type HalfType = 'F16' | 'BF16';
/** Floating-point formats of stored weights. */
export type FloatType = 'F32' | HalfType;

/** Converts f32 to the bits of `type`. */
export function f32ToHalf(source: Float32Array, type: HalfType): Uint16Array {
  return type === 'F16' ? f32ToF16(source) : f32ToBf16(source);
}

/**
 * Converts as {@link f32ToHalf}, for a file. Throws MBOK_NON_FINITE, naming the tensor, if a value is NaN or infinite
 * after the conversion.
 */
export function encodeHalf(name: string, source: Float32Array, type: HalfType): Uint16Array {
  const bits = f32ToHalf(source, type);
  const exponent = type === 'F16' ? F16_INFINITY : BF16_INFINITY;
  const bad = bits.findIndex((value) => (value & exponent) === exponent);
  if (bad >= 0)
    throw new MbokError('MBOK_NON_FINITE', `'${name}' holds ${source[bad]}, which ${type} cannot represent`);
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

/** Returns the f32 of every f16, indexed by its bits. The table has 256 KB and makes the conversion one load. */
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

/** Converts f16 bits to f32, into `target` (at least as long) if it is passed. */
export function f16ToF32(source: Uint16Array, target: Float32Array = new Float32Array(source.length)): Float32Array {
  const table = f16Table();
  for (let i = 0; i < source.length; i++) target[i] = table[source[i] as number] as number;
  return target;
}

/** Converts f32 to f16 bits. Values beyond the largest f16 become infinite. */
export function f32ToF16(source: Float32Array, target: Uint16Array = new Uint16Array(source.length)): Uint16Array {
  const bits = bitsOf(source);
  const scratch = new Float32Array(1);
  const scratchBits = bitsOf(scratch);
  for (let i = 0; i < source.length; i++) {
    const x = bits[i] as number;
    const magnitude = x & 0x7fffffff;
    let half: number;
    if (magnitude >= 0x47800000) {
      // |x| ≥ 2¹⁶, infinite or NaN
      half = magnitude > 0x7f800000 ? F16_NAN : F16_INFINITY;
    } else if (magnitude < 0x38800000) {
      // |x| < 2⁻¹⁴, the smallest normal f16: adding 0.5 rounds to f16's subnormal grid of 2⁻²⁴
      scratch[0] = Math.abs(source[i] as number) + 0.5;
      half = (scratchBits[0] as number) - 0x3f000000;
    } else {
      // exponent bias 127 → 15; a carry out of the fraction correctly raises the exponent, up to infinity
      const odd = (magnitude >>> 13) & 1;
      half = (magnitude - 0x38000000 + 0xfff + odd) >>> 13;
    }
    target[i] = ((x >>> 16) & 0x8000) | half;
  }
  return target;
}

/** Relative rounding error of a vector of normal f16 numbers is below this: ‖v − v̂‖ / ‖v‖ < 2⁻¹¹. */
export const F16_PRECISION = 2 ** -11;
/**
 * Largest acceptable relative rounding error of a vector of scales. Four kernels leave about 0.1 of the weights as
 * error anyway.
 */
export const LARGEST_F16_LOSS = 2 ** -4;

/** A vector rounded to F16, and the error of the rounding. */
export interface F16Rounding {
  readonly values: Float32Array;
  /** ‖v − v̂‖ / ‖v‖; not finite if a value is NaN or infinite, or overflows. */
  readonly loss: number;
  /** Number of nonzero values that become 0. */
  readonly vanished: number;
}

/** Rounds `source` · `factor` to F16. */
export function roundToF16(source: Float32Array, factor = 1): F16Rounding {
  const values = f16ToF32(f32ToF16(factor === 1 ? source : source.map((value) => value * factor)));
  let [errorSum, exactSum, vanished] = [0, 0, 0];
  for (let i = 0; i < source.length; i++) {
    const exact = (source[i] as number) * factor;
    const rounded = values[i] as number;
    errorSum += (exact - rounded) ** 2;
    exactSum += exact ** 2;
    if (rounded === 0 && exact !== 0) vanished++;
  }
  return { values, loss: errorSum === 0 ? 0 : Math.sqrt(errorSum / exactSum), vanished };
}

/** Converts bf16 bits to f32, into `target` (at least as long) if it is passed. */
export function bf16ToF32(source: Uint16Array, target: Float32Array = new Float32Array(source.length)): Float32Array {
  const bits = bitsOf(target);
  for (let i = 0; i < source.length; i++) bits[i] = (source[i] as number) << 16;
  return target;
}

/** Converts f32 to bf16 bits. Values beyond the largest bf16 become infinite. */
export function f32ToBf16(source: Float32Array, target: Uint16Array = new Uint16Array(source.length)): Uint16Array {
  const bits = bitsOf(source);
  for (let i = 0; i < source.length; i++) {
    const x = bits[i] as number;
    const nan = (x & 0x7fffffff) > 0x7f800000;
    // rounding could carry a NaN's fraction over to infinity: set its quiet bit instead
    target[i] = nan ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return target;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
