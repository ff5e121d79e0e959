/** Weights in other element types. */

import { matrixShape, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectWeights } from '../operation';

/** The weights in f32: `w` itself where it is, else a tensor of the plan's own. i8 weights need their `scales` [rows, 1]. */
export function widen(w: Tensor, scales?: Tensor): Tensor {
  const { rows, cols, type } = expectWeights('widen', 'w', w, scales);
  return type === 'f32' ? w : widenInto(w.graph.create(matrixShape(rows, cols)), w, scales);
}

/** As {@link widen}, written to `wide`, which is returned. */
export function widenInto(wide: Tensor, w: Tensor, scales?: Tensor): Tensor {
  wide.graph.emit('widen', [w, scales], [wide]);
  return wide;
}

/**
 * Emits q · scales ≈ w: q i8 [m, n], scales f32 [m, 1], of numbers that F16 holds. Returns ‖W − Ŵ‖ / ‖W‖ [1, 1]. A run
 * throws MBOK_NON_FINITE where w holds what is not finite.
 */
export function quantizeInt8(w: Tensor, q: Tensor, scales: Tensor): Tensor {
  expectWeights('quantize_int8', 'w', w, undefined);
  const error = w.graph.create(SCALAR_SHAPE);
  w.graph.emit('quantize_int8', [w], [q, scales, error]);
  return error;
}
