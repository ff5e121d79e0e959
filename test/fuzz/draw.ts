import { Random } from '../helpers/random';

/** Seeds of a run lie below this, so that every case of every seed draws from numbers of its own. */
export const MOST_SEEDS = 2 ** 20;

/** Seeded choices: one object a case, so that a case depends on nothing but its seed and number. */
export class Draw extends Random {
  /**
   * @param seed - of the run, below {@link MOST_SEEDS}
   * @param number - of the case, below 2³²
   */
  constructor(
    seed: number,
    readonly number: number,
  ) {
    super(seed * 2 ** 32 + number);
  }

  /** True with a probability of `share`. */
  chance(share: number): boolean {
    return this.uniform() < share;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.integer(0, list.length - 1)] as T;
  }

  /** An integer from 1 to `most` whose logarithm is uniform: small sizes are as likely as sizes near the limit. */
  size(most: number): number {
    return Math.floor(most ** this.uniform());
  }

  /** Between `least` and `most` things. */
  several<T>(least: number, most: number, make: (index: number) => T): T[] {
    return Array.from({ length: this.integer(least, most) }, (_, index) => make(index));
  }
}
