/** Operations of an optimizer step. They have no gradient. */

import {
  type BooleanOptimizerState,
  type EmitOptions,
  expectGraph,
  type Graph,
  SCALAR_SHAPE,
  type Tensor,
} from '../graph';

/**
 * Returns the upstream gradient of the loss: the run's scalar `lossScale`, by default 1.
 *
 * @returns [1, 1]
 */
export function lossSeed(graph: Graph): Tensor {
  const seed = expectGraph('graph', graph).create(SCALAR_SHAPE);
  graph.emit('loss_seed', [], [seed]);
  return seed;
}

/** Makes a run throw MBOK_NON_FINITE unless x [1, 1] is finite. Emit it before all operations that update state. */
export function requireFinite(x: Tensor): void {
  x.graph.emit('require_finite', [x], []);
}

/** Clears a tensor in every run. */
export function emitZero(x: Tensor): void {
  x.graph.emit('zero', [], [x]);
}

/** Clears a tensor at the first micro-batch of every step. */
export function zeroAtFirst(x: Tensor): void {
  x.graph.emit('zero', [], [x], [], { phase: 'first' });
}

/** Computes √Σ‖g‖² [1, 1] over all the gradients, at the last micro-batch. */
export function gradientNorm(gradients: readonly Tensor[]): Tensor {
  const { graph } = gradients[0] as Tensor;
  const norm = graph.create(SCALAR_SHAPE);
  graph.emit('gradient_norm', gradients, [norm], [], { phase: 'last' });
  return norm;
}

/** Settings of {@link AdamW}. */
export interface AdamWSettings {
  /** Decay of the mean gradient. */
  readonly beta1: number;
  /** Decay of the mean squared gradient. */
  readonly beta2: number;
  /** Added to the root of the mean squared gradient. */
  readonly epsilon: number;
  /** Decoupled weight decay. */
  readonly weightDecay: number;
  /** Maximum gradient norm: gradients are scaled down so that `norm` does not exceed it. 0 disables clipping. */
  readonly clip: number;
}

const AT_LAST: EmitOptions = { phase: 'last' };

/** Emits an AdamW step at the last micro-batch. Learning rate and step number are scalars of the run. */
export function adamwStep(
  { parameter, gradient, first, second }: Record<'parameter' | 'gradient' | 'first' | 'second', Tensor>,
  norm: Tensor | undefined,
  { beta1, beta2, epsilon, weightDecay, clip }: AdamWSettings,
): void {
  const attributes = [beta1, beta2, epsilon, weightDecay, clip];
  parameter.graph.emit('adamw', [gradient, norm], [parameter, first, second], attributes, AT_LAST);
}

/** Emits at the last micro-batch: kernel `index` of `kernels` = signs of `latent` [m, n]. */
export function signsOf(latent: Tensor, kernels: Tensor, index: number): void {
  latent.graph.emit('signs', [latent], [kernels], [index], AT_LAST);
}

/** Emits the Boolean optimizer for a dense signal q [m, n] of the last of `count` kernels. Scales default to ones. */
export function booleanUpdate(
  q: Tensor,
  { kernels, sOut, sIn, count }: { kernels: Tensor; sOut?: Tensor; sIn?: Tensor; count: number },
  { accumulator, rowStatistics, columnStatistics, state, settings }: BooleanOptimizerState,
): void {
  const outputs = [kernels, accumulator, rowStatistics, columnStatistics, state];
  q.graph.emit('boolean_update', [q, sOut, sIn], outputs, [count, ...settings]);
}
