/** A weight of real numbers in blocks of 8 bits with a scale each, as GGUF files have it; exact, where F16 is not. */

import { Q8_BLOCK } from '../native/matrix';
import { dense } from './dense';
import type { LayerFormat, Structure } from './structure';

export interface Q8Format extends LayerFormat {
  readonly kind: 'q8';
}

export const Q8: Q8Format = { kind: 'q8' };

export const q8: Structure<Q8Format, 'weight'> = {
  kind: 'q8',
  // blocks lie along the inputs, also where other weights of the family are transposed
  parts: ({ rows, cols }) => [{ name: 'weight', rows, cols, role: 'real', type: 'Q8' }],
  fits: ({ cols }) => cols % Q8_BLOCK === 0,
  layer: dense.layer,
  table: dense.table,
  multiplyOut: dense.multiplyOut,
  parse: () => Q8,
  write: () => ({}),
  describe: () => 'q8',
};
