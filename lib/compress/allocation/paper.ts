/**
 * The allocation of the paper (arXiv 2505.22811, §5): kernels go, one by one, to the layer whose weighted residual they
 * lower most for what they cost.
 */

import { type AllocatableLayer, addGreedily, type Counts, totalBytes } from './layers';

/** What the paper's rule knows of a layer. */
export interface PaperLayer extends AllocatableLayer {
  /** h: 1 − PWCCA of the activations before and after it. */
  readonly importance: number;
  /** e[k − 1] = ‖W − Ŵ‖ after k successive kernels. */
  readonly residuals: readonly number[];
}

/** f(p) = (1/p)·log(1/p) of a layer's share p in all weights. */
export function sizeFactor(share: number): number {
  return Math.log(1 / share) / share;
}

/**
 * Greedy descent of E = Σ h · e[K] · f(p) from one kernel everywhere, by the drop of E a byte, within `budget` bytes.
 *
 * @returns kernels of every layer
 */
export function allocateByPaper(layers: readonly PaperLayer[], budget: number): number[] {
  const gain = paperGain(layers);
  const fits = (counts: Counts) => totalBytes(layers, counts) <= budget;
  return addGreedily(
    layers,
    layers.map(() => 1),
    gain,
    fits,
  );
}

/** How much E drops by layer i's kernel after `count`. */
export function paperGain(layers: readonly PaperLayer[]): (layer: number, count: number) => number {
  const all = layers.reduce((sum, { weights }) => sum + weights, 0);
  return (i, count) => {
    const { importance, residuals, weights } = layers[i] as PaperLayer;
    const drop = (residuals[count - 1] as number) - (residuals[count] ?? (residuals[count - 1] as number));
    return importance * drop * sizeFactor(weights / all);
  };
}
