import type { Tensor } from '../graph';

/** Emits to = wᵀ for w [r, c] and `to` [c, r] of the same type, which is not bits. Has no gradient. */
export function transpose(w: Tensor, to: Tensor): void {
  w.graph.emit('transpose', [w], [to]);
}
