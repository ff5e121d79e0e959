/** Runs parts of many token sequences side by side, each continuing what a key-value cache holds of it. */

import { cacheBytes, GenerationCache } from '../generate/cache';
import type { Arithmetic } from '../graph/arithmetic';
import { Graph, type Tensor } from '../graph/graph';
import { headLikelihood } from '../graph/operations/head_loss';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import type { Builder } from '../nn/builder';

/** Tokens of a run: enough to reuse each weight many times. */
const ROWS = 1024;
/** Lanes: enough that even parts of a few tokens reuse weights many times, … */
const MOST_LANES = 64;
/** … in a cache of not more than 256 MB, or an eighth of the weights. */
const CACHE_BYTES = 2 ** 28;
const CACHE_SHARE = 8;

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
  /** Whether each of them was the likeliest token. */
  readonly greedy: boolean;
}

export interface LaneOptions {
  /** Tokens of the longest sequence. */
  readonly capacity: number;
  /** There are no more sequences than these. */
  readonly sequences: number;
  readonly arithmetic: Arithmetic;
}

/** A cache of several sequences and the plans that fill it and score with it. Dispose it. */
export class Lanes {
  /** How many sequences go on side by side. */
  readonly count: number;
  /** Tokens that each may have. */
  readonly capacity: number;
  readonly #cache: GenerationCache;
  readonly #fill: Plan;
  readonly #score: Plan;

  /** Throws MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(model: ModelCore, { capacity, sequences, arithmetic }: LaneOptions) {
    const { precision } = arithmetic;
    const weights = [...model.parameters.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const fitting = Math.floor(Math.max(CACHE_BYTES, weights / CACHE_SHARE) / cacheBytes(model, capacity, precision));
    this.count = Math.max(1, Math.min(MOST_LANES, fitting, sequences));
    this.capacity = capacity;
    this.#cache = new GenerationCache(model, { context: capacity, slots: this.count, precision });
    const plan = (finish: (builder: Builder, finished: Tensor) => void) => {
      const graph = new Graph(arithmetic);
      const [ids, slots, positions] = ['ids', 'slots', 'positions'].map((name) => column(graph, name)) as Columns;
      const places = { slots, positions, capacity };
      const builder = model.builder(graph, { cache: this.#cache.entries, places });
      finish(builder, model.build(builder, ids, capacity).finished);
      return new Plan(graph, { maxRows: Math.min(ROWS, capacity * this.count) });
    };
    try {
      this.#fill = plan(() => {});
      this.#score = plan((builder, finished) => {
        const { graph } = builder;
        const head = model.family.head(builder, finished, model.config);
        const { values, likeliest } = headLikelihood(head, column(graph, 'targets'));
        graph.output('losses', values);
        graph.output('likeliest', likeliest);
      });
    } catch (error) {
      this.#cache.dispose();
      throw error;
    }
  }

  /** Computes keys and values of parts, of which each lane has one at most. */
  async fill(parts: readonly Part[], signal: AbortSignal | undefined): Promise<void> {
    for (const rows of runs(parts, this.#fill.maxRows)) {
      await this.#fill.run({ inputs: places(rows), scalars: { rows: rows.length }, signal });
    }
  }

  /** Computes a beginning of all sequences once and copies it into every lane. */
  async begin(ids: Int32Array, signal: AbortSignal | undefined): Promise<void> {
    await this.fill([{ lane: 0, position: 0, ids }], signal);
    await this.#cache.spread(ids.length);
  }

  /** As {@link fill}, and scores the parts' targets. */
  async score(parts: readonly ScoredPart[], signal: AbortSignal | undefined): Promise<PartScore[]> {
    const likelihoods = new Float64Array(parts.length);
    const greedy = new Array<boolean>(parts.length).fill(true);
    for (const rows of runs(parts, this.#score.maxRows)) {
      const targets = Int32Array.from(rows, ({ part, i }) => part.targets[i] as number);
      const inputs = { ...places(rows), targets };
      const { losses, likeliest } = await this.#score.run({ inputs, scalars: { rows: rows.length }, signal });
      for (const [row, { index }] of rows.entries()) {
        likelihoods[index] = (likelihoods[index] as number) - ((losses as Float32Array)[row] as number);
        if ((likeliest as Float32Array)[row] === 0) greedy[index] = false;
      }
    }
    return parts.map((_, i) => ({ logLikelihood: likelihoods[i] as number, greedy: greedy[i] as boolean }));
  }

  /** Frees plans and cache, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fill[Symbol.asyncDispose]();
    await this.#score[Symbol.asyncDispose]();
    this.#cache.dispose();
  }
}

type Columns = [ids: Tensor, slots: Tensor, positions: Tensor];

function column(graph: Graph, name: string): Tensor {
  return graph.input(name, { rows: 'tokens', cols: 1, type: 'i32' });
}

/** A token of the `index`-th part. */
interface Row<P extends Part> {
  readonly part: P;
  readonly index: number;
  readonly i: number;
}

/** The tokens of all parts, one part after the other, as many at a time as a run may have. */
function* runs<P extends Part>(parts: readonly P[], most: number): Generator<Row<P>[]> {
  let rows: Row<P>[] = [];
  for (const [index, part] of parts.entries()) {
    for (let i = 0; i < part.ids.length; i++) {
      rows.push({ part, index, i });
      if (rows.length < most) continue;
      yield rows;
      rows = [];
    }
  }
  if (rows.length > 0) yield rows;
}

function places(rows: readonly Row<Part>[]) {
  return {
    ids: Int32Array.from(rows, ({ part, i }) => part.ids[i] as number),
    slots: Int32Array.from(rows, ({ part }) => part.lane),
    positions: Int32Array.from(rows, ({ part, i }) => part.position + i),
  };
}
