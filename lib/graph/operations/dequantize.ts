/** Conversion of ggml blocks to numbers. */

import { GGML_TYPES, type GgmlType } from '../../native/ggml_types';
import type { Tensor } from '../graph';

/**
 * Emits the dequantization of u8 [rows, bytes per row] to the rows of w from the run's `position` on. w is f32, f16 or
 * bf16 (rounded once), or q8 for the types that it stores exactly. A run throws MBOK_NON_FINITE if a value is NaN or
 * infinite in w's type.
 */
export function dequantize(bytes: Tensor, type: GgmlType, w: Tensor): void {
  bytes.graph.emit('dequantize', [bytes], [w], [GGML_TYPES[type].id]);
}
