/** Log-likelihoods of the tokens of windows; the logits of a whole window are never in memory at once. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph } from '../graph/graph';
import { negativeLogLikelihood } from '../graph/operations/losses';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';

/** Windows are computed together up to this many tokens, as large products use all cores better. */
const TOKENS_AT_ONCE = 2048;
/** 64 MB of them. */
const LOGITS_AT_ONCE = 2 ** 24;

export interface WindowScorerOptions {
  /** Tokens of a window. */
  readonly window: number;
  /** There are no more windows than these. */
  readonly windows: number;
  readonly arithmetic: Arithmetic;
}

/** Computes the hidden states of some windows, then the head on some of their rows at a time. Dispose it. */
export class WindowScorer {
  /** Windows that are computed together. */
  readonly together: number;
  readonly #window: number;
  /** Columns of what the head takes. */
  readonly #width: number;
  readonly #body: Plan;
  readonly #head: Plan;

  /** Throws MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(model: ModelCore, { window, windows, arithmetic }: WindowScorerOptions) {
    this.#window = window;
    this.together = Math.min(windows, Math.max(1, Math.floor(TOKENS_AT_ONCE / window)));
    const body = new Graph(arithmetic);
    const ids = body.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
    const { finished } = model.build(model.builder(body), ids, window);
    body.output('finished', finished);
    this.#width = finished.cols;

    const head = new Graph(arithmetic);
    const hidden = head.input('hidden', { rows: 'tokens', cols: this.#width });
    const targets = head.input('targets', { rows: 'tokens', cols: 1, type: 'i32' });
    const logits = model.family.head(model.builder(head), hidden, model.config);
    head.output('losses', negativeLogLikelihood(logits, targets));

    const rows = this.together * window;
    const headRows = Math.max(1, Math.floor(LOGITS_AT_ONCE / model.config.vocabularySize));
    this.#body = new Plan(body, { maxRows: rows });
    try {
      this.#head = new Plan(head, { maxRows: Math.min(rows, headRows) });
    } catch (error) {
      this.#body.dispose();
      throw error;
    }
  }

  /**
   * Sum of −log likelihood over windows that follow one another in `ids`, at most `together` of them.
   *
   * @param targets - of each id what follows it, −1 where that is not scored
   */
  async score(ids: Int32Array, targets: Int32Array, signal: AbortSignal | undefined): Promise<number> {
    const scalars = { rows: ids.length, sequenceLength: this.#window };
    const { finished } = await this.#body.run({ inputs: { ids }, scalars, signal });
    const scored = [...targets.keys()].filter((row) => (targets[row] as number) >= 0);
    // in the order of the text and in float64: the sum must not depend on how rows are grouped or work is split
    let sum = 0;
    for (let from = 0; from < scored.length; from += this.#head.maxRows) {
      const rows = scored.slice(from, from + this.#head.maxRows);
      const inputs = {
        hidden: this.#gather(finished as Float32Array, rows),
        targets: Int32Array.from(rows, (row) => targets[row] as number),
      };
      const { losses } = await this.#head.run({ inputs, scalars: { rows: rows.length }, signal });
      for (const loss of losses as Float32Array) sum += loss;
    }
    return sum;
  }

  #gather(hidden: Float32Array, rows: readonly number[]): Float32Array {
    const gathered = new Float32Array(rows.length * this.#width);
    for (const [i, row] of rows.entries()) {
      gathered.set(hidden.subarray(row * this.#width, (row + 1) * this.#width), i * this.#width);
    }
    return gathered;
  }

  /** Frees the plans, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#body[Symbol.asyncDispose]();
    await this.#head[Symbol.asyncDispose]();
  }
}
