/** Conversion between the two memory layouts of ±1 kernels. */

import type { Tensor } from '../graph';

/** Rows per tile. */
const TILE_ROWS = 64;

/** Returns the rows of `kernels` kernels of `rows` rows in tiles; each kernel is padded to whole tiles. */
export function tiledRows(kernels: number, rows: number): number {
  return kernels * Math.ceil(rows / TILE_ROWS) * TILE_ROWS;
}

/**
 * Emits a copy in the other layout. 'bits' [K·m, n] is for training and files; 'bitTiles' [{@link tiledRows}, n] is for
 * decode.
 */
export function arrangeBits(from: Tensor, to: Tensor, kernels: number): void {
  from.graph.emit('arrange_bits', [from], [to], [kernels]);
}

/**
 * Returns ±1 kernels [K·m, n] in the layout 'bits': `bits` itself, or a copy of its tiles. `kernels` is K, `rows` is m.
 */
export function rowsOfBits(bits: Tensor, kernels: number, rows: number): Tensor {
  if (bits.type === 'bits') return bits;
  const ordered = bits.graph.create({ rows: kernels * rows, cols: bits.cols, type: 'bits' });
  arrangeBits(bits, ordered, kernels);
  return ordered;
}
