/** A weight of 8-bit integers with one scale per row. */

import { linear } from '../graph/operations/linear';
import { widenInto } from '../graph/operations/weights';
import type { LayerFormat, Structure } from './structure';

export interface Int8Format extends LayerFormat {
  readonly kind: 'int8';
}

export const INT8: Int8Format = { kind: 'int8' };

export const int8: Structure<Int8Format, 'weight' | 'weight_scale'> = {
  kind: 'int8',
  parts: ({ rows, cols }) => [
    { name: 'weight', rows, cols, role: 'int8', type: 'I8' },
    { name: 'weight_scale', rows, cols: 1, role: 'scale', type: 'F16', frozen: true },
  ],
  layer: ({ weight, weight_scale }, x, { bias }) => linear(x, weight, bias, weight_scale),
  table: ({ weight, weight_scale }) => ({ weights: weight, scales: weight_scale }),
  multiplyOut: ({ weight, weight_scale }, dense) => widenInto(dense, weight, weight_scale),
  parse: () => INT8,
  write: () => ({}),
  describe: () => 'int8',
};
