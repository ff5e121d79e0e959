/** Rotary position embedding: angles in float64, stored as a table of cosines and sines. */

import { Matrix } from '../native/matrix';

export interface RotaryConfig {
  /** Base of the geometric series of wavelengths. */
  readonly theta: number;
  readonly headDimension: number;
  /** Rows of the table. */
  readonly positions: number;
  /** Llama 3's stretching of long wavelengths; absent for the plain form. */
  readonly llama3?: {
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalPositions: number;
  };
}

/** Angle per position of each of the headDimension / 2 pairs. */
export function rotaryFrequencies({ theta, headDimension, llama3 }: Omit<RotaryConfig, 'positions'>): Float64Array {
  const frequencies = Float64Array.from({ length: headDimension / 2 }, (_, j) => theta ** ((-2 * j) / headDimension));
  if (llama3 === undefined) return frequencies;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalPositions } = llama3;
  return frequencies.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < originalPositions / highFrequencyFactor) return frequency;
    if (wavelength > originalPositions / lowFrequencyFactor) return frequency / factor;
    const blend = (originalPositions / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
    return ((1 - blend) * frequency) / factor + blend * frequency;
  });
}

/** The table [positions, headDimension]: cosines of the pairs' angles, then their sines. */
export function rotaryTable(config: RotaryConfig): Matrix {
  const frequencies = rotaryFrequencies(config);
  const half = frequencies.length;
  const table = new Float32Array(config.positions * 2 * half);
  for (let position = 0; position < config.positions; position++) {
    frequencies.forEach((frequency, j) => {
      table[position * 2 * half + j] = Math.cos(position * frequency);
      table[position * 2 * half + half + j] = Math.sin(position * frequency);
    });
  }
  return Matrix.from(table, { rows: config.positions, cols: 2 * half });
}
