/** Computes the logits of a text that grows: one plan and one cache a generation. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph } from '../graph/graph';
import { headLogits } from '../graph/operations/head';
import { lastRow } from '../graph/operations/last_row';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import { GenerationCache } from './cache';
import { GrowingPlan } from './growing_plan';

/** Tokens of the prompt computed at once: enough to reuse each weight many times, little memory. */
export const PREFILL_ROWS = 512;

export interface DecoderOptions {
  /** Tokens that there is room for. */
  readonly context: number;
  readonly arithmetic: Arithmetic;
}

/** Dispose it; the model's weights are shared, everything else is its own. */
export class Decoder {
  readonly cache: GenerationCache;
  readonly context: number;
  readonly arithmetic: Arithmetic;
  readonly #model: ModelCore;
  readonly #revision: number;
  readonly #maxRows: number;
  readonly #plan: GrowingPlan;
  #logits: Float32Array = new Float32Array(0);
  /** The tokens that the cache holds. */
  #held: number[] = [];

  /** Room for `context` tokens. Throws MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(model: ModelCore, { context, arithmetic }: DecoderOptions) {
    this.#model = model;
    this.#revision = model.revision;
    this.context = context;
    this.arithmetic = arithmetic;
    this.#maxRows = Math.min(PREFILL_ROWS, context);
    this.cache = new GenerationCache(model, { context, precision: arithmetic.precision });
    try {
      this.#plan = new GrowingPlan(context, (positions) => {
        const graph = new Graph(arithmetic);
        const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
        const builder = model.builder(graph, { cache: this.cache.entries });
        const { finished } = model.build(builder, ids, positions);
        graph.output('logits', headLogits(model.family.head(builder, lastRow(finished), model.config)));
        return new Plan(graph, { maxRows: this.#maxRows });
      });
    } catch (error) {
      this.cache.dispose();
      throw error;
    }
  }

  /** Whether the model's weights have changed since: what the cache holds is another model's then. */
  get isStale(): boolean {
    return this.#model.revision !== this.#revision;
  }

  /**
   * Appends tokens to the text and resolves to the logits [V] after the last of them, which the next call overwrites.
   * Throws MBOK_BUSY where the model is being changed or has been since the text was begun.
   */
  async append(ids: Int32Array, signal: AbortSignal | undefined): Promise<Float32Array> {
    using _ = this.#model.holdToRead(this.#revision);
    for (let start = 0; start < ids.length; start += this.#maxRows) {
      const chunk = ids.subarray(start, start + this.#maxRows);
      const plan = await this.#plan.upTo(this.#held.length + chunk.length);
      const scalars = { rows: chunk.length, position: this.#held.length };
      const into = { logits: this.#logits };
      const { logits } = await plan.run({ inputs: { ids: chunk }, scalars, into, signal });
      this.#logits = logits as Float32Array;
      this.#held.push(...chunk);
    }
    return this.#logits;
  }

  /**
   * Goes back to where the text that the cache holds parts from `ids`, at most to the last of them, whose logits are still
   * to be computed.
   *
   * @returns how many of `ids` need no computing
   */
  rewind(ids: Int32Array): number {
    const most = Math.min(ids.length - 1, this.#held.length);
    let same = 0;
    while (same < most && ids[same] === this.#held[same]) same++;
    this.#held.length = same;
    return same;
  }

  /** Copies what a smaller cache of the same model holds. */
  takeOver(smaller: Decoder): void {
    this.cache.takeOver(smaller.cache);
    this.#held = [...smaller.#held];
  }

  /** Frees plan and cache, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plan[Symbol.asyncDispose]();
    this.cache.dispose();
  }
}
