/** The multiple-choice knapsack by dynamic programming: one choice per layer, minimum total cost within a budget. */

import type { Strategy } from './budget';
import { type AllocatableLayer, bytesAt, type CostedChoice, largest, smallest, totalBytes } from './layers';

/**
 * Maximum steps of the budget. The solution is exact if fewer suffice; otherwise the bytes of layers are rounded up.
 */
const MAX_UNITS = 2 ** 17;

/** Returns the strategy that minimizes the sum of costs of these choices. */
export function leastCostStrategy(layers: readonly AllocatableLayer<CostedChoice>[]): Strategy {
  const cost = (i: number, index: number) => layers[i]?.choices[index]?.cost as number;
  return {
    layers,
    allocate: (budget) => solveKnapsack(layers, budget),
    gain: (i, index) => cost(i, index) - cost(i, index + 1),
  };
}

/**
 * Minimizes the sum of costs of one choice per layer with at most `budget` bytes in total. Dynamic programming over
 * layers: the table has the minimum cost of the layers so far for every budget. Budgets are counted in units of the
 * greatest common divisor of all bytes beyond the smallest choices. Of equal solutions it returns the one with smaller
 * choices in later layers.
 *
 * @param budget - bytes; at least the sum of the smallest choices
 * @returns the index of each layer's choice
 */
export function solveKnapsack(layers: readonly AllocatableLayer<CostedChoice>[], budget: number): number[] {
  const minBytes = totalBytes(layers, smallest(layers));
  const capacity = Math.min(budget, totalBytes(layers, largest(layers))) - minBytes;
  // only bytes beyond the smallest choices are distributed
  const items = layers.map((layer) =>
    layer.choices.map(({ bytes, cost }) => ({ extra: bytes - bytesAt(layer, 0), cost })),
  );
  // 1 if no layer has a second choice
  const common = items.flat().reduce((divisor, { extra }) => greatestCommonDivisor(divisor, extra), 0) || 1;
  const unit = common * Math.max(1, Math.ceil(capacity / common / MAX_UNITS));
  const units = Math.floor(capacity / unit);
  let sums = new Float64Array(units + 1);
  const chosenIndices = items.map((choices) => {
    const next = new Float64Array(units + 1).fill(Infinity);
    const chosen = new Uint8Array(units + 1);
    for (const [index, { extra, cost }] of choices.entries()) {
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
  let remaining = units;
  const backwards = [...items.entries()].reverse().map(([i, choices]) => {
    const index = chosenIndices[i]?.[remaining] as number;
    remaining -= Math.ceil((choices[index]?.extra as number) / unit);
    return index;
  });
  return backwards.reverse();
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
