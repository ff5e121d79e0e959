/** Runs parts of token sequences that continue what a key-value cache holds. */

import { GenerationCache } from '../generate/cache';
import { Graph, type Precision } from '../graph/graph';
import { negativeLogLikelihood } from '../graph/operations/losses';
import { Plan } from '../graph/plan';
import type { Tensor } from '../graph/tensor';
import type { ModelCore } from '../models/model_core';
import type { Builder } from '../nn/builder';

/** Tokens of a run that only fills the cache: enough to reuse each weight many times. */
const FILL_ROWS = 1024;
/** Logits of a run that scores: 128 MB of them. */
const LOGITS = 2 ** 25;

/** Tokens that go on in a lane from a position; what the lane's cache holds from there on is overwritten. */
export interface Part {
  readonly lane: number;
  readonly position: number;
  readonly ids: Int32Array;
}

/** A part of which tokens are scored. */
export interface ScoredPart extends Part {
  /** What follows each token; −1 where that does not count. */
  readonly targets: Int32Array;
}

/** What a part's targets got. */
export interface PartScore {
  /** Sum over the targets that count. */
  readonly logLikelihood: number;
  /** Whether each of them was the likeliest token; true where that was not asked for. */
  readonly greedy: boolean;
}

export interface LaneOptions {
  /** Sequences side by side. */
  readonly lanes: number;
  /** Tokens of the longest one. */
  readonly context: number;
  readonly precision: Precision;
  /** Whether to tell if targets are the likeliest tokens. */
  readonly greedy: boolean;
}

/** A cache of several lanes and the plans that fill it and score with it. Dispose it. */
export class Lanes {
  readonly #cache: GenerationCache;
  readonly #fill: Plan;
  readonly #score: Plan;

  /** Throws MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(model: ModelCore, { context, precision, greedy }: LaneOptions) {
    this.#cache = new GenerationCache(model, context);
    const plan = (maxRows: number, finish: (builder: Builder, finished: Tensor) => void) => {
      const graph = new Graph({ precision });
      const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
      const builder = model.builder(graph, { cache: this.#cache.entries });
      finish(builder, model.build(builder, ids).finished);
      return new Plan(graph, { maxRows: Math.min(maxRows, context) });
    };
    try {
      this.#fill = plan(FILL_ROWS, () => {});
      this.#score = plan(Math.max(1, Math.floor(LOGITS / model.config.vocabularySize)), (builder, finished) => {
        const { graph } = builder;
        const targets = graph.input('targets', { rows: 'tokens', cols: 1, type: 'i32' });
        const logits = model.family.head(builder, finished, model.config);
        graph.output('losses', negativeLogLikelihood(logits, targets));
        if (greedy) graph.output('logits', logits);
      });
    } catch (error) {
      this.#cache.dispose();
      throw error;
    }
  }

  /** Computes keys and values of parts, of which each lane has one at most. */
  async fill(parts: readonly Part[], signal: AbortSignal | undefined): Promise<void> {
    for (const { position, ids } of parts) {
      for (const { from, to } of chunks(ids.length, this.#fill.maxRows)) {
        const scalars = { rows: to - from, position: position + from };
        await this.#fill.run({ inputs: { ids: ids.subarray(from, to) }, scalars, signal });
      }
    }
  }

  /** As {@link fill}, and scores the parts' targets. */
  async score(parts: readonly ScoredPart[], signal: AbortSignal | undefined): Promise<PartScore[]> {
    const scores: PartScore[] = [];
    for (const { position, ids, targets } of parts) {
      let logLikelihood = 0;
      let greedy = true;
      for (const { from, to } of chunks(ids.length, this.#score.maxRows)) {
        const scalars = { rows: to - from, position: position + from };
        const wanted = targets.subarray(from, to);
        const inputs = { ids: ids.subarray(from, to), targets: wanted };
        const { losses, logits } = await this.#score.run({ inputs, scalars, signal });
        for (const loss of losses as Float32Array) logLikelihood -= loss;
        greedy &&= logits === undefined || areLikeliest(logits, wanted);
      }
      scores.push({ logLikelihood, greedy });
    }
    return scores;
  }

  /** Frees plans and cache, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fill[Symbol.asyncDispose]();
    await this.#score[Symbol.asyncDispose]();
    this.#cache.dispose();
  }
}

function* chunks(length: number, most: number): Generator<{ readonly from: number; readonly to: number }> {
  for (let from = 0; from < length; from += most) yield { from, to: Math.min(length, from + most) };
}

/** Whether every target that counts has the largest logit of its row. */
function areLikeliest(logits: Float32Array, targets: Int32Array): boolean {
  const size = logits.length / targets.length;
  return targets.every((target, row) => {
    const values = logits.subarray(row * size, (row + 1) * size);
    return target < 0 || values.every((value) => value <= (values[target] as number));
  });
}
