/** Batched computation of parts of token sequences. Each part continues a sequence from its key-value cache. */

import { cacheBytes, GenerationCache } from '../generate/cache';
import type { Arithmetic } from '../graph/arithmetic';
import { Graph, type Tensor } from '../graph/graph';
import { headLikelihood } from '../graph/operations/head_loss';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import type { Builder } from '../nn/builder';

/** Tokens per run: enough to reuse each weight many times. */
const ROWS = 1024;
/** Largest number of lanes: enough that even parts of a few tokens reuse weights many times. */
const MOST_LANES = 64;
/** Limit on the cache: 256 MiB or an eighth of the weights, whichever is larger. */
const CACHE_BYTES = 2 ** 28;
const CACHE_SHARE = 8;

/** Tokens that continue a lane from a position. They overwrite the lane's cache from there on. */
export interface Part {
  readonly lane: number;
  readonly position: number;
  readonly ids: Int32Array;
}

/** A part with scored tokens. */
export interface ScoredPart extends Part {
  /** Successor of each token; −1 if it is not scored. */
  readonly targets: Int32Array;
}

/** Score of a part. */
export interface PartScore {
  /** Sum over the scored targets. */
  readonly logLikelihood: number;
  /** Whether each of them was the likeliest token. */
  readonly greedy: boolean;
}

export interface LaneOptions {
  /** Tokens of the longest sequence. */
  readonly capacity: number;
  /** Upper limit on the number of sequences. */
  readonly sequences: number;
  readonly arithmetic: Arithmetic;
}

/** A key-value cache of several sequences (lanes), and the plans that fill it and score with it. Dispose it. */
export class Lanes {
  /** Number of lanes. */
  readonly count: number;
  /** Cache capacity of each lane in tokens. */
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

  /** Computes keys and values of parts, at most one per lane. */
  async fill(parts: readonly Part[], signal: AbortSignal | undefined): Promise<void> {
    for (const rows of runs(parts, this.#fill.maxRows)) {
      await this.#fill.run({ inputs: rowInputs(rows), scalars: { rows: rows.length }, signal });
    }
  }

  /** Computes a common prefix of all sequences once and copies its keys and values to every lane. */
  async begin(ids: Int32Array, signal: AbortSignal | undefined): Promise<void> {
    await this.fill([{ lane: 0, position: 0, ids }], signal);
    await this.#cache.spread(ids.length);
  }

  /** Computes keys and values as {@link fill} does, and scores the parts' targets. */
  async score(parts: readonly ScoredPart[], signal: AbortSignal | undefined): Promise<PartScore[]> {
    const likelihoods = new Float64Array(parts.length);
    const greedy = new Array<boolean>(parts.length).fill(true);
    for (const rows of runs(parts, this.#score.maxRows)) {
      const targets = Int32Array.from(rows, ({ part, i }) => part.targets[i] as number);
      const inputs = { ...rowInputs(rows), targets };
      const { losses, likeliest } = await this.#score.run({ inputs, scalars: { rows: rows.length }, signal });
      for (const [row, { index }] of rows.entries()) {
        likelihoods[index] = (likelihoods[index] as number) - ((losses as Float32Array)[row] as number);
        if ((likeliest as Float32Array)[row] === 0) greedy[index] = false;
      }
    }
    return parts.map((_, i) => ({ logLikelihood: likelihoods[i] as number, greedy: greedy[i] as boolean }));
  }

  /** Frees plans and cache, after the current run if there is one. */
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

/** A token of part `index`. */
interface Row<P extends Part> {
  readonly part: P;
  readonly index: number;
  readonly i: number;
}

/** Yields the tokens of all parts in sequence, at most `maxRows` at a time. */
function* runs<P extends Part>(parts: readonly P[], maxRows: number): Generator<Row<P>[]> {
  let rows: Row<P>[] = [];
  for (const [index, part] of parts.entries()) {
    for (let i = 0; i < part.ids.length; i++) {
      rows.push({ part, index, i });
      if (rows.length < maxRows) continue;
      yield rows;
      rows = [];
    }
  }
  if (rows.length > 0) yield rows;
}

function rowInputs(rows: readonly Row<Part>[]) {
  return {
    ids: Int32Array.from(rows, ({ part, i }) => part.ids[i] as number),
    slots: Int32Array.from(rows, ({ part }) => part.lane),
    positions: Int32Array.from(rows, ({ part, i }) => part.position + i),
  };
}
