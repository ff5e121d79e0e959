/** Computes the logits of texts that grow side by side, in a cache with a slot per text. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph, type Tensor } from '../graph/graph';
import { embedding } from '../graph/operations/embedding';
import { headLogits } from '../graph/operations/head';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import { addon, guarded } from '../native/addon';
import { GenerationCache } from './cache';
import { GrowingPlan } from './growing_plan';

/** Rows of a prefill run: enough to reuse each weight many times, little memory. */
export const PREFILL_ROWS = 512;

/**
 * Successive positions that attention computes together (kAttentionQueries). A few round differently from many, so prompts
 * are cut between blocks only.
 */
const BLOCK = 64;

export interface DecoderOptions {
  /** Texts side by side. Default 1. */
  readonly slots?: number;
  /** Tokens of the longest text. */
  readonly context: number;
  readonly arithmetic: Arithmetic;
}

/** The next tokens of a slot's prompt. */
export interface Piece {
  readonly slot: number;
  readonly ids: Int32Array;
  /** Whether the prompt ends with the piece: logits are computed after its last token. */
  readonly ends: boolean;
}

/** The next token of a slot's text. */
export interface Token {
  readonly slot: number;
  readonly id: number;
}

/** Tokens of a run and where they stand. */
interface Places {
  /** Positions that the run reaches. */
  readonly reached: number;
  readonly inputs: Readonly<Record<string, Int32Array>>;
  readonly scalars: { readonly rows: number; readonly pathRows: number; readonly position?: number };
}

/** Tokens in a slot. */
interface Held {
  readonly ids: number[];
  /** Number of leading tokens that were computed as a prompt on `path`. */
  prompt: number;
  path: number;
}

/** Dispose it; it shares the model's weights and owns everything else. */
export class Decoder {
  readonly slots: number;
  readonly context: number;
  readonly arithmetic: Arithmetic;
  /** Rows of a prefill run at most. */
  readonly maxRows: number;
  readonly cache: GenerationCache;
  readonly #model: ModelCore;
  readonly #revision: number;
  readonly #thresholds: readonly number[];
  readonly #held: readonly Held[];
  readonly #prompts: GrowingPlan;
  readonly #tokens: GrowingPlan;
  #head: Plan | undefined;
  /** Columns of finished hidden states. */
  #cols = 0;
  #states: Float32Array = new Float32Array(0);
  #logits: Float32Array = new Float32Array(0);

