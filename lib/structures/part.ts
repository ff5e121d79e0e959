/** What files hold of a part. */

import type { Dtype } from '../io/safetensors_header';
import { rowBytes } from '../native/matrix';
import type { Part, PartType } from './structure';

/** A part as a file's header describes it. */
export interface StoredShape {
  readonly dtype: Dtype;
  /** Row-major. */
  readonly shape: readonly number[];
}

/** `type`: of a part that has none of its own, or that a file holds in another type of real numbers. */
export function storedShape(part: Part, type: PartType): StoredShape {
  const { rows, cols, role, planes = 1, transposed } = part;
  if (type === 'bits') return { dtype: 'U8', shape: [planes, rows / planes, Math.ceil(cols / 8)] };
  if (type === 'Q8') return { dtype: 'U8', shape: [rows, rowBytes('q8', cols)] };
  if (transposed) return { dtype: type, shape: [cols, rows] };
  return { dtype: type, shape: role === 'real' && rows === 1 ? [cols] : [rows, cols] };
}
