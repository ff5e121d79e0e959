/** The inputs of a group of layers, as the fit of factor pairs needs them: scaled, and in their eigenbasis. */

import { Graph } from '../graph/graph';
import { multiply, symmetricEigen } from '../graph/operations/factor_fit';
import { runOnce } from '../graph/plan';
import { Matrix } from '../native/matrix';
import { dampedMoments, diagonalOf, diagonalOffset } from './damping';

/** Added to H_jj / mean(diag H) below the root that scales input j, so that silent inputs keep a scale. */
const FLOOR = 0.01;

/** Second moments of n inputs. Dispose it. */
export interface InputBasis extends Disposable {
  /** Ĥ, the damped second moments, f32 [n, n]. */
  readonly damped: Matrix;
  /** s_j = √(H_jj / mean(diag H) + 0.01). */
  readonly scales: Float32Array;
  /** Eigenvectors of diag(s)⁻¹ Ĥ diag(s)⁻¹ in rows, f32 [n, n]. */
  readonly vectors: Matrix;
  /** Its eigenvalues in units of its mean diagonal, f32 [1, n]; none is negative. */
  readonly values: Matrix;
}

/** Computes the basis of inputs with second moments `h` [n, n]; undefined stands for the identity. */
export async function inputBasis(
  h: Matrix | undefined,
  n: number,
  signal: AbortSignal | undefined,
): Promise<InputBasis> {
  const ones = new Float32Array(n).fill(1);
  const diagonal = h === undefined ? ones : diagonalOf(h);
  const mean = average(diagonal);
  const scales = h === undefined ? ones : diagonal.map((value) => Math.sqrt(value / mean + FLOOR));
  const damped = h === undefined ? identity(n) : dampedMoments(h);
  const vectors = identity(n);
  const values = Matrix.from(ones, { rows: 1, cols: n });
  const basis = {
    damped,
    scales,
    vectors,
    values,
    [Symbol.dispose]() {
      for (const matrix of [damped, vectors, values]) matrix.dispose();
    },
  };
  if (h === undefined) return basis;
  try {
    const unit = average(diagonalOf(damped).map((value, j) => value / (scales[j] as number) ** 2));
    const graph = new Graph();
    const inverse = scales.map((scale) => 1 / (scale * Math.sqrt(unit)));
    using column = Matrix.from(inverse, { rows: n, cols: 1 });
    using row = Matrix.from(inverse, { rows: 1, cols: n });
    const scaled = multiply(multiply(graph.bind(damped), graph.bind(column)), graph.bind(row));
    symmetricEigen(scaled, graph.bind(vectors), graph.bind(values));
    await runOnce(graph, signal);
    values.write(values.toFloat32().map((value) => Math.max(0, value)));
    return basis;
  } catch (error) {
    basis[Symbol.dispose]();
    throw error;
  }
}

function average(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function identity(n: number): Matrix {
  const matrix = new Matrix({ rows: n, cols: n });
  const one = Float32Array.of(1);
  for (let j = 0; j < n; j++) matrix.writeAt(diagonalOffset(matrix, j), one);
  return matrix;
}

/** The basis of inputs with second moments `h`, computed at its first use. It does not own `h`. */
export class LazyBasis {
  #basis: Promise<InputBasis> | undefined;

  /** `h` is [n, n]; undefined stands for the identity. */
  constructor(
    readonly h: Matrix | undefined,
    readonly n: number,
  ) {}

  /** Returns the basis, which this object owns. */
  get(signal: AbortSignal | undefined): Promise<InputBasis> {
    this.#basis ??= inputBasis(this.h, this.n, signal);
    return this.#basis;
  }

  /** Frees the basis, once it is computed. */
  dispose(): void {
    this.#basis?.then((basis) => basis[Symbol.dispose]()).catch(() => undefined);
  }
}
