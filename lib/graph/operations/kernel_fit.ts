/** Operations that turn dense matrices into ±1 kernels with scales (method: paper §4; see lib/compress). */

import type { Tensor } from '../graph';
import { precisionCode } from './linear';
import type { RmsNorm } from './rms_norm';

/** Kernels ±1 [K·m, n] with their scales sOut [K, m] and sIn [K, n]. */
export interface KernelTensors {
  readonly kernels: Tensor;
  readonly sOut: Tensor;
  readonly sIn: Tensor;
}

/** Successive SVID of w [m, n]; residual [1, K] gets ‖W − Ŵ‖ / ‖W‖ after each kernel. */
export function svid(w: Tensor, { kernels, sOut, sIn }: KernelTensors, residual: Tensor, iterations: number): void {
  w.graph.emit('svid', [w], [kernels, sOut, sIn, residual], [iterations]);
}

/** Joint refit in place; residual [1, 1] gets ‖W − Ŵ‖ / ‖W‖. */
export function refit(w: Tensor, { kernels, sOut, sIn }: KernelTensors, residual: Tensor, rounds: number): void {
  w.graph.emit('refit', [w], [kernels, sOut, sIn, residual], [rounds]);
}

/** The dense matrix Ŵ [m, n]. */
export function reconstruct({ kernels, sOut, sIn }: KernelTensors, w: Tensor): void {
  w.graph.emit('reconstruct', [kernels, sOut, sIn], [w]);
}

/** sum [m, n] += xᵀ y of tensors [rows, m] and [rows, n]: Gram matrices of calibration, in the graph's precision. */
export function accumulateGram(x: Tensor, y: Tensor, sum: Tensor): void {
  x.graph.emit('linear_gradient_weight', [x, y], [sum], [precisionCode(x)]);
}

/** x [rows, n] with every row divided by the root mean square of the same row of h. */
export function relativeRows(x: Tensor, h: Tensor): Tensor {
  const y = x.graph.create(x);
  x.graph.emit('relative_rows', [x, h], [y]);
  return y;
}

/**
 * What y lacks for its norm to gain z, tensors [rows, n]: ρ u without what lies along y, for the norm drops that;
 * u = g z / (g² + z²), g = offset + weight, ρ = √(mean(y²) + ε). Channels that the norm all but silences are not asked for
 * what would take most of the row.
 */
export function beforeNorm(z: Tensor, y: Tensor, { weight, epsilon, offset }: RmsNorm): Tensor {
  const lack = y.graph.create(y);
  y.graph.emit('before_rms_norm', [z, y, weight], [lack], [epsilon, offset]);
  return lack;
}

/** x [m, n] with column j times (h_jj / mean(diag h) + 1e-6)^power. */
export function scaleColumns(x: Tensor, h: Tensor, power: number): Tensor {
  const y = x.graph.create(x);
  x.graph.emit('scale_columns', [x, h], [y], [power]);
  return y;
}

/** W' = W + R Ĥ⁻¹, with Ĥ as {@link compensationFactor} factored it. */
export function calibrationTarget(
  w: Tensor,
  r: Tensor,
  { factor, order }: { factor: Tensor; order: Tensor },
  target: Tensor,
): void {
  w.graph.emit('calibration_target', [w, r, factor, order], [target]);
}

/** What error compensation needs of H [n, n]: factor [n, n] and column order i32 [n, 1]. */
export function compensationFactor(h: Tensor, factor: Tensor, order: Tensor, damping: number): void {
  h.graph.emit('compensation_factor', [h], [factor, order], [damping]);
}

/** Signs with error compensation in GPTQ's order (arXiv 2210.17323) on the levels that the scales give. */
export function compensatedSigns(
  target: Tensor,
  { factor, order }: { factor: Tensor; order: Tensor },
  { kernels, sOut, sIn }: KernelTensors,
): void {
  target.graph.emit('compensated_signs', [target, factor, order, sOut, sIn], [kernels]);
}

/** sOut by least squares under H, row by row. */
export function solveOutputScales(target: Tensor, h: Tensor, { kernels, sOut, sIn }: KernelTensors): void {
  target.graph.emit('solve_output_scales', [target, h, kernels, sIn], [sOut]);
}

/** One sweep of coordinate descent on sIn under H. */
export function descendInputScales(target: Tensor, h: Tensor, { kernels, sOut, sIn }: KernelTensors): void {
  target.graph.emit('descend_input_scales', [target, h, kernels, sOut], [sIn]);
}

/** error [1, 1] = √(tr(D H Dᵀ) / tr(W' H W'ᵀ)), D = W' − Ŵ. */
export function calibratedError(target: Tensor, h: Tensor, { kernels, sOut, sIn }: KernelTensors, error: Tensor): void {
  target.graph.emit('calibrated_error', [target, h, kernels, sOut, sIn], [error]);
}
