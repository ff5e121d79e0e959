/** Chooses the next token from logits. */

import { MbokError } from '../errors';
import { uniform } from '../random';
import { finiteNumber, integerInRange } from '../validate';

/** How the next token is chosen among the likely ones. */
export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token always. Default 1. */
  readonly temperature?: number;
  /** Only the `topK` likeliest tokens; 0: all. Default 0. */
  readonly topK?: number;
  /** Only the likeliest tokens that together reach this probability, in (0, 1]. Default 1: all. */
  readonly topP?: number;
  /** Only tokens at least this likely in proportion to the likeliest, in [0, 1]. Default 0: all. */
  readonly minP?: number;
  /** Above 1, tokens of the prompt and of the text so far become less likely (arXiv 1909.05858). Default 1. */
  readonly repetitionPenalty?: number;
  /** The same seed gives the same text. An integer of at least 0. Default: another one each time. */
  readonly seed?: number;
}

/** The options' names, for checking. */
export const SAMPLING_OPTIONS = ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'seed'] as const;

/** A draw has 53 random bits: a token less likely than the likeliest by more than that is never drawn. In natural units. */
const NO_CHANCE = -53 * Math.LN2;

/**
 * One generation's sampler: penalty, temperature, then top-k, top-p and min-p in the order that transformers applies
 * them, then a draw. Throws MBOK_INVALID_ARGUMENT for options outside their ranges.
 */
export class Sampler {
  readonly seed: number;
  readonly #temperature: number;
  readonly #topK: number;
  readonly #topP: number;
  readonly #minP: number;
  readonly #penalty: number;
  #draws = 0;
  #weights = new Float64Array(0);
  readonly #seen = new Set<number>();

  constructor({ temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed }: SamplingOptions = {}) {
    this.#temperature = finiteNumber('temperature', temperature, 0);
    this.#topK = integerInRange('topK', topK, 0);
    this.#topP = finiteNumber('topP', topP, Number.MIN_VALUE, 1);
    this.#minP = finiteNumber('minP', minP, 0, 1);
    this.#penalty = finiteNumber('repetitionPenalty', repetitionPenalty, Number.MIN_VALUE);
    this.seed = seed === undefined ? Math.floor(Math.random() * 2 ** 32) : integerInRange('seed', seed, 0);
  }

  /** Tells the sampler a token of the text so far, for the repetition penalty. */
  see(id: number): void {
    this.#seen.add(id);
  }

  /** The next token's id. `logits` [V] are changed in place. Throws MBOK_NON_FINITE. */
  sample(logits: Float32Array): number {
    this.#penalise(logits);
    const best = likeliest(logits);
    if (this.#temperature === 0) return best;
    const { weights, total } = this.#weigh(logits, logits[best] as number);
    let rest = uniform(this.seed, this.#draws++) * total;
    for (let id = 0; id < weights.length; id++) {
      rest -= weights[id] as number;
      if (rest < 0) return id;
    }
    return best;
  }

  /** How likely each token is in proportion to the likeliest, 0 where it may not be drawn, and the sum. */
  #weigh(logits: Float32Array, largest: number): { readonly weights: Float64Array; readonly total: number } {
    if (this.#weights.length !== logits.length) this.#weights = new Float64Array(logits.length);
    const weights = this.#weights;
    const least = this.#threshold(logits, largest);
    // an exponential takes ten times as long as a comparison: only few tokens of a large vocabulary need one
    const hopeless = logitOf(least, largest, this.#temperature);
    let total = 0;
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id] as number;
      const weight = logit < hopeless ? 0 : weightOf(logit, largest, this.#temperature);
      weights[id] = weight >= least ? weight : 0;
      total += weights[id] as number;
    }
    return { weights, total };
  }

  #penalise(logits: Float32Array): void {
    if (this.#penalty === 1) return;
    for (const id of this.#seen) {
      const logit = logits[id] as number;
      logits[id] = logit > 0 ? logit / this.#penalty : logit * this.#penalty;
    }
  }

  /** Only tokens with at least this weight may be drawn; equals of the last one that may are let in too. */
  #threshold(logits: Float32Array, largest: number): number {
    const useK = this.#topK > 0 && this.#topK < logits.length;
    if (!useK && this.#topP === 1) return this.#minP;
    const falling = fallingWeights(logits, largest, this.#temperature);
    const kept = useK ? firstOf(falling, this.#topK) : undefined;
    let missing = this.#topP === 1 ? Infinity : this.#topP * (kept ? sum(kept) : this.#sumOfAll(logits, largest));
    let last = 1;
    for (const weight of kept ?? falling) {
      last = weight;
      missing -= weight;
      if (missing <= 0) break;
    }
    return Math.max(this.#minP, last);
  }

  #sumOfAll(logits: Float32Array, largest: number): number {
    const hopeless = logitOf(0, largest, this.#temperature);
    let total = 0;
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id] as number;
      if (logit >= hopeless) total += weightOf(logit, largest, this.#temperature);
    }
    return total;
  }
}

/** How likely a token is in proportion to the likeliest. */
function weightOf(logit: number, largest: number, temperature: number): number {
  return Math.exp((logit - largest) / temperature);
}

/** Logits below this have less than this weight, or no chance to be drawn. A little less than exact, for rounding. */
function logitOf(weight: number, largest: number, temperature: number): number {
  return largest + temperature * (weight > 0 ? Math.max(NO_CHANCE, Math.log(weight) - 1e-9) : NO_CHANCE);
}

/**
 * The weights in falling order, no more of them sorted than is asked for: to sort a vocabulary takes longer than a small
 * model takes for a token, and the few that are not far below the largest nearly always do.
 */
function* fallingWeights(logits: Float32Array, largest: number, temperature: number): Generator<number> {
  let above = Infinity;
  const hopeless = logitOf(0, largest, temperature);
  for (const bound of [0.5, 0.1, 1e-2, 1e-4, 1e-8, 0]) {
    const least = bound > 0 ? largest + temperature * Math.log(bound) : -Infinity;
    const some: number[] = [];
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id] as number;
      if (logit >= least && logit < above) some.push(logit);
    }
    for (const logit of Float64Array.from(some).sort().reverse()) {
      yield logit < hopeless ? 0 : weightOf(logit, largest, temperature);
    }
    above = least;
  }
}

function firstOf(values: Iterator<number>, count: number): number[] {
  const first: number[] = [];
  while (first.length < count) {
    const { value, done } = values.next();
    if (done) break;
    first.push(value);
  }
  return first;
}

/** Index of the largest logit; the first of equals. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if ((logits[id] as number) > (logits[best] as number)) best = id;
  if (!Number.isFinite(logits[best]))
    throw new MbokError('MBOK_NON_FINITE', 'the model gave logits that are not finite');
  return best;
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
