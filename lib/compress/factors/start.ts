/** The start of the fit of a factor pair: a truncated SVD, rotated so that every column has a share of all of it. */

import { uniform } from '../../base/random';
import { Graph } from '../../graph/graph';
import { multiply, symmetricEigen, times, timesTransposed, transposedTimes } from '../../graph/operations/factor_fit';
import { runOnce } from '../../graph/plan';
import { Matrix } from '../../native/matrix';

/** Singular values below this part of the largest count as zero: their squares vanish in f32. */
const NEGLIGIBLE = 1e-4;

const SEED = 1;

/** Real factors [m, r] and [r, n] of equal root mean square. Dispose them. */
export interface StartingFactors {
  readonly a: Matrix;
  readonly b: Matrix;
}

/**
 * Computes A = U √S Rᵀ and B = R √S Vᵀ for W ≈ U S Vᵀ [m, n], the SVD truncated to k = min(r, m, n). The columns of R
 * [r, k] are orthonormal ({@link rotation}).
 *
 * The SVD is that of the smaller of WWᵀ and WᵀW, whose eigenvectors are one side; the product with W gives the other.
 */
export async function startingFactors(
  weight: Matrix,
  rank: number,
  signal: AbortSignal | undefined,
): Promise<StartingFactors> {
  const { rows, cols } = weight;
  const size = Math.min(rows, cols);
  const k = Math.min(rank, size);
  const wide = rows < cols;
  using vectors = new Matrix({ rows: size, cols: size });
  using values = new Matrix({ rows: 1, cols: size });
  {
    const graph = new Graph();
    const w = graph.bind(weight);
    symmetricEigen(wide ? timesTransposed(w, w) : transposedTimes(w, w), graph.bind(vectors), graph.bind(values));
    await runOnce(graph, signal);
  }
  using largest = lastRows(vectors, k);
  // √S on the side of the eigenvectors, 1 / √S on that of their product with W
  const squares = values.toFloat32().subarray(size - k);
  const roots = squares.map((value) => Math.max(0, value) ** (1 / 4));
  const least = Math.sqrt(NEGLIGIBLE) * Math.max(...roots);
  using root = Matrix.from(roots, { rows: k, cols: 1 });
  using inverse = Matrix.from(
    roots.map((value) => (value > least ? 1 / value : 0)),
    { rows: k, cols: 1 },
  );
  using turn = rotation(rank, k);
  const factors = { a: new Matrix({ rows, cols: rank }), b: new Matrix({ rows: rank, cols }) };
  try {
    const balance = (cols / rows) ** (1 / 4);
    const graph = new Graph();
    const [w, r] = [graph.bind(weight), graph.bind(turn)];
    const eigen = multiply(graph.bind(largest), graph.bind(root));
    const scaled = multiply(graph.bind(largest), graph.bind(inverse));
    const left = wide ? transposedTimes(eigen, r) : times(timesTransposed(w, scaled), r);
    const right = wide ? transposedTimes(r, times(scaled, w)) : transposedTimes(r, eigen);
    graph.emit('scale', [left], [graph.bind(factors.a)], [1 / balance]);
    graph.emit('scale', [right], [graph.bind(factors.b)], [balance]);
    await runOnce(graph, signal);
    return factors;
  } catch (error) {
    factors.a.dispose();
    factors.b.dispose();
    throw error;
  }
}

function lastRows(matrix: Matrix, count: number): Matrix {
  const rows = new Matrix({ rows: count, cols: matrix.cols });
  const bytes = new Uint8Array(rows.byteLength);
  matrix.readAt(matrix.byteLength - bytes.length, bytes);
  rows.write(bytes);
  return rows;
}

/**
 * Returns Rᵀ [k, r]: the first rows of a discrete cosine transform between two diagonals of random signs. It mixes as
 * well as a random rotation, and needs no orthogonalization.
 */
function rotation(r: number, k: number): Matrix {
  const sign = (side: number, index: number) => (uniform(SEED, side, index) < 0.5 ? -1 : 1);
  const columns = Float32Array.from({ length: r }, (_, i) => sign(0, i));
  const cosines = new Float32Array(k * r);
  for (let j = 0; j < k; j++) {
    const size = sign(1, j) * Math.sqrt((j === 0 ? 1 : 2) / r);
    for (let i = 0; i < r; i++)
      cosines[j * r + i] = size * (columns[i] as number) * Math.cos((Math.PI * (i + 0.5) * j) / r);
  }
  return Matrix.from(cosines, { rows: k, cols: r });
}
