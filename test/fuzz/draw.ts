import { Random } from '../helpers/random';

/** Exclusive limit on the seeds of runs, so that every case of every seed draws different numbers. */
export const MOST_SEEDS = 2 ** 20;

/** Seeded random choices. Each case has its generator, so that it depends only on its seed and number. */
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

  /** Returns true with probability `share`. */
  chance(share: number): boolean {
    return this.uniform() < share;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.integer(0, list.length - 1)] as T;
  }

  /** Returns an integer from 1 to `most` with uniform logarithm, so that small sizes are as likely as large ones. */
  size(most: number): number {
    return Math.floor(most ** this.uniform());
  }

  /** Returns `least` to `most` items. */
  several<T>(least: number, most: number, make: (index: number) => T): T[] {
    return Array.from({ length: this.integer(least, most) }, (_, index) => make(index));
  }
}
