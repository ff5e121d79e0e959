/** The two orders in which ±1 kernels lie in memory. */

import type { Tensor } from '../graph';

/** Rows of a tile. */
const TILE_ROWS = 64;

/** Rows that tiles of `kernels` kernels have, each of `rows` rows: every kernel's are filled up to whole tiles. */
export function tiledRows(kernels: number, rows: number): number {
  return kernels * Math.ceil(rows / TILE_ROWS) * TILE_ROWS;
}

/**
 * Emits a copy in the other order: from 'bits' [K·m, n], which training and files have, to 'bitTiles'
 * [{@link tiledRows}, n], which decoding reads, or back.
 */
export function arrangeBits(from: Tensor, to: Tensor, kernels: number): void {
  from.graph.emit('arrange_bits', [from], [to], [kernels]);
}

/** ±1 matrices [K·m, n] row by row: `bits` itself, or what its tiles hold; `kernels` is K, `rows` m. */
export function rowsOfBits(bits: Tensor, kernels: number, rows: number): Tensor {
  if (bits.type === 'bits') return bits;
  const ordered = bits.graph.create({ rows: kernels * rows, cols: bits.cols, type: 'bits' });
  arrangeBits(bits, ordered, kernels);
  return ordered;
}
