import type { Tensor } from '../graph';

/** Emits to = wᵀ: w [r, c], to [c, r], both of one type other than bits. Has no gradient. */
export function transpose(w: Tensor, to: Tensor): void {
  w.graph.emit('transpose', [w], [to]);
}
