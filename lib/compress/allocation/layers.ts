/** What allocation methods choose formats for, and how bytes that are left go to single layers. */

import type { LayerFormat } from '../../structures/structure';

/** A format that a layer can have. */
export interface Choice {
  readonly format: LayerFormat;
  /** Of all parts in a file. */
  readonly bytes: number;
}

/** A choice that has been judged: the sum of costs over all layers is to be least. */
export interface JudgedChoice extends Choice {
  readonly cost: number;
}

/** A linear layer whose format is to be chosen. */
export interface AllocatableLayer<Own extends Choice = Choice> {
  readonly module: string;
  /** Elements of the weight. */
  readonly weights: number;
  /** At least one, each of more bytes than the one before. */
  readonly choices: readonly Own[];
}

/** Number of every layer's choice, from 0, in the order of the layers. */
export type Chosen = readonly number[];

/** The smallest choice everywhere. */
export const smallest = (layers: readonly AllocatableLayer[]): Chosen => layers.map(() => 0);

/** The largest choice everywhere. */
export const largest = (layers: readonly AllocatableLayer[]): Chosen => layers.map(({ choices }) => choices.length - 1);

export function totalBytes(layers: readonly AllocatableLayer[], chosen: Chosen): number {
  return layers.reduce((sum, layer, i) => sum + bytesAt(layer, chosen[i] as number), 0);
}

/** Bytes of choice `index`. */
export function bytesAt({ choices }: AllocatableLayer, index: number): number {
  return (choices[index] as Choice).bytes;
}

/** Bytes by which the choice after `index` is larger. */
export function addedBytes(layer: AllocatableLayer, index: number): number {
  return bytesAt(layer, index + 1) - bytesAt(layer, index);
}

/**
 * Moves one layer at a time to its next choice, always the one that gains most a byte, as long as one fits: no layer's next
 * choice fits into what is left. The first of equals wins.
 *
 * @param gain - what layer i gains from the choice after `index`, where there is one
 * @param fits - whether these choices keep to the budget
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
      // the budget only fills up: what does not fit now never will
      open.delete(best);
    }
  }
}
