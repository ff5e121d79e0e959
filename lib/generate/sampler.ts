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
    const weights = this.#weigh(logits, logits[best] as number);
    const least = this.#threshold(weights);
    let rest = uniform(this.seed, this.#draws++) * sum(weights, least);
    for (let id = 0; id < weights.length; id++) {
      const weight = weights[id] as number;
      if (weight >= least) rest -= weight;
      if (rest < 0) return id;
    }
    return best;
  }

  /** How likely each token is in proportion to the likeliest. */
  #weigh(logits: Float32Array, largest: number): Float64Array {
    if (this.#weights.length !== logits.length) this.#weights = new Float64Array(logits.length);
    const weights = this.#weights;
    const hopeless = largest + this.#temperature * NO_CHANCE;
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id] as number;
      weights[id] = logit < hopeless ? 0 : Math.exp((logit - largest) / this.#temperature);
    }
    return weights;
  }

  #penalise(logits: Float32Array): void {
    if (this.#penalty === 1) return;
    for (const id of this.#seen) {
      const logit = logits[id] as number;
      logits[id] = logit > 0 ? logit / this.#penalty : logit * this.#penalty;
    }
  }

  /** Only tokens with at least this weight may be drawn; equals of the last one that may are let in too. */
  #threshold(weights: Float64Array): number {
    const useK = this.#topK > 0 && this.#topK < weights.length;
    if (!useK && this.#topP === 1) return this.#minP;
    const falling = fallingWeights(weights);
    const kept = useK ? firstOf(falling, this.#topK) : undefined;
    let missing = this.#topP === 1 ? Infinity : this.#topP * sum(kept ?? weights, 0);
    let last = 1;
    for (const weight of kept ?? falling) {
      last = weight;
      missing -= weight;
      if (missing <= 0) break;
    }
    return Math.max(this.#minP, last);
  }
}

/**
 * The weights in falling order, no more of them sorted than is asked for: to sort a vocabulary takes longer than a small
 * model takes for a token, and the few that are not far below the largest nearly always do.
 */
function* fallingWeights(weights: Float64Array): Generator<number> {
  let above = Infinity;
  for (const bound of [1e-2, 1e-4, 1e-8, 0]) {
    const some: number[] = [];
    for (let id = 0; id < weights.length; id++) {
      const weight = weights[id] as number;
      if (weight >= bound && weight < above) some.push(weight);
    }
    yield* Float64Array.from(some).sort().reverse();
    above = bound;
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

/** Of the weights that are at least `least`. */
function sum(weights: ArrayLike<number>, least: number): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] as number;
    if (weight >= least) total += weight;
  }
  return total;
}
