/** Conversion of a module's ±1 kernels between the layouts for inference and for training. */

import { filled } from '../graph/filled';
import { arrangeBits, tiledRows } from '../graph/operations/arrange_bits';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';

/** Layout of ±1 kernels: 'tiles' for inference; 'rows' for training, files and all code that changes bits. */
export type BitOrder = 'tiles' | 'rows';

/** Copies kernels [K·m, n] to tiles. Dispose the result. */
export async function tiled(bits: BitMatrix, kernels: number, signal?: AbortSignal): Promise<Matrix> {
  const rows = tiledRows(kernels, bits.rows / kernels);
  const tiles = new Matrix({ rows, cols: bits.cols, type: 'bitTiles' });
  return filled(tiles, (graph, target) => arrangeBits(graph.bind(bits), target, kernels), signal);
}

/** Copies tiles to kernels [K·m, n]; m is `rows`. Dispose the result. */
export async function untiled(
  tiles: Matrix,
  { kernels, rows }: { readonly kernels: number; readonly rows: number },
  signal?: AbortSignal,
): Promise<BitMatrix> {
  const bits = new BitMatrix({ rows: kernels * rows, cols: tiles.cols });
  return filled(bits, (graph, target) => arrangeBits(graph.bind(tiles), target, kernels), signal);
}
