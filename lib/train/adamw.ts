/** AdamW (arXiv 1711.05101), for all trained parameters that are not bits. */

import { finiteNumber, invalid, options } from '../base/validate';
import { expectGraph, type Graph, type Tensor } from '../graph/graph';
import { type AdamWSettings, adamwStep, gradientNorm, zeroAtFirst } from '../graph/operations/training';
import { Matrix } from '../native/matrix';

/** β = (0.9, 0.95), no decay, clipped at norm 1: the settings of the method's measured figures. */
export const ADAMW_DEFAULTS: AdamWSettings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, clip: 1 };

interface Slot {
  readonly parameter: Matrix;
  readonly gradient: Matrix;
  readonly first: Matrix;
  readonly second: Matrix;
}

/**
 * AdamW's gradients and moments for a set of f32 parameters. Learning rate and step number (from 1) are the scalars
 * `learningRate` and `step` of a run. With several micro-batches gradients accumulate, and the parameters change in the
 * last one.
 *
 * @example
 * const optimizer = new AdamW(new Map([['w', w]]));
 * appendGradients(loss, lossSeed(graph), { accumulators: optimizer.accumulators(graph) });
 * const norm = optimizer.step(graph);
 */
export class AdamW {
  /** Settings with all defaults filled in. */
  readonly settings: AdamWSettings;
  /** Moments by name, which checkpoints save. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  readonly #slots: ReadonlyMap<string, Slot>;

  /** Throws MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY. */
  constructor(parameters: ReadonlyMap<string, Matrix>, settings: Partial<AdamWSettings> = {}) {
    this.settings = checkedSettings(settings);
    if (!(parameters instanceof Map)) invalid('parameters', 'a Map of matrices by name', parameters);
    for (const [name, parameter] of parameters) {
      if (!Matrix.isMatrix(parameter) || parameter.type !== 'f32')
        invalid(`parameters.${name}`, 'an f32 Matrix', parameter);
    }
    this.#slots = new Map(
      [...parameters].map(([name, parameter]) => {
        const like = () => new Matrix(parameter);
        return [name, { parameter, gradient: like(), first: like(), second: like() }];
      }),
    );
    this.matrices = new Map(
      [...this.#slots].flatMap(([name, { first, second }]) => [
        [`${name}.first`, first] as const,
        [`${name}.second`, second] as const,
      ]),
    );
  }

  /**
   * Returns `accumulators` for {@link appendGradients}: the gradient of each parameter is added there. It also emits
   * the operation that clears gradients at the first micro-batch. Call it after the forward pass, since a run cannot be
   * aborted once it has changed state.
   */
  accumulators(graph: Graph): Map<Tensor, Tensor> {
    expectGraph('graph', graph);
    const accumulators = new Map<Tensor, Tensor>();
    for (const { parameter, gradient } of this.#slots.values()) {
      const target = graph.bind(gradient, 'gradients');
      zeroAtFirst(target);
      accumulators.set(graph.bind(parameter), target);
    }
    return accumulators;
  }

  /** Returns the accumulated gradient of one parameter. */
  gradient(name: string): Matrix | undefined {
    return this.#slots.get(name)?.gradient;
  }

  /**
   * Emits clipping and the update. Returns the norm [1, 1] of all gradients together, before clipping; undefined
   * without parameters. A gradient that is not finite fails the run with MBOK_NON_FINITE and leaves the parameters
   * unchanged.
   */
  step(graph: Graph): Tensor | undefined {
    expectGraph('graph', graph);
    if (this.#slots.size === 0) return undefined;
    const slots = [...this.#slots.values()];
    const norm = gradientNorm(slots.map(({ gradient }) => graph.bind(gradient, 'gradients')));
    graph.emit('require_finite', [norm], [], [], { phase: 'last' });
    for (const { parameter, gradient, first, second } of slots) {
      const tensors = {
        parameter: graph.bind(parameter),
        gradient: graph.bind(gradient, 'gradients'),
        first: graph.bind(first, 'state'),
        second: graph.bind(second, 'state'),
      };
      adamwStep(tensors, norm, this.settings);
    }
    return norm;
  }

  /** Frees gradients and moments. The parameters stay. */
  dispose(): void {
    for (const { gradient, first, second } of this.#slots.values()) {
      for (const matrix of [gradient, first, second]) matrix.dispose();
    }
  }
}

/** Checks the settings and fills in defaults. Throws MBOK_INVALID_ARGUMENT. */
function checkedSettings(given: Partial<AdamWSettings>): AdamWSettings {
  const { beta1, beta2, epsilon, weightDecay, clip } = {
    ...ADAMW_DEFAULTS,
    ...options('settings', given, ['beta1', 'beta2', 'epsilon', 'weightDecay', 'clip']),
  };
  return {
    beta1: finiteNumber('beta1', beta1, 0, 1),
    beta2: finiteNumber('beta2', beta2, 0, 1),
    epsilon: finiteNumber('epsilon', epsilon, 0),
    weightDecay: finiteNumber('weightDecay', weightDecay, 0),
    clip: finiteNumber('clip', clip, 0),
  };
}
