/** Weights that files store transposed. */

import { filled } from '../graph/filled';
import { transpose } from '../graph/operations/transpose';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';

/** Computes the transpose of a matrix in the same element type. Dispose it. */
export async function transposed(matrix: Matrix): Promise<Matrix> {
  const result = new Matrix({ rows: matrix.cols, cols: matrix.rows, type: matrix.type });
  return filled(result, (graph, target) => transpose(graph.bind(matrix), target));
}

/**
 * Transposes ±1 bits [rows, cols], packed in rows of ceil(cols / 8) bytes, in squares of 8 × 8 bits. Padding bits are
 * ignored. Dispose the result.
 */
export function transposedBits(
  packed: Uint8Array,
  { rows, cols }: { readonly rows: number; readonly cols: number },
): BitMatrix {
  const [width, height] = [Math.ceil(cols / 8), Math.ceil(rows / 8)];
  const turned = new Uint8Array(cols * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const row = (i: number) => (8 * y + i < rows ? (packed[(8 * y + i) * width + x] as number) : 0);
      let low = row(0) | (row(1) << 8) | (row(2) << 16) | (row(3) << 24);
      let high = row(4) | (row(5) << 8) | (row(6) << 16) | (row(7) << 24);
      // swaps bits, then squares of 2 × 2, then of 4 × 4, across the diagonal (Hacker's Delight, section 7-3)
      for (const [shift, mask] of SWAPS) {
        low = swapped(low, shift, mask);
        high = swapped(high, shift, mask);
      }
      const first = (low & 0x0f0f0f0f) | ((high & 0x0f0f0f0f) << 4);
      const last = ((low >>> 4) & 0x0f0f0f0f) | (high & 0xf0f0f0f0);
      for (let i = 0; i < Math.min(8, cols - 8 * x); i++) {
        turned[(8 * x + i) * height + y] = (i < 4 ? first : last) >>> (8 * (i % 4));
      }
    }
  }
  return BitMatrix.fromPacked(turned, { rows: cols, cols: rows });
}

/** Distance and lower bits of the swaps within four rows of 8 bits. */
const SWAPS = [
  [7, 0x00aa00aa],
  [14, 0x0000cccc],
] as const;

function swapped(bits: number, shift: number, mask: number): number {
  const changed = (bits ^ (bits >>> shift)) & mask;
  return bits ^ changed ^ (changed << shift);
}

/** Computes a matrix from one that is disposed afterwards. */
export async function replacedBy(matrix: Matrix, make: (matrix: Matrix) => Promise<Matrix>): Promise<Matrix> {
  try {
    return await make(matrix);
  } finally {
    matrix.dispose();
  }
}
