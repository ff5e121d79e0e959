import type { Tensor } from '../graph';

/**
 * Writes wᵀ for w [r, c] to `to` [c, r], by default a new tensor, and returns it. It has the type of w, which is not bits.
 * Has no gradient.
 */
export function transpose(
  w: Tensor,
  to: Tensor = w.graph.create({ rows: w.cols, cols: w.rows as number, type: w.type }),
): Tensor {
  w.graph.emit('transpose', [w], [to]);
  return to;
}
