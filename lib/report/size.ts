/** Size of a report's model. */

import type { Conversion, PlannedModel, Quantization } from './recipes';
import type { Results } from './results';

export interface Size {
  /** Of the linear layers; strict: counts every byte stored for them. */
  readonly bitsPerWeight: number;
  /** Of model.safetensors; for a baseline those of a file with its codes, without a header. */
  readonly bytes: number;
}

/** Returns the size of a converted or finetuned model; undefined if it was not made, or for the original. */
export function sizeOf({ maker }: PlannedModel, results: Results): Size | undefined {
  const made = maker && (results.of(maker) as Partial<Quantization> & Partial<Conversion>);
  // a baseline's folder is dense: take the size of its packed codes instead
  const { bitsPerWeight, bytes } = made?.packed ?? made ?? {};
  return bitsPerWeight === undefined || bytes === undefined ? undefined : { bitsPerWeight, bytes };
}
