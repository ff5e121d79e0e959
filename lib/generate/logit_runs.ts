/**
 * Logits in runs of tokens. JavaScript takes nanoseconds for each token that it looks at, which over a large vocabulary is as
 * long as a small model takes: native code looks at all of them once, so that only few runs need looking into.
 */

import { MbokError } from '../base/errors';
import { addon } from '../native/addon';

/** Tokens of a run. */
const RUN = 256;

const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;

/** How likely a token is in proportion to the likeliest. */
export function weightOf(logit: number, largest: number, temperature: number): number {
  return Math.exp((logit - largest) / temperature);
}

/** The index at which the running sum of `weights` exceeds `weight`, and by how much it was less before. */
export function indexAt(weights: readonly number[], weight: number): { index: number; rest: number } | undefined {
  let rest = weight;
  for (const [index, next] of weights.entries()) {
    if (rest < next) return { index, rest };
    rest -= next;
  }
  return undefined;
}

export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** One row of logits at a time. */
export class LogitRuns {
  /** The largest logit, and the first token that has it. */
  largest = 0;
  likeliest = 0;
  readonly #temperature: number;
  #logits: Float32Array = new Float32Array(0);
  /** Of each run the largest logit, and the sum of its tokens' weights in proportion to that one's. */
  #largest = new Float32Array(0);
  #sums = new Float32Array(0);

  constructor(temperature: number) {
    this.#temperature = temperature;
  }

  /** Looks at `logits`, which must not change until the next call. Throws MBOK_NON_FINITE. */
  read(logits: Float32Array): void {
    const count = Math.ceil(logits.length / RUN);
    if (this.#sums.length !== count) [this.#largest, this.#sums] = [new Float32Array(count), new Float32Array(count)];
    addon().weigh(logits, RUN, Math.min(1 / this.#temperature, LARGEST_FLOAT), this.#largest, this.#sums);
    this.#logits = logits;
    this.largest = this.#largest.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!Number.isFinite(this.largest) || this.#sums.some(Number.isNaN))
      throw new MbokError('MBOK_NON_FINITE', 'the model gave logits that are not finite');
    this.likeliest = logits.indexOf(this.largest, this.#largest.indexOf(this.largest) * RUN);
  }

  /** The tokens of at least this logit, in their order. */
  reaching(least: number): number[] {
    const ids: number[] = [];
    for (const [run, largest] of this.#largest.entries()) {
      if (largest < least) continue;
      const end = Math.min(this.#logits.length, (run + 1) * RUN);
      for (let id = run * RUN; id < end; id++) if ((this.#logits[id] as number) >= least) ids.push(id);
    }
    return ids;
  }

  /** The `count` likeliest tokens, the likeliest first; of equals the first in the vocabulary. */
  top(count: number): number[] {
    const logits = this.#logits;
    let ids: number[] = [];
    // few tokens are not far below the largest: sorting a vocabulary takes longer than a small model takes for a token
    for (const below of [0, 2, 5, 12, Infinity]) {
      ids = this.reaching(this.largest - below);
      if (ids.length >= count) break;
    }
    return ids.sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b).slice(0, count);
  }

  /** The weights of all tokens together, the likeliest having 1. */
  total(): number {
    return sum(this.#weights());
  }

  /** The token at this share of all tokens' weights. */
  at(share: number): number | undefined {
    const runs = this.#weights();
    const run = indexAt(runs, share * sum(runs));
    if (run === undefined) return undefined;
    const begin = run.index * RUN;
    const weights = Array.from(this.#logits.subarray(begin, begin + RUN), (logit) => this.#weightOf(logit));
    // as a share of this sum, which need not be the run's to the last bit
    const token = indexAt(weights, (run.rest / (runs[run.index] as number)) * sum(weights));
    return token && begin + token.index;
  }

  /** Of each run. */
  #weights(): number[] {
    return Array.from(this.#sums, (weight, run) => weight * this.#weightOf(this.#largest[run] as number));
  }

  #weightOf(logit: number): number {
    return weightOf(logit, this.largest, this.#temperature);
  }
}
