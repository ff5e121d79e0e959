/** Computes the logits of several texts that grow side by side: one plan, one cache with a slot a text. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph } from '../graph/graph';
import { embedding } from '../graph/operations/embedding';
import { headLogits } from '../graph/operations/head';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import { GenerationCache } from './cache';
import { PREFILL_ROWS } from './decoder';
import { GrowingPlan } from './growing_plan';

export interface BatchDecoderOptions {
  /** Texts side by side. */
  readonly slots: number;
  /** Tokens of the longest text. */
  readonly context: number;
  readonly arithmetic: Arithmetic;
}

/** Tokens that a text goes on with. */
export interface Piece {
  readonly slot: number;
  /** Of the first token. */
  readonly position: number;
  readonly ids: Int32Array;
}

/** Dispose it; the model's weights are shared, everything else is its own. */
export class BatchDecoder {
  /** Tokens of all pieces of a run together. */
  readonly maxRows: number;
  readonly #model: ModelCore;
  readonly #revision: number;
  readonly #slots: number;
  readonly #cache: GenerationCache;
  readonly #plan: GrowingPlan;
  #logits: Float32Array = new Float32Array(0);

  /** Throws MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(model: ModelCore, { slots, context, arithmetic }: BatchDecoderOptions) {
    this.#model = model;
    this.#revision = model.revision;
    this.#slots = slots;
    this.maxRows = Math.max(slots, Math.min(PREFILL_ROWS, slots * context));
    this.#cache = new GenerationCache(model, { context, slots, precision: arithmetic.precision });
    try {
      this.#plan = new GrowingPlan(context, (longest) => {
        const graph = new Graph(arithmetic);
        const column = (name: string, rows: number | 'tokens') => graph.input(name, { rows, cols: 1, type: 'i32' });
        const [slot, positions] = [column('slots', 'tokens'), column('positions', 'tokens')];
        const places = { slots: slot, positions, capacity: context };
        const builder = model.builder(graph, { cache: this.#cache.entries, places });
        const { finished } = model.build(builder, column('ids', 'tokens'), longest);
        // logits are wanted after the last token of each piece only
        const last = embedding(finished, column('ends', slots));
        graph.output('logits', headLogits(model.family.head(builder, last, model.config)));
        return new Plan(graph, { maxRows: this.maxRows });
      });
    } catch (error) {
      this.#cache.dispose();
      throw error;
    }
  }

  /**
   * Appends pieces to their texts, of which each has one at most. Throws MBOK_BUSY where the model is being changed or has
   * been since the decoder was made.
   *
   * @returns the logits [V] after each piece, in the order of the pieces; the next call overwrites them
   */
  async append(pieces: readonly Piece[], signal: AbortSignal | undefined): Promise<Float32Array[]> {
    using _ = this.#model.holdToRead(this.#revision);
    const rows = pieces.reduce((sum, { ids }) => sum + ids.length, 0);
    const [ids, slots, positions] = [new Int32Array(rows), new Int32Array(rows), new Int32Array(rows)];
    const ends = new Int32Array(this.#slots);
    let row = 0;
    for (const [index, piece] of pieces.entries()) {
      ids.set(piece.ids, row);
      slots.fill(piece.slot, row, row + piece.ids.length);
      for (let i = 0; i < piece.ids.length; i++) positions[row + i] = piece.position + i;
      row += piece.ids.length;
      ends[index] = row - 1;
    }
    const inputs = { ids, slots, positions, ends };
    const into = { logits: this.#logits };
    const plan = await this.#plan.upTo(Math.max(...pieces.map(({ position, ids: own }) => position + own.length)));
    const { logits } = await plan.run({ inputs, scalars: { rows }, into, signal });
    this.#logits = logits as Float32Array;
    const size = this.#model.config.vocabularySize;
    return pieces.map((_, index) => this.#logits.subarray(index * size, (index + 1) * size));
  }

  /** Frees plan and cache, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plan[Symbol.asyncDispose]();
    this.#cache.dispose();
  }
}
