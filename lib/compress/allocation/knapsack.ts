/** The multiple-choice knapsack: one number of kernels a layer, least cost within a budget, by dynamic programming. */

import { MAX_KERNELS } from '../../structures/kernels';
import { type AllocatableLayer, bytesOnce } from './layers';

/** Steps that a budget is cut into at most. With fewer the solution is exact, else bytes of a layer are rounded up. */
const MOST_UNITS = 2 ** 17;

/**
 * Minimises Σᵢ cost(i, countᵢ) over counts of 1 to 8 with Σᵢ countᵢ · kernelBytesᵢ ≤ budget: least costs of the first
 * layers for every budget, layer by layer, in units of the greatest common divisor of the layers' bytes. Of equal
 * solutions that of fewer kernels in later layers.
 *
 * @param budget - bytes; at least one kernel everywhere
 * @returns kernels of every layer
 */
export function solveKnapsack(
  layers: readonly AllocatableLayer[],
  budget: number,
  cost: (layer: number, count: number) => number,
): number[] {
  const common = layers.reduce((divisor, { kernelBytes }) => greatestCommonDivisor(divisor, kernelBytes), 0);
  // every layer has a kernel: what is left is what the choice is about
  const ones = bytesOnce(layers);
  const most = Math.min(budget - ones, ones * (MAX_KERNELS - 1));
  const unit = common * Math.max(1, Math.ceil(most / common / MOST_UNITS));
  const units = Math.floor(most / unit);
  let least = new Float64Array(units + 1);
  const choices = layers.map(({ kernelBytes }, i) => {
    const next = new Float64Array(units + 1).fill(Infinity);
    const chosen = new Uint8Array(units + 1);
    for (let count = 1; count <= MAX_KERNELS; count++) {
      const [size, own] = [Math.ceil(((count - 1) * kernelBytes) / unit), cost(i, count)];
      for (let u = size; u <= units; u++) {
        const sum = (least[u - size] as number) + own;
        if (sum < (next[u] as number)) {
          next[u] = sum;
          chosen[u] = count;
        }
      }
    }
    least = next;
    return chosen;
  });
  let left = units;
  const backwards = [...layers.entries()].reverse().map(([i, { kernelBytes }]) => {
    const count = choices[i]?.[left] as number;
    left -= Math.ceil(((count - 1) * kernelBytes) / unit);
    return count;
  });
  return backwards.reverse();
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
