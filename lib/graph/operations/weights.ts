/** Conversion of weights to other element types. */

import { matrixShape, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectWeights } from '../operation';

/**
 * Returns the weights in f32: `w` itself if it is f32, otherwise a tensor in the plan's memory. i8 weights need their
 * `scales` [rows, 1].
 */
export function widen(w: Tensor, scales?: Tensor): Tensor {
  const { rows, cols, type } = expectWeights('widen', 'w', w, scales);
  return type === 'f32' ? w : widenInto(w.graph.create(matrixShape(rows, cols)), w, scales);
}

/** Emits the f32 weights to `wide` and returns it; see {@link widen}. */
export function widenInto(wide: Tensor, w: Tensor, scales?: Tensor): Tensor {
  wide.graph.emit('widen', [w, scales], [wide]);
  return wide;
}

/**
 * Emits q · scales ≈ w with q i8 [m, n] and scales f32 [m, 1], which are F16 numbers. Returns ‖W − Ŵ‖ / ‖W‖ [1, 1]. A
 * run throws MBOK_NON_FINITE if w has a number that is not finite.
 */
export function quantizeInt8(w: Tensor, q: Tensor, scales: Tensor): Tensor {
  expectWeights('quantize_int8', 'w', w, undefined);
  const error = w.graph.create(SCALAR_SHAPE);
  w.graph.emit('quantize_int8', [w], [q, scales, error]);
  return error;
}
