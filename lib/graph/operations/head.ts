/** A model's head as data: whoever asks for logits or for a loss of them says how they are computed. */

import type { Tensor } from '../graph';
import { linear } from './linear';
import { softcap } from './softcap';

/** What makes logits of finished hidden states: cap·tanh(states·weightsᵀ / cap), or states·weightsᵀ where `cap` is 0. */
export interface Head {
  /** [rows, h]. */
  readonly states: Tensor;
  /** [vocabulary, h], of a type that {@link linear} takes. */
  readonly weights: Tensor;
  /** Of weights in 8 bits. */
  readonly scales: Tensor | undefined;
  readonly cap: number;
}

/** The logits [rows, vocabulary], whole. */
export function headLogits({ states, weights, scales, cap }: Head): Tensor {
  const logits = linear(states, weights, undefined, scales);
  return cap === 0 ? logits : softcap(logits, cap);
}
