/** Rotary position embedding: angles in float64, stored as a table of cosines and sines. */

import { MbokError } from '../base/errors';
import { Matrix } from '../native/matrix';

export interface RotaryConfig {
  /** Base of the geometric series of wavelengths. */
  readonly theta: number;
  /** Numbers of each head that are turned: its dimension, or a part of it. Even. */
  readonly dimension: number;
  /** Rows of the table; of a model's configuration, the most that there may be. */
  readonly positions: number;
  /** Llama 3's stretching of long wavelengths; absent for the plain form. */
  readonly llama3?: {
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalPositions: number;
  };
  /** What each pair's angle is divided by (LongRoPE; all alike: linear position interpolation). */
  readonly stretch?: readonly number[];
  /** Factor of all cosines and sines (LongRoPE). Default 1. */
  readonly magnitude?: number;
}

/** Angle per position of each of the dimension / 2 pairs. */
export function rotaryFrequencies({
  theta,
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

/** Rows from one cosine to the next that is computed as such. */
const STRIDE = 64;
/** Strides that are computed at a time: 4096 rows of 128 numbers take 2 MB. */
const STRIDES_AT_ONCE = 64;
/** 2 M positions of 128 numbers take 1 GB. */
const MOST_NUMBERS = 2 ** 28;

/**
 * The table [positions, dimension]: cosines of the pairs' angles, then their sines. A context of 131072 positions has
 * millions of them, so within a stride each is turned from the one before, in f64: an error of 64 roundings, far below f32.
 * A row does not depend on how many there are. Throws MBOK_UNSUPPORTED for a table of more than 1 GB, MBOK_OUT_OF_MEMORY.
 */
export function rotaryTable(config: RotaryConfig): Matrix {
  const { positions, dimension, magnitude = 1 } = config;
  if (positions * dimension > MOST_NUMBERS) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `a context of ${positions} tokens is not supported; this model's rotary embedding allows ${Math.floor(MOST_NUMBERS / dimension)}`,
    );
  }
  const frequencies = rotaryFrequencies(config);
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
