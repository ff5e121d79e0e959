/**
 * Random numbers from counters. Each number is a hash of a seed and of the place of its use, so it does not depend on
 * earlier draws or their order. A resumed run therefore draws the same numbers as an uninterrupted one.
 */

/**
 * Returns a uniform number in [0, 1) with 53 random bits.
 *
 * @param seed - a safe integer of at least 0
 * @param counters - safe integers of at least 0 that distinguish this draw from all others, e.g. step and index
 */
export function uniform(seed: number, ...counters: readonly number[]): number {
  const high = hash(0, seed, counters);
  const low = hash(0x9e3779b9, seed, counters);
  return ((high >>> 5) * 0x4000000 + (low >>> 6)) / 2 ** 53;
}

/** Returns a uniform integer in [0, limit). */
export function uniformInteger(limit: number, seed: number, ...counters: readonly number[]): number {
  return Math.floor(uniform(seed, ...counters) * limit);
}

/** Computes MurmurHash3 (x86, 32 bits) of the seed and the counters, 64 bits each. */
function hash(start: number, seed: number, counters: readonly number[]): number {
  let h = block(start, seed);
  for (const counter of counters) h = block(h, counter);
  h ^= 8 * (counters.length + 1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function block(h: number, value: number): number {
  return word(word(h, value >>> 0), Math.floor(value / 2 ** 32));
}

function word(h: number, value: number): number {
  let k = Math.imul(value, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const mixed = h ^ k;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}
