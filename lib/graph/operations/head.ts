/** A model's head as data. Whoever needs logits or a loss of them decides how to compute them. */

import type { Tensor } from '../graph';
import { linear } from './linear';
import { softcap } from './softcap';

/** The operands of logits: cap · tanh(states · weightsᵀ / cap), or states · weightsᵀ if `cap` is 0. */
export interface Head {
  /** Hidden states after the final norm, [rows, h]. */
  readonly states: Tensor;
  /** Weights [vocabulary, h], of a type that {@link linear} accepts. */
  readonly weights: Tensor;
  /** Scales of i8 weights; undefined for other types. */
  readonly scales: Tensor | undefined;
  readonly cap: number;
}

/** Computes all logits, [rows, vocabulary]. */
export function headLogits({ states, weights, scales, cap }: Head): Tensor {
  const logits = linear(states, weights, undefined, scales);
  return cap === 0 ? logits : softcap(logits, cap);
}
