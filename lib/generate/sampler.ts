/** Chooses the next token from logits. */

import { uniform } from '../base/random';
import { finiteNumber, integerInRange, invalid, object } from '../base/validate';
import { indexAt, LogitRuns, sum, weightOf } from './logit_runs';

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
  /** Subtracted from the logits of tokens that the text already has, without the prompt; from -2 to 2. Default 0. */
  readonly presencePenalty?: number;
  /** Subtracted once for each time that the text has the token, without the prompt; from -2 to 2. Default 0. */
  readonly frequencyPenalty?: number;
  /** Added to the logits of tokens by their ids, from -100 (never) to 100 (always). Default: none. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** The same seed gives the same text. An integer of at least 0. Default: another one each time. */
  readonly seed?: number;
}

/** The options' names, for checking. */
export const SAMPLING_OPTIONS = [
  'temperature',
  'topK',
  'topP',
  'minP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'logitBias',
  'seed',
] as const;

/** A draw has 53 random bits: a token less likely than the likeliest by more than that is never drawn. In natural units. */
const NO_CHANCE = -53 * Math.LN2;

/**
 * One generation's sampler: penalties, bias, temperature, then top-k, top-p and min-p in the order that transformers applies
 * them, then a draw. Throws MBOK_INVALID_ARGUMENT for options outside their ranges.
 */
export class Sampler {
  readonly seed: number;
  readonly #temperature: number;
  readonly #topK: number;
  readonly #topP: number;
  readonly #minP: number;
  readonly #penalty: number;
  readonly #presence: number;
  readonly #frequency: number;
  readonly #bias: readonly (readonly [id: number, bias: number])[];
  #draws = 0;
  readonly #runs: LogitRuns;
  readonly #seen = new Set<number>();
  /** How often the text has a token. */
  readonly #counts = new Map<number, number>();

  constructor(options: SamplingOptions = {}) {
    const { temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed } = options;
    this.#temperature = finiteNumber('temperature', temperature, 0);
    this.#runs = new LogitRuns(this.#temperature);
    this.#topK = integerInRange('topK', topK, 0);
    this.#topP = finiteNumber('topP', topP, Number.MIN_VALUE, 1);
    this.#minP = finiteNumber('minP', minP, 0, 1);
    this.#penalty = finiteNumber('repetitionPenalty', repetitionPenalty, Number.MIN_VALUE);
    this.#presence = finiteNumber('presencePenalty', options.presencePenalty ?? 0, -2, 2);
    this.#frequency = finiteNumber('frequencyPenalty', options.frequencyPenalty ?? 0, -2, 2);
    this.#bias = readBias(options.logitBias ?? {});
    this.seed = seed === undefined ? Math.floor(Math.random() * 2 ** 32) : integerInRange('seed', seed, 0);
  }

  /** Tells the sampler a token of the prompt. */
  see(id: number): void {
    this.#seen.add(id);
  }

  /** Tells the sampler a token that the text goes on with. */
  take(id: number): void {
    this.#seen.add(id);
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }

  /** The next token's id. `logits` [V] are changed in place. Throws MBOK_NON_FINITE. */
  sample(logits: Float32Array): number {
    this.#penalize(logits);
    this.#runs.read(logits);
    const { largest, likeliest } = this.#runs;
    if (this.#temperature === 0) return likeliest;
    const least = this.#threshold(logits, largest);
    const share = uniform(this.seed, this.#draws++);
    return (least === 0 ? this.#runs.at(share) : this.#draw(logits, largest, least, share)) ?? likeliest;
  }

  /** The token at this share of the weights of all that weigh `least` or more. */
  #draw(logits: Float32Array, largest: number, least: number, share: number): number | undefined {
    const ids = this.#runs.reaching(logitOf(least, largest, this.#temperature));
    const weights = ids.map((id) => {
      const weight = weightOf(logits[id] as number, largest, this.#temperature);
      return weight >= least ? weight : 0;
    });
    const drawn = indexAt(weights, share * sum(weights));
    return drawn && ids[drawn.index];
  }

  #penalize(logits: Float32Array): void {
    if (this.#penalty !== 1) {
      for (const id of this.#seen) {
        const logit = logits[id] as number;
        logits[id] = logit > 0 ? logit / this.#penalty : logit * this.#penalty;
      }
    }
    if (this.#presence !== 0 || this.#frequency !== 0) {
      for (const [id, count] of this.#counts) {
        logits[id] = (logits[id] as number) - this.#presence - count * this.#frequency;
      }
    }
    for (const [id, bias] of this.#bias) logits[id] = (logits[id] as number) + bias;
  }

  /** Only tokens with at least this weight may be drawn; equals of the last one that may are let in too. */
  #threshold(logits: Float32Array, largest: number): number {
    const useK = this.#topK > 0 && this.#topK < logits.length;
    if (!useK && this.#topP === 1) return this.#minP;
    const falling = this.#fallingWeights(logits, largest);
    const kept = useK ? firstOf(falling, this.#topK) : undefined;
    let missing = this.#topP === 1 ? Infinity : this.#topP * (kept ? sum(kept) : this.#runs.total());
    let last = 1;
    for (const weight of kept ?? falling) {
      last = weight;
      missing -= weight;
      if (missing <= 0) break;
    }
    return Math.max(this.#minP, last);
  }

  /**
   * The weights in falling order, no more of them sorted than is asked for. Sorting a vocabulary takes longer than a small
   * model takes for a token. The few weights that are not far below the largest nearly always do.
   */
  *#fallingWeights(logits: Float32Array, largest: number): Generator<number> {
    let above = Infinity;
    const hopeless = logitOf(0, largest, this.#temperature);
    for (const bound of [0.5, 0.1, 1e-2, 1e-4, 1e-8, 0]) {
      const least = bound > 0 ? largest + this.#temperature * Math.log(bound) : -Infinity;
      const some = this.#runs.reaching(least).map((id) => logits[id] as number);
      for (const logit of Float64Array.from(some.filter((logit) => logit < above))
        .sort()
        .reverse()) {
        yield logit < hopeless ? 0 : weightOf(logit, largest, this.#temperature);
      }
      above = least;
    }
  }
}

/** Checks the biases. Ids past the vocabulary are the request's matter, which knows the model. */
function readBias(bias: Readonly<Record<number, number>>): (readonly [id: number, bias: number])[] {
  return Object.entries(object('logitBias', bias)).map(([key, value]) => {
    const id = Number(key);
    if (!/^\d+$/.test(key) || !Number.isSafeInteger(id)) invalid('logitBias', 'biases by token ids', bias);
    return [id, finiteNumber(`logitBias[${id}]`, value, -100, 100)];
  });
}

/** Logits below this have less than this weight, or no chance to be drawn. A little less than exact, for rounding. */
function logitOf(weight: number, largest: number, temperature: number): number {
  return largest + temperature * (weight > 0 ? Math.max(NO_CHANCE, Math.log(weight) - 1e-9) : NO_CHANCE);
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
