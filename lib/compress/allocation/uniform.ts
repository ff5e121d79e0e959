/**
 * The uniform allocation: the largest choice that fits in every layer, then the next choice in evenly spread layers.
 */

import { type AllocatableLayer, bytesAt, type Chosen, largest, totalBytes } from './layers';

/**
 * Chooses the same index for every layer and spends the remaining bytes evenly over the model.
 *
 * @param budget - bytes; at least the sum of the smallest choices
 * @returns the index of each layer's choice. They differ by at most one, except in layers with fewer choices
 */
export function allocateUniformly(layers: readonly AllocatableLayer[], budget: number): Chosen {
  const last = largest(layers);
  const level = (index: number): Chosen => last.map((maxIndex) => Math.min(index, maxIndex));
  let index = 0;
  while (index < Math.max(...last) && totalBytes(layers, level(index + 1)) <= budget) index++;
  const [everywhere, raised] = [level(index), level(index + 1)];
  const remainder = budget - totalBytes(layers, everywhere);
  const step = totalBytes(layers, raised) - totalBytes(layers, everywhere);
  if (step === 0) return everywhere;
  let [passed, spent] = [0, 0];
  // take the next choice if the bytes spent stay below the remainder's share for the part of the model passed so far
  return layers.map((layer, i) => {
    const [current, next] = [everywhere[i] as number, raised[i] as number];
    const added = bytesAt(layer, next) - bytesAt(layer, current);
    passed += added;
    if (spent + added > remainder * (passed / step)) return current;
    spent += added;
    return next;
  });
}
