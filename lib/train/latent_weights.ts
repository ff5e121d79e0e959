/**
 * The method that native Boolean optimization is compared with: a latent f32 weight behind every bit, its gradient taken
 * straight through the sign, Adam on the latents. 128 bits of state a weight.
 */

import { integerInRange, invalid } from '../base/validate';
import { type BooleanTarget, expectGraph, type Graph } from '../graph/graph';
import { signsOf } from '../graph/operations/training';
import type { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';
import { AdamW } from './adamw';

/** Latents start at this times the sign: 20 steps of Adam at 1e-3 turn it round. */
const INITIAL_MAGNITUDE = 0.02;

/**
 * Latent weights of the last kernel of one ±1 parameter [K·m, n]. Learning rate and step number (from 1) are the scalars
 * `learningRate` and `step` of a run.
 *
 * @example
 * const latents = new LatentWeights(kernels, 1);
 * appendGradients(loss, lossSeed(graph), { booleans: new Map([[graph.bind(kernels), latents.target(graph)]]) });
 * latents.step(graph);
 */
export class LatentWeights {
  /** All state by name: what a checkpoint has to keep. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  readonly #kernels: BitMatrix;
  readonly #last: number;
  readonly #latents: Matrix;
  readonly #optimizer: AdamW;

  /** For the last of the `count` kernels in `kernels`. Throws MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY. */
  constructor(kernels: BitMatrix, count: number) {
    if (!Matrix.isMatrix(kernels) || kernels.type !== 'bits') invalid('kernels', 'a BitMatrix', kernels);
    const rows = kernels.rows / integerInRange('count', count, 1, kernels.rows);
    this.#kernels = kernels;
    this.#last = count - 1;
    const signs = kernels.toSigns().subarray(this.#last * rows * kernels.cols);
    const latents = new Float32Array(signs).map((sign) => sign * INITIAL_MAGNITUDE);
    this.#latents = Matrix.from(latents, { rows, cols: kernels.cols });
    this.#optimizer = new AdamW(new Map([['latent', this.#latents]]), { beta2: 0.999, clip: 0 });
    this.matrices = new Map([['latent', this.#latents], ...this.#optimizer.matrices]);
  }

  /** For `booleans` of {@link appendGradients}. Emits the clearing of the signal; call it after the forward pass. */
  target(graph: Graph): BooleanTarget {
    expectGraph('graph', graph).bind(this.#latents, 'state');
    const [signal] = this.#optimizer.accumulators(graph).values();
    return { kind: 'dense', signal: signal as NonNullable<typeof signal>, kernel: this.#last };
  }

  /** Emits Adam's step and the new bits. */
  step(graph: Graph): void {
    this.#optimizer.step(graph);
    signsOf(graph.bind(this.#latents, 'state'), graph.bind(this.#kernels), this.#last);
  }

  /** Frees latents, gradients and moments; the bits stay. */
  dispose(): void {
    this.#latents.dispose();
    this.#optimizer.dispose();
  }
}
