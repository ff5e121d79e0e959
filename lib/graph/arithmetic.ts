/** The arithmetic of a graph: precision of products and of activations. */

import { oneOf } from '../base/validate';

/** Precisions of products in training. */
export type TrainingPrecision = 'f32' | 'bf16';
export const TRAINING_PRECISIONS: readonly TrainingPrecision[] = ['f32', 'bf16'];

/**
 * Precisions of products.
 *
 * - 'f32': no rounding.
 * - 'bf16': operands are rounded to bf16 if the CPU multiplies bf16 faster; sums are f32.
 * - 'int8': for inference only. In multi-Boolean layers, tokens and weights are rounded to 8 bits with one scale per
 *   256 inputs if the CPU multiplies them faster. Otherwise it is 'bf16'.
 *
 * For few rows, multi-Boolean layers read packed bits with look-up tables instead (at most 32 rows, depending on CPU,
 * precision and K). They then round each block of 64 inputs to about 10 bits of its maximum in 'bf16' and 'int8', and
 * to f32 accuracy in 'f32'.
 */
export type Precision = TrainingPrecision | 'int8';
export const PRECISIONS: readonly Precision[] = [...TRAINING_PRECISIONS, 'int8'];

/** Width in bits to which the inputs of Boolean layers can be rounded (operations/round_activations.ts). */
export type ActivationBits = 8 | 4 | 2 | 1;
export const ACTIVATION_BITS: readonly ActivationBits[] = [8, 4, 2, 1];

/** The arithmetic of a graph. */
export interface Arithmetic {
  /** Precision of products. */
  readonly precision: Precision;
  /** Width in bits to which inputs of Boolean layers are rounded; undefined if only the precision rounds them. */
  readonly activations: ActivationBits | undefined;
}

/** Checks precision and activations; defaults are 'f32' and no rounding. Throws MBOK_INVALID_ARGUMENT. */
export function arithmeticOf({ precision = 'f32', activations }: Partial<Arithmetic>): Arithmetic {
  oneOf('precision', precision, PRECISIONS);
  if (activations !== undefined) oneOf('activations', activations, ACTIVATION_BITS);
  return { precision, activations };
}

export function sameArithmetic(a: Arithmetic, b: Arithmetic): boolean {
  return a.precision === b.precision && a.activations === b.activations;
}
