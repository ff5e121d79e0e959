/** Log-likelihoods of the tokens of windows. The logits of a whole window are never in memory at once. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph, type Tensor } from '../graph/graph';
import { headLikelihood } from '../graph/operations/head_loss';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';

/** Largest number of tokens per run. Larger products use all cores better. */
const TOKENS_AT_ONCE = 2048;

export interface WindowScorerOptions {
  /** Tokens of a window. */
  readonly window: number;
  /** Upper limit on the number of windows. */
  readonly windows: number;
  readonly arithmetic: Arithmetic;
}

/** A scorer that computes several windows at a time. Dispose it. */
export class WindowScorer {
  /** Windows per run. */
  readonly together: number;
  readonly #window: number;
  readonly #plan: Plan;

  /** Throws MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(model: ModelCore, { window, windows, arithmetic }: WindowScorerOptions) {
    this.#window = window;
    this.together = Math.min(windows, Math.max(1, Math.floor(TOKENS_AT_ONCE / window)));
    const graph = new Graph(arithmetic);
    const [ids, targets] = ['ids', 'targets'].map((name) =>
      graph.input(name, { rows: 'tokens', cols: 1, type: 'i32' }),
    ) as [Tensor, Tensor];
    const builder = model.builder(graph);
    const { finished } = model.build(builder, ids, window);
    const { values } = headLikelihood(model.family.head(builder, finished, model.config), targets);
    graph.output('losses', values);
    this.#plan = new Plan(graph, { maxRows: this.together * window });
  }

  /**
   * Returns the sum of −log likelihood over consecutive windows in `ids`, at most `together` of them.
   *
   * @param targets - successor of each id; −1 if it is not scored
   */
  async score(ids: Int32Array, targets: Int32Array, signal: AbortSignal | undefined): Promise<number> {
    const scalars = { rows: ids.length, sequenceLength: this.#window };
    const { losses } = await this.#plan.run({ inputs: { ids, targets }, scalars, signal });
    // sum in the order of the text and in float64, so that the result does not depend on grouping or threads
    let sum = 0;
    for (const loss of losses as Float32Array) sum += loss;
    return sum;
  }

  /** Frees the plan, after the current run if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plan[Symbol.asyncDispose]();
  }
}
