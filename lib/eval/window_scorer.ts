/** Log-likelihoods of the tokens of windows; the logits of a whole window are never in memory at once. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph, type Tensor } from '../graph/graph';
import { headLikelihood } from '../graph/operations/head_loss';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';

/** Windows are computed together up to this many tokens, as large products use all cores better. */
const TOKENS_AT_ONCE = 2048;

export interface WindowScorerOptions {
  /** Tokens of a window. */
  readonly window: number;
  /** There are no more windows than these. */
  readonly windows: number;
  readonly arithmetic: Arithmetic;
}

/** Computes some windows at a time. Dispose it. */
export class WindowScorer {
  /** Windows that are computed together. */
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
   * Sum of −log likelihood over windows that follow one another in `ids`, at most `together` of them.
   *
   * @param targets - of each id what follows it, −1 where that is not scored
   */
  async score(ids: Int32Array, targets: Int32Array, signal: AbortSignal | undefined): Promise<number> {
    const scalars = { rows: ids.length, sequenceLength: this.#window };
    const { losses } = await this.#plan.run({ inputs: { ids, targets }, scalars, signal });
    // in the order of the text and in float64: the sum must not depend on how rows are grouped or work is split
    let sum = 0;
    for (const loss of losses as Float32Array) sum += loss;
    return sum;
  }

  /** Frees the plan, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plan[Symbol.asyncDispose]();
  }
}
