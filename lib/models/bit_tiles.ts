/** The ±1 kernels of a module in the order that inference or training reads them. */

import { filled } from '../graph/filled';
import { arrangeBits, tiledRows } from '../graph/operations/arrange_bits';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';

/** 'tiles' for inference, 'rows' for training: files and everything that changes bits. */
export type BitOrder = 'tiles' | 'rows';

/** A copy of kernels [K·m, n] as tiles. Dispose it. */
export async function tiled(bits: BitMatrix, kernels: number, signal?: AbortSignal): Promise<Matrix> {
  const rows = tiledRows(kernels, bits.rows / kernels);
  const tiles = new Matrix({ rows, cols: bits.cols, type: 'bitTiles' });
  return filled(tiles, (graph, target) => arrangeBits(graph.bind(bits), target, kernels), signal);
}

/** A copy of tiles as kernels [K·m, n], m being `rows`. Dispose it. */
export async function untiled(
  tiles: Matrix,
  { kernels, rows }: { readonly kernels: number; readonly rows: number },
  signal?: AbortSignal,
): Promise<BitMatrix> {
  const bits = new BitMatrix({ rows: kernels * rows, cols: tiles.cols });
  return filled(bits, (graph, target) => arrangeBits(graph.bind(tiles), target, kernels), signal);
}
