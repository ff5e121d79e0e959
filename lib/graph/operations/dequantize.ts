/** Blocks of a file's own number format to numbers. */

import { GGML_TYPES, type GgmlType } from '../../native/ggml_types';
import type { Tensor } from '../graph';

/**
 * Rows `position` (of the run), `position` + 1, … of w (f32, f16 or bf16, rounded once; q8 of the types that it holds
 * exactly) = the values of u8 [rows, bytes of a row]. A run throws MBOK_NON_FINITE where a value is NaN or infinite in w's
 * type.
 */
export function dequantize(bytes: Tensor, type: GgmlType, w: Tensor): void {
  bytes.graph.emit('dequantize', [bytes], [w], [GGML_TYPES[type].id]);
}
