/** Layers and choices of an allocation, and the greedy algorithm that distributes bytes to single layers. */

import type { LayerFormat } from '../../structures/structure';

/** A format that a layer can have. */
export interface Choice {
  readonly format: LayerFormat;
  /** Bytes of all its parts in a file. */
  readonly bytes: number;
  /** Place in an order of formats by size that is the same for all layers; see choices.ts. */
  readonly rung: number;
}

/** A choice with its cost. An allocation minimizes the sum of costs over all layers. */
export interface CostedChoice extends Choice {
  readonly cost: number;
}

/** A linear layer whose format is chosen. */
export interface AllocatableLayer<LayerChoice extends Choice = Choice> {
  readonly module: string;
  /** Number of elements of the weight. */
  readonly weights: number;
  /** Choices in ascending order of bytes; at least one. */
  readonly choices: readonly LayerChoice[];
}

/** Index of every layer's choice, in the order of the layers. */
export type Chosen = readonly number[];

/** Returns the smallest choice for every layer. */
export const smallest = (layers: readonly AllocatableLayer[]): Chosen => layers.map(() => 0);

/** Returns the largest choice for every layer. */
export const largest = (layers: readonly AllocatableLayer[]): Chosen => layers.map(({ choices }) => choices.length - 1);

/** Returns the choice of every layer. */
export function choicesAt<LayerChoice extends Choice>(
  layers: readonly AllocatableLayer<LayerChoice>[],
  chosen: Chosen,
): readonly LayerChoice[] {
  return layers.map(({ choices }, i) => choices[chosen[i] as number] as LayerChoice);
}

export function totalBytes(layers: readonly AllocatableLayer[], chosen: Chosen): number {
  return layers.reduce((sum, layer, i) => sum + bytesAt(layer, chosen[i] as number), 0);
}

/** Returns the bytes of choice `index`. */
export function bytesAt({ choices }: AllocatableLayer, index: number): number {
  return (choices[index] as Choice).bytes;
}

/** Returns the bytes that the choice after `index` adds. */
export function addedBytes(layer: AllocatableLayer, index: number): number {
  return bytesAt(layer, index + 1) - bytesAt(layer, index);
}

/**
 * Raises one layer at a time to its next choice, each time the one with the largest gain per byte, until none fits. Of
 * equal gains the first layer wins.
 *
 * @param gain - the gain of layer i from the choice after `index`
 * @param fits - whether these choices are within the budget
 */
export function addGreedily(
  layers: readonly AllocatableLayer[],
  from: Chosen,
  gain: (layer: number, index: number) => number,
  fits: (chosen: Chosen) => boolean,
): number[] {
  const chosen = [...from];
  const open = new Map<number, number>();
  const offer = (i: number) => {
    const [layer, index] = [layers[i] as AllocatableLayer, chosen[i] as number];
    if (index + 1 < layer.choices.length) open.set(i, gain(i, index) / addedBytes(layer, index));
    else open.delete(i);
  };
  for (const i of layers.keys()) offer(i);
  for (;;) {
    let best: number | undefined;
    for (const [i, value] of open) if (best === undefined || value > (open.get(best) as number)) best = i;
    if (best === undefined) return chosen;
    const next = (chosen[best] as number) + 1;
    if (fits(chosen.with(best, next))) {
      chosen[best] = next;
      offer(best);
    } else {
      // the used bytes only grow, so this choice never fits later
      open.delete(best);
    }
  }
}
