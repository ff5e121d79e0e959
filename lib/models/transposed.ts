/** Weights that files hold the other way round. */

import { Graph } from '../graph/graph';
import { transpose } from '../graph/operations/transpose';
import { Plan } from '../graph/plan';
import { Matrix } from '../native/matrix';

/** The transpose of a matrix, of the same element type. Dispose it. */
export async function transposed(matrix: Matrix): Promise<Matrix> {
  const result = new Matrix({ rows: matrix.cols, cols: matrix.rows, type: matrix.type });
  try {
    const graph = new Graph();
    transpose(graph.bind(matrix), graph.bind(result));
    await using plan = new Plan(graph);
    await plan.run();
    return result;
  } catch (error) {
    result.dispose();
    throw error;
  }
}

/** What `make` makes of a matrix that is not needed any more. */
export async function replacedBy(matrix: Matrix, make: (matrix: Matrix) => Promise<Matrix>): Promise<Matrix> {
  try {
    return await make(matrix);
  } finally {
    matrix.dispose();
  }
}
