/** Tokens of a context and its continuation, split as the harness splits them. */

import type { Tokenizer } from '../text/tokenizer';
import type { ScoredText } from './load_task';

/** Token ids of which those from `scoredFrom` on are scored, each given all before it. */
export interface ScoredSequence {
  readonly ids: Int32Array;
  /** At least 1. */
  readonly scoredFrom: number;
}

/** Encodes the options of questions; remembers the latest context, which a question's options often share. */
export class PairEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #startId: number | undefined;
  /** Most tokens that the model takes plus the last one, which only is a target. */
  readonly #longest: number;
  #context = '';
  #contextIds: readonly number[] = [];

  /** @param startId - what a text that is cut shall still begin with, if it did */
  constructor(tokenizer: Tokenizer, maxPositions: number, startId?: number) {
    this.#tokenizer = tokenizer;
    this.#startId = startId;
    this.#longest = maxPositions + 1;
  }

  /**
   * Context and continuation are encoded together and split where the context alone would end. White space at the
   * context's end belongs to the continuation. What the model's limit has no room for is cut off at the start, after the
   * start token.
   */
  encode({ context, continuation }: ScoredText): ScoredSequence {
    const trimmed = context.trimEnd();
    const whole = this.#tokenizer.encode(context + continuation);
    const before = this.#encodeContext(trimmed);
    const { startTokenId, documentStartId } = this.#tokenizer;
    // without a context the continuation begins a document, before which the tokenizer may have put its start already
    if (before.length === 0 && startTokenId === undefined && documentStartId !== undefined) {
      whole.unshift(documentStartId);
    }
    // a continuation that melts into the context's last token still has that token scored
    const scoredFrom = Math.max(1, Math.min(before.length, whole.length - 1));
    const excess = Math.max(0, whole.length - this.#longest);
    const ids = Int32Array.from(whole.slice(excess));
    if (this.#startId !== undefined && whole[0] === this.#startId) ids[0] = this.#startId;
    return { ids, scoredFrom: Math.max(1, scoredFrom - excess) };
  }

  #encodeContext(context: string): readonly number[] {
    if (context !== this.#context) {
      this.#context = context;
      this.#contextIds = context === '' ? [] : this.#tokenizer.encode(context);
    }
    return this.#contextIds;
  }
}
