/** A dense weight: real numbers in the element type of their file. */

import { linear } from '../graph/operations/linear';
import { widenInto } from '../graph/operations/weights';
import type { Formats, LayerFormat, Structure } from './structure';

export interface DenseFormat extends LayerFormat {
  readonly kind: 'dense';
}

export const DENSE: DenseFormat = { kind: 'dense' };

/** Formats of a model with only dense weights. */
export const ALL_DENSE: Formats = new Map();

export const dense: Structure<DenseFormat, 'weight'> = {
  kind: 'dense',
  parts: ({ rows, cols, transposed }) => [{ name: 'weight', rows, cols, role: 'real', transposed }],
  layer: ({ weight }, x, { bias }) => linear(x, weight, bias),
  table: ({ weight }) => ({ weights: weight }),
  multiplyOut: ({ weight }, wide) => widenInto(wide, weight),
  parse: () => DENSE,
  write: () => ({}),
  describe: () => 'dense',
};
