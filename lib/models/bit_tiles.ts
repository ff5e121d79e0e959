/** The ±1 kernels of a module in the order that inference or training reads them. */

import { Graph } from '../graph/graph';
import { arrangeBits, tiledRows } from '../graph/operations/arrange_bits';
import { Plan } from '../graph/plan';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';

/** 'tiles' for inference, 'rows' for training: files and everything that changes bits. */
export type BitOrder = 'tiles' | 'rows';

/** A copy of kernels [K·m, n] as tiles. Dispose it. */
export async function tiled(bits: BitMatrix, kernels: number, signal?: AbortSignal): Promise<Matrix> {
  const rows = tiledRows(kernels, bits.rows / kernels);
  return arranged(bits, new Matrix({ rows, cols: bits.cols, type: 'bitTiles' }), kernels, signal);
}

/** A copy of tiles as kernels [K·m, n], m being `rows`. Dispose it. */
export async function untiled(
  tiles: Matrix,
  { kernels, rows }: { readonly kernels: number; readonly rows: number },
  signal?: AbortSignal,
): Promise<BitMatrix> {
  return arranged(tiles, new BitMatrix({ rows: kernels * rows, cols: tiles.cols }), kernels, signal);
}

async function arranged<T extends Matrix>(from: Matrix, to: T, kernels: number, signal?: AbortSignal): Promise<T> {
  try {
    const graph = new Graph();
    arrangeBits(graph.bind(from), graph.bind(to), kernels);
    await using plan = new Plan(graph);
    await plan.run({ signal });
    return to;
  } catch (error) {
    to.dispose();
    throw error;
  }
}
