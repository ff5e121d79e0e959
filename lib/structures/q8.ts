/**
 * A weight in the blocks of GGUF's Q8_0: 8-bit integers with one scale per block. Unlike F16 it stores such files
 * exactly.
 */

import { Q8_BLOCK } from '../native/matrix';
import { dense } from './dense';
import type { LayerFormat, Structure } from './structure';

export interface Q8Format extends LayerFormat {
  readonly kind: 'q8';
}

export const Q8: Q8Format = { kind: 'q8' };

export const q8: Structure<Q8Format, 'weight'> = {
  kind: 'q8',
  // blocks lie along the inputs, so q8 is not transposed even if the family's other weights are
  parts: ({ rows, cols }) => [{ name: 'weight', rows, cols, role: 'real', type: 'Q8' }],
  fits: ({ cols }) => cols % Q8_BLOCK === 0,
  layer: dense.layer,
  table: dense.table,
  multiplyOut: dense.multiplyOut,
  parse: () => Q8,
  write: () => ({}),
  describe: () => 'q8',
};
