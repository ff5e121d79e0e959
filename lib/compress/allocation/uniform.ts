/** The uniform allocation: the highest rung that fits in every layer, then the next rung in evenly spread layers. */

import { type AllocatableLayer, bytesAt, type Chosen, totalBytes } from './layers';

/**
 * Chooses the same rung for every layer and spends the remaining bytes evenly over the model. Layers without a choice at
 * the rung take their last one below it, or else their smallest.
 *
 * @param budget - bytes; at least the sum of the smallest choices
 * @returns the index of each layer's choice
 */
export function allocateUniformly(layers: readonly AllocatableLayer[], budget: number): Chosen {
  const level = (rung: number): Chosen =>
    layers.map(({ choices }) =>
      Math.max(
        0,
        choices.findLastIndex((choice) => choice.rung <= rung),
      ),
    );
  const rungs = [...new Set(layers.flatMap(({ choices }) => choices.map(({ rung }) => rung)))].sort((a, b) => a - b);
  // the lowest rung is the smallest choice of every layer
  const at = Math.max(
    0,
    rungs.findLastIndex((rung) => totalBytes(layers, level(rung)) <= budget),
  );
  const [everywhere, raised] = [level(rungs[at] as number), level(rungs[at + 1] ?? Infinity)];
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
