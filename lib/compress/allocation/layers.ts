/** What allocation methods choose numbers of kernels for, and how bytes that are left go to single kernels. */

import { MAX_KERNELS } from '../../structures/kernels';

/** A linear layer whose number of kernels is to be chosen. */
export interface AllocatableLayer {
  readonly module: string;
  /** Elements of the weight. */
  readonly weights: number;
  /** What every kernel stores: its bits, rows padded to whole bytes, and both scale vectors in F16. */
  readonly kernelBytes: number;
}

/** Kernels of every layer, in the order of the layers. */
export type Counts = readonly number[];

export const totalBytes = (layers: readonly AllocatableLayer[], counts: Counts) =>
  layers.reduce((sum, { kernelBytes }, i) => sum + kernelBytes * (counts[i] as number), 0);

/** Bytes of one kernel everywhere. */
export const bytesOnce = (layers: readonly AllocatableLayer[]) =>
  layers.reduce((sum, { kernelBytes }) => sum + kernelBytes, 0);

/**
 * Adds one kernel at a time, always the one that gains most a byte, as long as one fits: what is left is less than any
 * kernel that could still be added. The first of equals wins.
 *
 * @param gain - what layer i gains from its kernel after `count`
 * @param fits - whether these counts keep to the budget; more kernels never fit where fewer do not
 */
export function addGreedily(
  layers: readonly AllocatableLayer[],
  from: Counts,
  gain: (layer: number, count: number) => number,
  fits: (counts: Counts) => boolean,
): number[] {
  const counts = [...from];
  const worth = ({ kernelBytes }: AllocatableLayer, i: number) => gain(i, counts[i] as number) / kernelBytes;
  const open = new Map(layers.map((layer, i) => [i, worth(layer, i)]));
  for (;;) {
    let best: number | undefined;
    for (const [i, value] of open) if (best === undefined || value > (open.get(best) as number)) best = i;
    if (best === undefined) return counts;
    const more = counts.with(best, (counts[best] as number) + 1);
    if ((more[best] as number) > MAX_KERNELS || !fits(more)) {
      open.delete(best);
      continue;
    }
    counts[best] = more[best] as number;
    open.set(best, worth(layers[best] as AllocatableLayer, best));
  }
}
