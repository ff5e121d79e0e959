/** What dense products and the layers around them compute with. */

import { oneOf } from '../base/validate';

/** Precisions of dense products that learning works with. */
export const TRAINING_PRECISIONS = ['f32', 'bf16'] as const;
export type TrainingPrecision = (typeof TRAINING_PRECISIONS)[number];

/**
 * Precisions of dense products. 'bf16' rounds their operands to bf16 where the CPU multiplies them faster; sums stay f32.
 * 'int8' rounds the tokens and the weights of multi-Boolean layers to 8 bits with a scale for every 256 inputs, where the
 * CPU multiplies those faster, and is 'bf16' elsewhere: for computing, not for learning.
 *
 * A token or two at a time, multi-Boolean layers read packed bits instead, and round what they are given to 10 bits of the
 * largest of 64 inputs in 'bf16' and 'int8', and to f32 in 'f32'.
 */
export const PRECISIONS = [...TRAINING_PRECISIONS, 'int8'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** Widths that inputs of Boolean layers may be rounded to (operations/round_activations). */
export const ACTIVATION_BITS = [8, 4, 2, 1] as const;
export type ActivationBits = (typeof ACTIVATION_BITS)[number];

/** What a graph computes with. */
export interface Arithmetic {
  /** Of dense products. */
  readonly precision: Precision;
  /** Bits that the inputs of Boolean layers are rounded to; undefined where only the precision rounds them. */
  readonly activations: ActivationBits | undefined;
}

/** Checks the options of that name, 'f32' and unrounded by default. Throws MBOK_INVALID_ARGUMENT. */
export function arithmeticOf({ precision = 'f32', activations }: Partial<Arithmetic>): Arithmetic {
  oneOf('precision', precision, PRECISIONS);
  if (activations !== undefined) oneOf('activations', activations, ACTIVATION_BITS);
  return { precision, activations };
}

export function sameArithmetic(a: Arithmetic, b: Arithmetic): boolean {
  return a.precision === b.precision && a.activations === b.activations;
}
