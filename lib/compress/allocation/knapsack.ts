/** The multiple-choice knapsack: one choice a layer, least cost within a budget, by dynamic programming. */

import { type AllocatableLayer, bytesAt, type JudgedChoice, largest, smallest, totalBytes } from './layers';

/** Steps that a budget is cut into at most. With fewer the solution is exact, else bytes of a layer are rounded up. */
const MOST_UNITS = 2 ** 17;

/**
 * Minimizes the sum of the costs of one choice a layer whose bytes together are ≤ budget. Layer by layer it finds the least
 * costs of the first layers for every budget. Budgets are in units of the greatest common divisor of what choices take beyond
 * the smallest. Of equal solutions it takes that of smaller choices in later layers.
 *
 * @param budget - bytes; at least the smallest choice everywhere
 * @returns number of every layer's choice
 */
export function solveKnapsack(layers: readonly AllocatableLayer<JudgedChoice>[], budget: number): number[] {
  const least = totalBytes(layers, smallest(layers));
  const most = Math.min(budget, totalBytes(layers, largest(layers))) - least;
  // every layer has its smallest choice at least: what is left is what the choice is about
  const items = layers.map((layer) =>
    layer.choices.map(({ bytes, cost }) => ({ extra: bytes - bytesAt(layer, 0), cost })),
  );
  // 1 where no layer has a second choice
  const common = items.flat().reduce((divisor, { extra }) => greatestCommonDivisor(divisor, extra), 0) || 1;
  const unit = common * Math.max(1, Math.ceil(most / common / MOST_UNITS));
  const units = Math.floor(most / unit);
  let sums = new Float64Array(units + 1);
  const choices = items.map((own) => {
    const next = new Float64Array(units + 1).fill(Infinity);
    const chosen = new Uint8Array(units + 1);
    for (const [index, { extra, cost }] of own.entries()) {
      const size = Math.ceil(extra / unit);
      for (let u = size; u <= units; u++) {
        const sum = (sums[u - size] as number) + cost;
        if (sum < (next[u] as number)) {
          next[u] = sum;
          chosen[u] = index;
        }
      }
    }
    sums = next;
    return chosen;
  });
  let left = units;
  const backwards = [...items.entries()].reverse().map(([i, own]) => {
    const index = choices[i]?.[left] as number;
    left -= Math.ceil((own[index]?.extra as number) / unit);
    return index;
  });
  return backwards.reverse();
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
