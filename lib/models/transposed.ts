/** Weights that files hold the other way round. */

import { filled } from '../graph/filled';
import { transpose } from '../graph/operations/transpose';
import { Matrix } from '../native/matrix';

/** The transpose of a matrix, of the same element type. Dispose it. */
export async function transposed(matrix: Matrix): Promise<Matrix> {
  const result = new Matrix({ rows: matrix.cols, cols: matrix.rows, type: matrix.type });
  return filled(result, (graph, target) => transpose(graph.bind(matrix), target));
}

/** What `make` makes of a matrix that is not needed any more. */
export async function replacedBy(matrix: Matrix, make: (matrix: Matrix) => Promise<Matrix>): Promise<Matrix> {
  try {
    return await make(matrix);
  } finally {
    matrix.dispose();
  }
}
