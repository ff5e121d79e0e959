/** Tokenization of a context and its continuation, split as the harness does. */

import type { Tokenizer } from '../text/tokenizer';
import type { ScoredText } from './load_task';

/** A token sequence whose tokens from `scoredFrom` on are scored, each conditioned on all earlier ones. */
export interface ScoredSequence {
  readonly ids: Int32Array;
  /** At least 1. */
  readonly scoredFrom: number;
}

/** An encoder of the options of questions. It caches the last context, which a question's options often share. */
export class PairEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #startId: number | undefined;
  /** The model's limit plus one: the last token is only a target. */
  readonly #longest: number;
  #context = '';
  #contextIds: readonly number[] = [];

  /** @param startId - start token that a truncated text retains, if it had it */
  constructor(tokenizer: Tokenizer, maxPositions: number, startId?: number) {
    this.#tokenizer = tokenizer;
    this.#startId = startId;
    this.#longest = maxPositions + 1;
  }

  /**
   * Encodes context and continuation together, and splits them where the context alone would end. White space at the
   * end of the context belongs to the continuation. Text beyond the model's limit is truncated at the start, after the
   * start token.
   */
  encode({ context, continuation }: ScoredText): ScoredSequence {
    const trimmed = context.trimEnd();
    const joined = this.#tokenizer.encode(context + continuation);
    const before = this.#encodeContext(trimmed);
    const { startTokenId, documentStartId } = this.#tokenizer;
    // without a context the continuation begins a document: add its start token unless the tokenizer did
    if (before.length === 0 && startTokenId === undefined && documentStartId !== undefined) {
      joined.unshift(documentStartId);
    }
    // if the continuation merges with the context's last token, that token is scored
    const scoredFrom = Math.max(1, Math.min(before.length, joined.length - 1));
    const excess = Math.max(0, joined.length - this.#longest);
    const ids = Int32Array.from(joined.slice(excess));
    if (this.#startId !== undefined && joined[0] === this.#startId) ids[0] = this.#startId;
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
