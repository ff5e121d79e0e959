/**
 * Operations that fit Boolean factor pairs. lib/compress/factors combines them and explains the algorithms. None has a
 * gradient.
 */

import { matrixShape, type Tensor } from '../graph';
import { precisionCode } from './linear';

/** Writes x wᵀ for x [q, n] and w [m, n] to `y` [q, m], by default a new tensor. */
export function timesTransposed(
  x: Tensor,
  w: Tensor,
  y: Tensor = x.graph.create(matrixShape(x.rows, w.rows as number)),
): Tensor {
  x.graph.emit('linear', [x, w], [y], [precisionCode(x)]);
  return y;
}

/** Writes x w for x [q, m] and w [m, n] to `y` [q, n], by default a new tensor. */
export function times(x: Tensor, w: Tensor, y: Tensor = x.graph.create(matrixShape(x.rows, w.cols))): Tensor {
  x.graph.emit('linear_gradient_input', [x, w], [y], [precisionCode(x)]);
  return y;
}

/** Writes xᵀ y for x [q, m] and y [q, n] to `product` [m, n], by default a new tensor. */
export function transposedTimes(
  x: Tensor,
  y: Tensor,
  product: Tensor = x.graph.create(matrixShape(x.cols, y.cols)),
): Tensor {
  x.graph.emit('zero', [], [product]);
  x.graph.emit('linear_gradient_weight', [x, y], [product], [precisionCode(x)]);
  return product;
}

/** Returns x ⊙ w. w has the shape of x [m, n], or is a row [1, n] or a column [m, 1] that multiplies all others. */
export function multiply(x: Tensor, w: Tensor): Tensor {
  const y = x.graph.create(x);
  x.graph.emit('multiply', [x, w], [y]);
  return y;
}

/** Returns Σⱼ x_ij y_ij as [1, m]. */
export function rowDots(x: Tensor, y: Tensor): Tensor {
  const dots = x.graph.create(matrixShape(1, x.rows as number));
  x.graph.emit('row_dots', [x, y], [dots]);
  return dots;
}

/** Returns Σᵢ x_ij as [1, n]. */
export function columnSums(x: Tensor): Tensor {
  const sums = x.graph.create(matrixShape(1, x.cols));
  x.graph.emit('zero', [], [sums]);
  x.graph.emit('bias_gradient', [x], [sums]);
  return sums;
}

/** Emits A = Vᵀ Λ V of a symmetric a [n, n]: `vectors` [n, n] has eigenvectors in rows, `values` [1, n] ascends. */
export function symmetricEigen(a: Tensor, vectors: Tensor, values: Tensor): void {
  a.graph.emit('symmetric_eigen', [a], [vectors, values]);
}

/**
 * Returns (b + p · (z − u)) (g + p · I)⁻¹ with p = ridge · mean(diag g), for g [r, r] and b [q, r]. z and u [q, r] default
 * to zeros.
 */
export function ridgeSolve(g: Tensor, b: Tensor, ridge: Tensor, towards?: { z: Tensor; u: Tensor }): Tensor {
  const x = g.graph.create(b);
  g.graph.emit('ridge_solve', [g, b, ridge, towards?.z, towards?.u], [x]);
  return x;
}

/** Tensors of {@link ridgeDescent}. */
export interface RidgeDescent {
  /** Left factor [r, r]. */
  readonly q: Tensor;
  /** Right side [r, n]. */
  readonly m: Tensor;
  /** Point [r, n] towards which X is pulled. */
  readonly z: Tensor;
  /** Diagonal of the right factor [1, n]. */
  readonly lambda: Tensor;
  /** Ridge [1, 1] in units of mean(diag q). */
  readonly ridge: Tensor;
}

/**
 * Emits u += x − z, then `steps` steps of preconditioned conjugate gradients on x for Q X Λ + p X = M + p (Z − U), p =
 * ridge · mean(diag Q). x and u are [r, n].
 */
export function ridgeDescent({ q, m, z, lambda, ridge }: RidgeDescent, u: Tensor, x: Tensor, steps: number): void {
  q.graph.emit('ridge_descent', [q, m, z, lambda, ridge], [u, x], [steps]);
}

/** Matrices of {@link magnitudeProjection}: z and dual [m, n], rowScales [1, m], columnScales [1, n]. */
export interface MagnitudeProjection {
  readonly z: Tensor;
  readonly dual: Tensor;
  readonly rowScales: Tensor;
  readonly columnScales: Tensor;
}

/**
 * Emits z = sign(S) ⊙ rowScalesᵀ columnScales with S = x + dual, the rank-1 approximation of |S|; then dual = S − z. The
 * approximation starts from columnScales.
 */
export function magnitudeProjection(x: Tensor, { z, dual, rowScales, columnScales }: MagnitudeProjection): void {
  x.graph.emit('magnitude_projection', [x], [dual, columnScales, z, rowScales]);
}

/**
 * Emits a sweep over the signs of x [m, r] that lowers tr(x gram xᵀ) − 2 tr(x momentsᵀ): flips x_ik where that helps, k in
 * order. `gradient` [m, r] must be x gram − moments, and stays it.
 */
export function signDescent(gram: Tensor, x: Tensor, gradient: Tensor): void {
  x.graph.emit('sign_descent', [gram], [x, gradient]);
}

/** Tensors of {@link coupledSignDescent}. */
export interface CoupledDescent {
  /** G [r, r], symmetric. */
  readonly gram: Tensor;
  /** H [n, n], symmetric. */
  readonly metric: Tensor;
  /** M [n, r]. */
  readonly moments: Tensor;
}

/**
 * Emits a sweep over the signs of x [n, r] that lowers tr(xᵀ H x G) − 2 tr(xᵀ M): flips x_jk where that helps, rows in order
 * and each row's columns in order.
 */
export function coupledSignDescent({ gram, metric, moments }: CoupledDescent, x: Tensor): void {
  x.graph.emit('coupled_sign_descent', [gram, metric, moments], [x]);
}

/** Emits to = from. */
export function copy(from: Tensor, to: Tensor): void {
  from.graph.emit('scale', [from], [to], [1]);
}
