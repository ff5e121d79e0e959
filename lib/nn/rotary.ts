/** Rotary position embedding: a table of cosines and sines, computed in float64. */

import { MbokError } from '../base/errors';
import { finiteNumber, integerInRange, invalid, options } from '../base/validate';
import { Matrix } from '../native/matrix';

/** Llama 3's scaling of rotary wavelengths, with the names of config.json's `rope_scaling`. */
export interface Llama3Scaling {
  /** Stretch of long wavelengths. */
  readonly factor: number;
  /** Wavelengths above originalPositions / lowFrequencyFactor are stretched by the whole factor. */
  readonly lowFrequencyFactor: number;
  /** Wavelengths below originalPositions / highFrequencyFactor are not stretched. */
  readonly highFrequencyFactor: number;
  /** Positions of the original context. */
  readonly originalPositions: number;
}

/** Options of {@link rotaryTable}. */
export interface RotaryConfig {
  /** Base of the geometric series of frequencies. Default 10000. */
  readonly theta?: number;
  /** Numbers per head that are rotated: its dimension or fewer; even. */
  readonly dimension: number;
  /** Rows of the table. In a model's configuration: the maximum. */
  readonly positions: number;
  /** Llama 3's scaling of long wavelengths; undefined for plain RoPE. */
  readonly llama3?: Llama3Scaling;
  /** Divisor of each pair's angle (LongRoPE). Equal divisors are linear position interpolation. */
  readonly stretch?: readonly number[];
  /** Factor of all cosines and sines (LongRoPE). Default 1. */
  readonly magnitude?: number;
}

/** Computes the angle per position for each of the dimension / 2 pairs. */
export function rotaryFrequencies({
  theta = 10_000,
  dimension,
  llama3,
  stretch,
}: Omit<RotaryConfig, 'positions'>): Float64Array {
  const plain = Float64Array.from({ length: dimension / 2 }, (_, j) => theta ** ((-2 * j) / dimension));
  if (stretch !== undefined) return plain.map((frequency, j) => frequency / (stretch[j] as number));
  if (llama3 === undefined) return plain;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalPositions } = llama3;
  return plain.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < originalPositions / highFrequencyFactor) return frequency;
    if (wavelength > originalPositions / lowFrequencyFactor) return frequency / factor;
    const blend = (originalPositions / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
    return ((1 - blend) * frequency) / factor + blend * frequency;
  });
}

/** Rows per stride. The first row of a stride is computed by cos and sin, the others by rotation. */
const STRIDE = 64;
/** Strides per write: 4096 rows of 128 numbers take 2 MB. */
const STRIDES_AT_ONCE = 64;
/** Maximum numbers of a table: 2 M positions of 128 numbers take 1 GB. */
const MOST_NUMBERS = 2 ** 28;

const KEYS = ['theta', 'dimension', 'positions', 'llama3', 'stretch', 'magnitude'] as const;
const LLAMA3_KEYS = ['factor', 'lowFrequencyFactor', 'highFrequencyFactor', 'originalPositions'] as const;

/** Throws MBOK_INVALID_ARGUMENT unless a table can be computed from the options. */
function expectRotary(given: RotaryConfig): void {
  const { theta, dimension, positions, llama3, stretch, magnitude } = options('options', given, KEYS);
  if (theta !== undefined) finiteNumber('theta', theta, Number.MIN_VALUE);
  if (integerInRange('dimension', dimension, 2) % 2 !== 0) invalid('dimension', 'even', dimension);
  integerInRange('positions', positions, 1);
  if (magnitude !== undefined) finiteNumber('magnitude', magnitude);
  if (llama3 !== undefined) {
    const factors = options('llama3', llama3, LLAMA3_KEYS);
    for (const key of LLAMA3_KEYS) finiteNumber(`llama3.${key}`, factors[key], Number.MIN_VALUE);
  }
  if (stretch === undefined) return;
  if (!Array.isArray(stretch) || stretch.length !== dimension / 2) {
    invalid('stretch', `a list of ${dimension / 2} numbers`, stretch);
  }
  for (const [j, divisor] of stretch.entries()) finiteNumber(`stretch[${j}]`, divisor, Number.MIN_VALUE);
}

/**
 * Computes the table of {@link rope}: in row p the cosines of dimension / 2 angles at position p, then their sines. Pair j
 * has the angle p · theta^(−2j / dimension). A row does not depend on the number of rows.
 *
 * @returns f32 [positions, dimension]; dispose it
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_UNSUPPORTED if the table exceeds 1 GB, MBOK_OUT_OF_MEMORY
 */
export function rotaryTable(config: RotaryConfig): Matrix {
  expectRotary(config);
  const { positions, dimension, magnitude = 1 } = config;
  if (positions * dimension > MOST_NUMBERS) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `a context of ${positions} tokens is not supported; this model's rotary embedding allows ${Math.floor(MOST_NUMBERS / dimension)}`,
    );
  }
  const frequencies = rotaryFrequencies(config);
  // a context of 131072 positions has millions of angles: within a stride each row is rotated from the row before, in f64,
  // with an error of at most 64 roundings, far below f32
  const [stepCosines, stepSines] = [frequencies.map(Math.cos), frequencies.map(Math.sin)];
  const table = new Matrix({ rows: positions, cols: dimension });
  const rows = Math.min(positions, STRIDES_AT_ONCE * STRIDE);
  const piece = new Float32Array(rows * dimension);
  for (let begin = 0; begin < positions; begin += rows) {
    const count = Math.min(rows, positions - begin);
    for (let first = 0; first < count; first += STRIDE) {
      const end = Math.min(first + STRIDE, count) * dimension;
      for (let j = 0; j < frequencies.length; j++) {
        const [stepCosine, stepSine] = [stepCosines[j] as number, stepSines[j] as number];
        const angle = (begin + first) * (frequencies[j] as number);
        let [cosine, sine] = [magnitude * Math.cos(angle), magnitude * Math.sin(angle)];
        for (let at = first * dimension + j; at < end; at += dimension) {
          piece[at] = cosine;
          piece[at + frequencies.length] = sine;
          const next = cosine * stepCosine - sine * stepSine;
          sine = sine * stepCosine + cosine * stepSine;
          cosine = next;
        }
      }
    }
    table.writeAt(begin * dimension * Float32Array.BYTES_PER_ELEMENT, piece.subarray(0, count * dimension));
  }
  return table;
}
