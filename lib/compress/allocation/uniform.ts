/** The same choice everywhere, as large as fits, and the next one in layers that are spread evenly over the model. */

import { type AllocatableLayer, bytesAt, type Chosen, largest, totalBytes } from './layers';

/**
 * @param budget - bytes; at least the smallest choice everywhere
 * @returns number of every layer's choice; they differ by one at most, but where a layer has no more choices
 */
export function allocateUniformly(layers: readonly AllocatableLayer[], budget: number): Chosen {
  const last = largest(layers);
  const level = (index: number): Chosen => last.map((most) => Math.min(index, most));
  let index = 0;
  while (index < Math.max(...last) && totalBytes(layers, level(index + 1)) <= budget) index++;
  const [everywhere, next] = [level(index), level(index + 1)];
  const rest = budget - totalBytes(layers, everywhere);
  const step = totalBytes(layers, next) - totalBytes(layers, everywhere);
  if (step === 0) return everywhere;
  let [passed, spent] = [0, 0];
  // a layer takes its next choice when the bytes given so far fall behind the share of the model that has gone by
  return layers.map((layer, i) => {
    const [own, more] = [everywhere[i] as number, next[i] as number];
    const added = bytesAt(layer, more) - bytesAt(layer, own);
    passed += added;
    if (spent + added > rest * (passed / step)) return own;
    spent += added;
    return more;
  });
}
