/** GPTQ's factor of a layer's inputs: the order of columns, and the matrix that distributes a column's error. */

import { Graph } from '../graph/graph';
import { compensationFactor } from '../graph/operations/kernel_fit';
import { runOnce } from '../graph/plan';
import { Matrix } from '../native/matrix';

/** Column orders: 'natural' is that of the layer; 'descending' is by descending H_jj, the `--act-order` of GPTQ's authors. */
export const COLUMN_ORDERS = ['descending', 'natural'] as const;
export type ColumnOrder = (typeof COLUMN_ORDERS)[number];

/** Damping added to the diagonal of H, as a fraction of its mean (arXiv 2210.17323, section 3.3, step 3). */
export const GPTQ_DAMPING = 0.01;

export interface InputFactor {
  /** U [n, n], upper triangular, with UᵀU = (H + damping · mean(diag H) · I)⁻¹. Rows and columns are in `order`. */
  readonly factor: Matrix;
  /** Column by position. */
  readonly order: Int32Array;
  /** Columns that are 0 for every token. Their weights do not matter and become 0. */
  readonly dead: ReadonlySet<number>;
}

/**
 * Factors H [n, n], of any scale. A dead column (H_jj = 0) gets the mean H_jj of the others, so that it does not change
 * their damping.
 *
 * The native factorization sorts columns by the diagonal. It receives D H D with ones on the diagonal, D diagonal,
 * which keeps the columns in `order`. U is its factor times D.
 *
 * Throws MBOK_NON_FINITE, MBOK_INVALID_ARGUMENT if H is not positive semidefinite, MBOK_ABORTED, MBOK_OUT_OF_MEMORY.
 * Dispose the factor.
 */
export async function factorInputs(
  h: Matrix,
  columnOrder: ColumnOrder,
  signal: AbortSignal | undefined,
): Promise<InputFactor> {
  const n = h.rows;
  const values = h.toFloat32();
  const diagonal = Float64Array.from({ length: n }, (_, j) => values[j * n + j] as number);
  const dead = new Set([...diagonal.keys()].filter((j) => diagonal[j] === 0));
  const live = n - dead.size;
  const mean = live === 0 ? 1 : diagonal.reduce((sum, value) => sum + value, 0) / live;
  for (const j of dead) diagonal[j] = mean;
  const order = Int32Array.from(diagonal.keys());
  if (columnOrder === 'descending') order.sort((a, b) => (diagonal[b] as number) - (diagonal[a] as number) || a - b);

  const d = Float64Array.from(order, (j) => 1 / Math.sqrt((diagonal[j] as number) + GPTQ_DAMPING * mean));
  const scaled = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = (order[i] as number) * n;
    for (let j = 0; j < n; j++) {
      scaled[i * n + j] =
        i === j ? 1 : (values[row + (order[j] as number)] as number) * (d[i] as number) * (d[j] as number);
    }
  }
  const factor = Matrix.from(scaled, { rows: n, cols: n });
  try {
    await factorize(factor, signal);
    const u = factor.toFloat32();
    for (let i = 0; i < n; i++) {
      for (let j = i; j < n; j++) u[i * n + j] = (u[i * n + j] as number) * (d[j] as number);
    }
    factor.write(u);
    return { factor, order, dead };
  } catch (error) {
    factor.dispose();
    throw error;
  }
}

/** Replaces h by its factor U. */
async function factorize(h: Matrix, signal: AbortSignal | undefined): Promise<void> {
  const order = new Matrix({ rows: h.rows, cols: 1, type: 'i32' });
  try {
    const graph = new Graph();
    compensationFactor(graph.bind(h), graph.bind(h), graph.bind(order), 0);
    await runOnce(graph, signal);
  } finally {
    order.dispose();
  }
}