  /** Throws MBOK_OUT_OF_MEMORY. */
  constructor(model: ModelCore, { slots = 1, context, arithmetic }: DecoderOptions) {
    this.#model = model;
    this.#revision = model.revision;
    this.slots = slots;
    this.context = context;
    this.arithmetic = arithmetic;
    this.maxRows = Math.min(PREFILL_ROWS, slots * context);
    this.cache = new GenerationCache(model, { context, slots, precision: arithmetic.precision });
    this.#thresholds = thresholds(model, arithmetic);
    this.#held = Array.from({ length: slots }, () => ({ ids: [], prompt: 0, path: 0 }));
    this.#prompts = new GrowingPlan(context, (positions) => {
      const { graph, finished } = this.#body(positions);
      const ends = graph.input('ends', { rows: slots, cols: 1, type: 'i32' });
      graph.output('states', embedding(finished, ends));
      this.#cols = finished.cols;
      return new Plan(graph, { maxRows: this.maxRows });
    });
    this.#tokens = new GrowingPlan(context, (positions) => {
      const { graph, finished } = this.#body(positions);
      this.#addHead(graph, finished);
      return new Plan(graph, { maxRows: slots });
    });
  }

  /** Whether the model's weights have changed since, so that the cache belongs to another model. */
  get isStale(): boolean {
    return this.#model.revision !== this.#revision;
  }

  /** Keeps the weights as they are until disposed. Throws MBOK_BUSY while they change or where they have, MBOK_DISPOSED. */
  hold(): Disposable {
    return this.#model.holdToRead(this.#revision);
  }

  /**
   * Returns the path of a prompt of so many tokens. Products choose their algorithm by the number of rows, and each rounds
   * differently: prompts of one path can share a run without changing one another's bits.
   */
  path(tokens: number): number {
    const most = this.#thresholds.at(-1) as number;
    return this.#thresholds.find((rows) => tokens <= rows) ?? most + 1;
  }

  /** Returns how many of a prompt's next `count` tokens fit into `room` rows: all, or as many as end a block. */
  take(slot: number, count: number, room: number): number {
    if (count <= room) return count;
    const position = this.#at(slot).ids.length;
    return Math.max(0, wholeBlocks(position + room) - position);
  }

  /**
   * Appends pieces of prompts of one path, of which each slot has one at most.
   *
   * @returns the logits [V] after each piece that ends its prompt; the next call overwrites them
   * @throws MbokError MBOK_BUSY (the model is being changed or has been), MBOK_DISPOSED, MBOK_ABORTED, MBOK_OUT_OF_MEMORY
   */
  async prefill(pieces: readonly Piece[], path: number, signal: AbortSignal | undefined): Promise<Float32Array[]> {
    using _ = this.hold();
    const { reached, inputs, scalars } = this.#places(pieces, path);
    const ends = new Int32Array(this.slots);
    let [row, ended] = [0, 0];
    for (const { ids, ends: last } of pieces) {
      row += ids.length;
      if (last) ends[ended++] = row - 1;
    }
    const plan = await this.#prompts.upTo(reached);
    const run = { inputs: { ...inputs, ends }, scalars, signal };
    if (ended === 0) await plan.run({ ...run, outputs: [] });
    else {
      const running = plan.run({ ...run, into: { states: this.#states } });
      // plans for what comes next are made while native code computes
      const prepared = this.#prepare(Math.min(this.context, reached + 1));
      await Promise.allSettled([running, prepared]);
      this.#states = (await running).states as Float32Array;
      await prepared;
    }
    for (const { slot, ids } of pieces) this.#extend(this.#at(slot), ids, path);
    return ended === 0 ? [] : await this.#logitsOf(ended, signal);
  }

  /** Appends a token to each of several texts. Returns the logits after them and throws as {@link prefill}. */
  async step(tokens: readonly Token[], signal: AbortSignal | undefined): Promise<Float32Array[]> {
    using _ = this.hold();
    const pieces = tokens.map(({ slot, id }) => ({ slot, ids: Int32Array.of(id) }));
    const { reached, inputs, scalars } = this.#places(pieces, 1);
    const plan = await this.#tokens.upTo(reached);
    const into = { logits: this.#logits };
    const { logits } = await plan.run({ inputs, scalars, into, signal });
    for (const { slot, id } of tokens) this.#at(slot).ids.push(id);
    return this.#split(logits as Float32Array, tokens.length);
  }

  /** Appends a prompt to a slot's text, piece by piece. Returns the logits after it and throws as {@link prefill}. */
  async append(slot: number, ids: Int32Array, signal: AbortSignal | undefined): Promise<Float32Array> {
    const path = this.path(ids.length);
    for (let start = 0; ; ) {
      const end = start + this.take(slot, ids.length - start, this.maxRows);
      const piece = { slot, ids: ids.subarray(start, end), ends: end === ids.length };
      const [logits] = await this.prefill([piece], path, signal);
      if (logits !== undefined) return logits;
      start = end;
    }
  }

  /**
   * Returns how many leading tokens of a prompt a slot holds: at most all but the last, whose logits are wanted.
   *
   * @param path - counts only tokens with the bits of this path: whole blocks of an earlier prompt
   */
  reusable(slot: number, ids: Int32Array, path?: number): number {
    const held = this.#at(slot);
    const limit = path === undefined ? held.ids.length : path === held.path ? held.prompt : 0;
    const most = Math.min(ids.length - 1, limit);
    let same = 0;
    while (same < most && ids[same] === held.ids[same]) same++;
    return path === undefined ? same : wholeBlocks(same);
  }

  /** Truncates a slot's text to what is {@link reusable}, and returns its length. */
  rewind(slot: number, ids: Int32Array, path?: number): number {
    const same = this.reusable(slot, ids, path);
    const held = this.#at(slot);
    held.ids.length = same;
    held.prompt = Math.min(held.prompt, same);
    return same;
  }

  /** Copies what a smaller decoder of the same model and one slot holds. */
  takeOver(smaller: Decoder): void {
    this.cache.takeOver(smaller.cache);
    Object.assign(this.#at(0), { ...smaller.#at(0), ids: [...smaller.#at(0).ids] });
  }

  /** Frees plans and cache, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#prompts[Symbol.asyncDispose]();
    await this.#tokens[Symbol.asyncDispose]();
    await this.#head?.[Symbol.asyncDispose]();
    this.cache.dispose();
  }

  #at(slot: number): Held {
    return this.#held[slot] as Held;
  }

  #extend(held: Held, ids: Int32Array, path: number): void {
    if (held.ids.length === 0) held.path = path;
    if (held.path === path && held.prompt === held.ids.length) held.prompt += ids.length;
    held.ids.push(...ids);
  }

  /** Builds the model up to its head. */
  #body(positions: number): { readonly graph: Graph; readonly finished: Tensor } {
    const graph = new Graph(this.arithmetic);
    const input = (name: string) => graph.input(name, { rows: 'tokens', cols: 1, type: 'i32' });
    const ids = input('ids');
    const places =
      this.slots > 1 ? { slots: input('slots'), positions: input('positions'), capacity: this.context } : undefined;
    const builder = this.#model.builder(graph, { cache: this.cache.entries, ...(places && { places }) });
    return { graph, finished: this.#model.build(builder, ids, positions).finished };
  }

  #addHead(graph: Graph, states: Tensor): void {
    const { family, config } = this.#model;
    graph.output('logits', headLogits(family.head(this.#model.builder(graph), states, config)));
  }

  #places(pieces: readonly Pick<Piece, 'slot' | 'ids'>[], pathRows: number): Places {
    if (this.slots === 1) {
      // a scalar, which is faster to pass than columns
      const [{ ids }] = pieces as readonly [Piece];
      const position = this.#at(0).ids.length;
      return { reached: position + ids.length, inputs: { ids }, scalars: { rows: ids.length, pathRows, position } };
    }
    const rows = pieces.reduce((sum, { ids }) => sum + ids.length, 0);
    const [ids, slots, positions] = [new Int32Array(rows), new Int32Array(rows), new Int32Array(rows)];
    let [row, reached] = [0, 0];
    for (const piece of pieces) {
      const begin = this.#at(piece.slot).ids.length;
      ids.set(piece.ids, row);
      slots.fill(piece.slot, row, row + piece.ids.length);
      for (let j = 0; j < piece.ids.length; j++) positions[row + j] = begin + j;
      row += piece.ids.length;
      reached = Math.max(reached, begin + piece.ids.length);
    }
    return { reached, inputs: { ids, slots, positions }, scalars: { rows, pathRows } };
  }

  /** Returns the logits of the first rows of the last prefill run's states. The head has one path for all prompts. */
  async #logitsOf(rows: number, signal: AbortSignal | undefined): Promise<Float32Array[]> {
    const states = this.#states.subarray(0, rows * this.#cols);
    const into = { logits: this.#logits };
    const run = { inputs: { states }, scalars: { rows, pathRows: 1 }, into, signal };
    const { logits } = await (this.#head as Plan).run(run);
    return this.#split(logits as Float32Array, rows);
  }

  /** Makes the plans that follow a prompt, for texts that reach `positions` positions. */
  async #prepare(positions: number): Promise<void> {
    this.#head ??= this.#headPlan();
    await this.#tokens.upTo(positions);
  }

  #headPlan(): Plan {
    const graph = new Graph(this.arithmetic);
    this.#addHead(graph, graph.input('states', { rows: 'tokens', cols: this.#cols }));
    return new Plan(graph, { maxRows: this.slots });
  }

  #split(logits: Float32Array, rows: number): Float32Array[] {
    if (logits.length > this.#logits.length) this.#logits = logits;
    if (rows === 1) return [logits];
    const size = this.#model.config.vocabularySize;
    return Array.from({ length: rows }, (_, row) => logits.subarray(row * size, (row + 1) * size));
  }
}

/** Returns the number of positions before this one that fill whole blocks. */
function wholeBlocks(position: number): number {
  return Math.floor(position / BLOCK) * BLOCK;
}

/** Returns the numbers of rows after which a product of the model may change its algorithm, in rising order. */
function thresholds({ kernels }: ModelCore, { precision }: Arithmetic): readonly number[] {
  const { decodedRows, streamedRows } = guarded(() => addon().info());
  const looked = decodedRows[precision];
  const tiled = [...kernels.values()].map((count) => looked[Math.min(count, looked.length) - 1] as number);
  // products of bits in rows change below `streamedRows`
  const few = Array.from({ length: streamedRows }, (_, i) => i + 1);
  return [...new Set([...few, ...tiled])].sort((a, b) => a - b);
}
