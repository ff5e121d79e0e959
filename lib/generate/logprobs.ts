/** Log-probabilities of tokens: what the model thinks of them, before penalties, bias and temperature. */

import { LogitRuns } from './logit_runs';

/** A token and its probability. */
export interface TokenProbability {
  /** Id of the token. */
  readonly id: number;
  /** Natural logarithm of the model's probability of the token. */
  readonly logprob: number;
}

/** A token's probability and its alternatives. */
export interface ScoredToken extends TokenProbability {
  /** The likeliest tokens in its place, the likeliest first; it may be one of them. */
  readonly likeliest: readonly TokenProbability[];
}

/** Scores tokens by logits: log softmax. */
export class TokenScorer {
  readonly #runs = new LogitRuns(1);

  /**
   * Scores a token by the logits of its place, which are only read.
   *
   * @param count - how many of the likeliest tokens to tell
   * @throws MbokError MBOK_NON_FINITE
   */
  score(logits: Float32Array, id: number, count: number): ScoredToken {
    this.#runs.read(logits);
    const total = this.#runs.largest + Math.log(this.#runs.total());
    const scored = (id: number): TokenProbability => ({ id, logprob: (logits[id] as number) - total });
    return { ...scored(id), likeliest: this.#runs.top(count).map(scored) };
  }
}
