/** Weights that files store transposed. */

import { filled } from '../graph/filled';
import { transpose } from '../graph/operations/transpose';
import { Matrix } from '../native/matrix';

/** Computes the transpose of a matrix in the same element type. Dispose it. */
export async function transposed(matrix: Matrix): Promise<Matrix> {
  const result = new Matrix({ rows: matrix.cols, cols: matrix.rows, type: matrix.type });
  return filled(result, (graph, target) => transpose(graph.bind(matrix), target));
}

/** Computes a matrix from one that is disposed afterwards. */
export async function replacedBy(matrix: Matrix, make: (matrix: Matrix) => Promise<Matrix>): Promise<Matrix> {
  try {
    return await make(matrix);
  } finally {
    matrix.dispose();
  }
}
