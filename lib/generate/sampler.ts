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
    const largest = logits[best] as number;
    const least = this.#threshold(logits, largest);
    const weight = (logit: number) => (logit < least ? 0 : Math.exp((logit - largest) / this.#temperature));
    let rest = uniform(this.seed, this.#draws++) * sum(logits, weight);
    for (let id = 0; id < logits.length; id++) {
      rest -= weight(logits[id] as number);
      if (rest < 0) return id;
    }
    return best;
  }

  #penalise(logits: Float32Array): void {
    if (this.#penalty === 1) return;
    for (const id of this.#seen) {
      const logit = logits[id] as number;
      logits[id] = logit > 0 ? logit / this.#penalty : logit * this.#penalty;
    }
  }

  /** Only tokens with at least this logit may be drawn; equals of the last one that may are let in too. */
  #threshold(logits: Float32Array, largest: number): number {
    const least = this.#minP > 0 ? largest + this.#temperature * Math.log(this.#minP) : -Infinity;
    const useK = this.#topK > 0 && this.#topK < logits.length;
    if (!useK && this.#topP === 1) return least;
    const sorted = logits.slice().sort().reverse();
    const kept = useK ? sorted.subarray(0, this.#topK) : sorted;
    if (this.#topP === 1) return Math.max(least, kept.at(-1) as number);
    const weight = (logit: number) => Math.exp((logit - largest) / this.#temperature);
    let missing = this.#topP * sum(kept, weight);
    const last = kept.find((logit) => {
      missing -= weight(logit);
      return missing <= 0;
    });
    return Math.max(least, last ?? (kept.at(-1) as number));
  }
}

/** Index of the largest logit; the first of equals. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if ((logits[id] as number) > (logits[best] as number)) best = id;
  if (!Number.isFinite(logits[best]))
    throw new MbokError('MBOK_NON_FINITE', 'the model gave logits that are not finite');
  return best;
}

function sum(logits: Float32Array, weight: (logit: number) => number): number {
  let total = 0;
  for (const logit of logits) total += weight(logit);
  return total;
}
