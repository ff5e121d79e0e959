/**
 * Latent weights, the method that native Boolean optimization is compared with. A latent f32 weight stands behind every
 * bit. Its gradient passes straight through the sign, and Adam updates it. It needs 128 bits of state per weight.
 */

import { integerInRange, invalid } from '../base/validate';
import { type BooleanTarget, expectGraph, type Graph } from '../graph/graph';
import { signsOf } from '../graph/operations/training';
import type { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';
import { AdamW } from './adamw';

/** Initial magnitude of latent weights. Adam at 1e-3 needs 20 steps to change a sign. */
const INITIAL_MAGNITUDE = 0.02;

/**
 * Latent weights of the last kernel of one ±1 parameter [K·m, n]. Learning rate and step number (from 1) are the
 * scalars `learningRate` and `step` of a run.
 *
 * @example
 * const latents = new LatentWeights(kernels, 1);
 * appendGradients(loss, lossSeed(graph), { booleans: new Map([[graph.bind(kernels), latents.target(graph)]]) });
 * latents.step(graph);
 */
export class LatentWeights {
  /** State by name, which checkpoints save. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  readonly #kernels: BitMatrix;
  readonly #last: number;
  readonly #latents: Matrix;
  readonly #optimizer: AdamW;

  /**
   * Creates latents of the last of the `count` kernels in `kernels`. Throws MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY.
   */
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

  /**
   * Returns an entry of `booleans` for {@link appendGradients}. It emits the operation that clears the signal, so call
   * it after the forward pass.
   */
  target(graph: Graph): BooleanTarget {
    expectGraph('graph', graph).bind(this.#latents, 'state');
    const [signal] = this.#optimizer.accumulators(graph).values();
    return { kind: 'dense', signal: signal as NonNullable<typeof signal>, kernel: this.#last };
  }

  /** Emits Adam's step and the update of the bits. */
  step(graph: Graph): void {
    this.#optimizer.step(graph);
    signsOf(graph.bind(this.#latents, 'state'), graph.bind(this.#kernels), this.#last);
  }

  /** Frees latents, gradients and moments. The bits stay. */
  dispose(): void {
    this.#latents.dispose();
    this.#optimizer.dispose();
  }
}
