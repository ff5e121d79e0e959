/** Operations of an optimizer step; nothing is differentiated through them. */

import {
  type BooleanOptimizerState,
  type EmitOptions,
  expectGraph,
  type Graph,
  SCALAR_SHAPE,
  type Tensor,
} from '../graph';

/**
 * The upstream gradient of the loss: the run's scalar `lossScale`, by default 1.
 *
 * @returns [1, 1]
 */
export function lossSeed(graph: Graph): Tensor {
  const seed = expectGraph('graph', graph).create(SCALAR_SHAPE);
  graph.emit('loss_seed', [], [seed]);
  return seed;
}

/** Fails the run with MBOK_NON_FINITE unless x [1, 1] is finite; place it before anything that updates state. */
export function requireFinite(x: Tensor): void {
  x.graph.emit('require_finite', [x], []);
}

/** Clears a tensor at the first micro-batch of every step. */
export function zeroAtFirst(x: Tensor): void {
  x.graph.emit('zero', [], [x], [], { phase: 'first' });
}

/** √Σ‖g‖² over all the gradients, at the last micro-batch. [1, 1]. */
export function gradientNorm(gradients: readonly Tensor[]): Tensor {
  const { graph } = gradients[0] as Tensor;
  const norm = graph.create(SCALAR_SHAPE);
  graph.emit('gradient_norm', gradients, [norm], [], { phase: 'last' });
  return norm;
}

export interface AdamWSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Gradients are scaled so that `norm` is at most this; 0: never. */
  readonly clip: number;
}

const AT_LAST: EmitOptions = { phase: 'last' };

/** One AdamW step at the last micro-batch; learning rate and step number are scalars of the run. */
export function adamwStep(
  { parameter, gradient, first, second }: Record<'parameter' | 'gradient' | 'first' | 'second', Tensor>,
  norm: Tensor | undefined,
  { beta1, beta2, epsilon, weightDecay, clip }: AdamWSettings,
): void {
  const attributes = [beta1, beta2, epsilon, weightDecay, clip];
  parameter.graph.emit('adamw', [gradient, norm], [parameter, first, second], attributes, AT_LAST);
}

/** Overwrites kernel `index` of `kernels` with the signs of `latent` [m, n], at the last micro-batch. */
export function signsOf(latent: Tensor, kernels: Tensor, index: number): void {
  latent.graph.emit('signs', [latent], [kernels], [index], AT_LAST);
}

/** The Boolean optimizer on a dense signal q [m, n] of the last of K kernels; scales absent: all ones. */
export function booleanUpdate(
  q: Tensor,
  { kernels, sOut, sIn, count }: { kernels: Tensor; sOut?: Tensor; sIn?: Tensor; count: number },
  { accumulator, rowStatistics, columnStatistics, state, settings }: BooleanOptimizerState,
): void {
  const outputs = [kernels, accumulator, rowStatistics, columnStatistics, state];
  q.graph.emit('boolean_update', [q, sOut, sIn], outputs, [count, ...settings]);
}
