/**
 * Operations that convert dense matrices to ±1 kernels with scales (arXiv 2505.22811, §4). lib/compress/kernels
 * combines them and explains the algorithms.
 */

import type { Tensor } from '../graph';
import { precisionCode } from './linear';
import type { RmsNorm } from './rms_norm';

/** Kernels ±1 [K·m, n] with their scales sOut [K, m] and sIn [K, n]. */
export interface KernelTensors {
  readonly kernels: Tensor;
  readonly sOut: Tensor;
  readonly sIn: Tensor;
}

/**
 * Emits successive SVID of w [m, n] (lib/compress/kernels/svid.ts). `residual` [1, K] gets ‖W − Ŵ‖ / ‖W‖ after each
 * kernel.
 */
export function svid(w: Tensor, { kernels, sOut, sIn }: KernelTensors, residual: Tensor, iterations: number): void {
  w.graph.emit('svid', [w], [kernels, sOut, sIn, residual], [iterations]);
}

/** Emits the joint refit (lib/compress/kernels/refit.ts), in place. `residual` [1, 1] gets ‖W − Ŵ‖ / ‖W‖. */
export function refit(w: Tensor, { kernels, sOut, sIn }: KernelTensors, residual: Tensor, rounds: number): void {
  w.graph.emit('refit', [w], [kernels, sOut, sIn, residual], [rounds]);
}

/** Emits w = Ŵ, the dense matrix [m, n] of the kernels. */
export function reconstruct({ kernels, sOut, sIn }: KernelTensors, w: Tensor): void {
  w.graph.emit('reconstruct', [kernels, sOut, sIn], [w]);
}

/**
 * Emits sum += xᵀ y for x [rows, m], y [rows, n] and `sum` [m, n], in the graph's precision. Accumulates the Gram
 * matrices of calibration.
 */
export function accumulateGram(x: Tensor, y: Tensor, sum: Tensor): void {
  x.graph.emit('linear_gradient_weight', [x, y], [sum], [precisionCode(x)]);
}

/** Divides each row of x [rows, n] by the root mean square of the same row of h; rows of zeros in h divide by 1. */
export function relativeRows(x: Tensor, h: Tensor): Tensor {
  const y = x.graph.create(x);
  x.graph.emit('relative_rows', [x, h], [y]);
  return y;
}

/**
 * Computes the change of y that changes its RMS norm by z; all are [rows, n]. It is ρ u minus the component along y,
 * which the norm removes. u = g z / (g² + z²), g = offset + weight, ρ = √(mean(y²) + ε). A damped inverse: channels
 * that the norm almost silences (small g) do not take over the row.
 */
export function beforeNorm(z: Tensor, y: Tensor, { weight, epsilon, offset }: RmsNorm): Tensor {
  const lack = y.graph.create(y);
  y.graph.emit('before_rms_norm', [z, y, weight], [lack], [epsilon, offset]);
  return lack;
}

/** Multiplies column j of x [m, n] by (h_jj / mean(diag h) + 1e-6)^power. */
export function scaleColumns(x: Tensor, h: Tensor, power: number): Tensor {
  const y = x.graph.create(x);
  x.graph.emit('scale_columns', [x, h], [y], [power]);
  return y;
}

/** Emits target = W + R Ĥ⁻¹, with the factor of Ĥ from {@link compensationFactor}. */
export function calibrationTarget(
  w: Tensor,
  r: Tensor,
  { factor, order }: { factor: Tensor; order: Tensor },
  target: Tensor,
): void {
  w.graph.emit('calibration_target', [w, r, factor, order], [target]);
}

/**
 * Emits the factor of the damped H [n, n] for error compensation. `factor` [n, n] is the upper triangular U with UᵀU =
 * Ĥ⁻¹. Its rows and columns are in `order` i32 [n, 1], descending by H_jj. Ĥ = H + damping · mean(diag H) · I.
 */
export function compensationFactor(h: Tensor, factor: Tensor, order: Tensor, damping: number): void {
  h.graph.emit('compensation_factor', [h], [factor, order], [damping]);
}

/** Emits signs with error compensation in GPTQ's order (arXiv 2210.17323) for fixed scales. */
export function compensatedSigns(
  target: Tensor,
  { factor, order }: { factor: Tensor; order: Tensor },
  { kernels, sOut, sIn }: KernelTensors,
): void {
  target.graph.emit('compensated_signs', [target, factor, order, sOut, sIn], [kernels]);
}

/** Emits sOut by least squares under H, row by row, for fixed signs and sIn. */
export function solveOutputScales(target: Tensor, h: Tensor, { kernels, sOut, sIn }: KernelTensors): void {
  target.graph.emit('solve_output_scales', [target, h, kernels, sIn], [sOut]);
}

/** Emits one sweep of coordinate descent on sIn under H, for fixed signs and sOut. */
export function descendInputScales(target: Tensor, h: Tensor, { kernels, sOut, sIn }: KernelTensors): void {
  target.graph.emit('descend_input_scales', [target, h, kernels, sOut], [sIn]);
}

/** Emits error [1, 1] = √(tr(D H Dᵀ) / tr(W' H W'ᵀ)), D = W' − Ŵ. */
export function calibratedError(target: Tensor, h: Tensor, { kernels, sOut, sIn }: KernelTensors, error: Tensor): void {
  target.graph.emit('calibrated_error', [target, h, kernels, sOut, sIn], [error]);
}
