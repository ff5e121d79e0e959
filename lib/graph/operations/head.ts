/** A model's head as data. Whoever needs logits or a loss of them decides how to compute them. */

import type { Tensor } from '../graph';
import { softcap } from './softcap';
import { type Table, tableProduct } from './table';

/** The operands of logits: cap · tanh(states · tableᵀ / cap), or states · tableᵀ if `cap` is 0. */
export interface Head {
  /** Hidden states after the final norm, [rows, h]. */
  readonly states: Tensor;
  /** Table [vocabulary, h]. */
  readonly table: Table;
  readonly cap: number;
}

/** Computes all logits, [rows, vocabulary]. */
export function headLogits({ states, table, cap }: Head): Tensor {
  const logits = tableProduct(states, table);
  return cap === 0 ? logits : softcap(logits, cap);
}
