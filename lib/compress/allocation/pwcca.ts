/** Projection-weighted canonical correlation analysis (PWCCA; Morcos et al., arXiv 1806.05759) from second moments. */

import { Matrix, SingularValueDecomposition } from 'ml-matrix';

/** Second moments of centered activations x [N, n] and y [N, m], row-major: xᵀx [n, n], yᵀy [m, m] and xᵀy [n, m]. */
export interface Moments {
  readonly xx: Float64Array;
  readonly yy: Float64Array;
  readonly xy: Float64Array;
}

/** Ridge on the diagonals, in units of their means. Activations of real models are almost linearly dependent. */
const RIDGE = 1e-6;

/**
 * Computes Σᵢ αᵢ ρᵢ / Σᵢ αᵢ; it is 1 if y is a linear map of x. ρᵢ are the canonical correlations of x and y, hᵢ the
 * canonical variates of x, and αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|.
 *
 * No samples are needed. With Cholesky factors xx = L Lᵀ and yy = M Mᵀ, let L⁻¹ xy M⁻ᵀ = U diag(ρ) Vᵀ (SVD). Its
 * singular values are ρ, and the products ⟨hᵢ, xⱼ⟩ are the entries of Uᵀ Lᵀ. Takes O(n³) time.
 */
export function pwcca({ xx, yy, xy }: Moments): number {
  const [n, m] = [Math.sqrt(xx.length), Math.sqrt(yy.length)];
  const [l, r] = [cholesky(xx, n), cholesky(yy, m)];
  const whitened = transpose(solveLower(r, transpose(solveLower(l, rowsOf(xy, n)))));
  const options = { computeLeftSingularVectors: true, computeRightSingularVectors: false };
  const { leftSingularVectors, diagonal } = new SingularValueDecomposition(new Matrix(whitened), options);
  const projections = new Matrix(l).mmul(leftSingularVectors);
  let [weighted, weights] = [0, 0];
  for (const [i, correlation] of diagonal.entries()) {
    const alpha = projections.getColumn(i).reduce((sum, value) => sum + Math.abs(value), 0);
    // rounding can raise a correlation above 1
    weighted += alpha * Math.min(1, correlation);
    weights += alpha;
  }
  return weights === 0 ? 1 : weighted / weights;
}

function rowsOf(matrix: Float64Array, rows: number): Float64Array[] {
  const cols = matrix.length / rows;
  return Array.from({ length: rows }, (_, i) => matrix.slice(i * cols, (i + 1) * cols));
}

function transpose(rows: readonly Float64Array[]): Float64Array[] {
  const cols = rows[0]?.length ?? 0;
  return Array.from({ length: cols }, (_, j) => Float64Array.from(rows, (row) => row[j] as number));
}

function dot(a: Float64Array, b: Float64Array, length = a.length): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/** Computes the lower L with L Lᵀ = matrix + ridge. For a zero matrix L is zero, since its ridge is. */
function cholesky(matrix: Float64Array, n: number): Float64Array[] {
  const rows = rowsOf(matrix, n);
  const ridge = (RIDGE * rows.reduce((sum, row, i) => sum + (row[i] as number), 0)) / n;
  const l = rows.map(() => new Float64Array(n));
  for (let i = 0; i < n; i++) {
    const row = l[i] as Float64Array;
    for (let j = 0; j < i; j++) {
      const earlier = l[j] as Float64Array;
      const pivot = earlier[j] as number;
      row[j] = pivot === 0 ? 0 : ((rows[i]?.[j] as number) - dot(row, earlier, j)) / pivot;
    }
    row[i] = Math.sqrt(Math.max(ridge, (rows[i]?.[i] as number) + ridge - dot(row, row, i)));
  }
  return l;
}

/** Computes L⁻¹ · rows by forward substitution. */
function solveLower(l: readonly Float64Array[], rows: readonly Float64Array[]): Float64Array[] {
  const solved = rows.map((row) => row.slice());
  for (const [i, row] of solved.entries()) {
    const factors = l[i] as Float64Array;
    for (let j = 0; j < i; j++) subtract(row, solved[j] as Float64Array, factors[j] as number);
    const pivot = factors[i] as number;
    for (let k = 0; k < row.length; k++) row[k] = pivot === 0 ? 0 : (row[k] as number) / pivot;
  }
  return solved;
}

function subtract(from: Float64Array, row: Float64Array, factor: number): void {
  for (let k = 0; k < from.length; k++) from[k] = (from[k] as number) - factor * (row[k] as number);
}
