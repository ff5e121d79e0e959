/** AdamW (arXiv 1711.05101) for everything that is not a bit. */

import { finiteNumber, invalid, options } from '../base/validate';
import { expectGraph, type Graph, type Tensor } from '../graph/graph';
import { type AdamWSettings, adamwStep, gradientNorm, zeroAtFirst } from '../graph/operations/training';
import { Matrix } from '../native/matrix';

/** (0.9, 0.95) without decay, clipped at norm 1: what the method's figures were measured with. */
export const ADAMW_DEFAULTS: AdamWSettings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, clip: 1 };

interface Slot {
  readonly parameter: Matrix;
  readonly gradient: Matrix;
  readonly first: Matrix;
  readonly second: Matrix;
}

/**
 * Gradients and moments of a set of f32 parameters. Learning rate and step number (from 1) are the scalars
 * `learningRate` and `step` of a run; in a step of several micro-batches gradients add up and the step is taken at the
 * last.
 *
 * @example
 * const optimizer = new AdamW(new Map([['w', w]]));
 * appendGradients(loss, lossSeed(graph), { accumulators: optimizer.accumulators(graph) });
 * const norm = optimizer.step(graph);
 */
export class AdamW {
  /** With every default in its place. */
  readonly settings: AdamWSettings;
  /** Moments by name: what a checkpoint has to keep. */
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
   * For `accumulators` of {@link appendGradients}: where the gradient of every parameter is added. Emits the clearing of
   * the gradients at the first micro-batch, so call it after the forward pass: what clears state ends the time in
   * which a run can be aborted.
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

  /** Where the gradient of one parameter is added. */
  gradient(name: string): Matrix | undefined {
    return this.#slots.get(name)?.gradient;
  }

  /**
   * Emits clipping and step. Returns the norm [1, 1] of all gradients together, before clipping; undefined without
   * parameters. A gradient that is not finite fails the run with MBOK_NON_FINITE and leaves the parameters as they were.
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

  /** Frees gradients and moments; the parameters stay. */
  dispose(): void {
    for (const { gradient, first, second } of this.#slots.values()) {
      for (const matrix of [gradient, first, second]) matrix.dispose();
    }
  }
}

/** The settings with defaults. Throws MBOK_INVALID_ARGUMENT. */
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
