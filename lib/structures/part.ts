/** Type and shape of a part in a file. */

import type { Dtype } from '../io/safetensors_header';
import { rowBytes } from '../native/matrix';
import type { Part, PartType } from './structure';

/** The header entry of a part in a file. */
export interface StoredShape {
  readonly dtype: Dtype;
  /** Dimensions, row-major. */
  readonly shape: readonly number[];
}

/** Returns dtype and shape of a part stored as `type`. */
export function storedShape(part: Part, type: PartType): StoredShape {
  const { rows, cols, role, planes = 1, transposed } = part;
  if (type === 'bits') {
    return {
      dtype: 'U8',
      shape: transposed ? [1, cols, Math.ceil(rows / 8)] : [planes, rows / planes, Math.ceil(cols / 8)],
    };
  }
  if (type === 'Q8') return { dtype: 'U8', shape: [rows, rowBytes('q8', cols)] };
  if (transposed) return { dtype: type, shape: [cols, rows] };
  return { dtype: type, shape: role === 'real' && rows === 1 ? [cols] : [rows, cols] };
}
