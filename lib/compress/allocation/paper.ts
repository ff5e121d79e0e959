/**
 * The allocation of the paper (arXiv 2505.22811, §5): bytes go, choice by choice, to the layer whose weighted residual
 * they lower most for what they cost.
 */

import { type AllocatableLayer, addGreedily, type Chosen, smallest, totalBytes } from './layers';

/** What the paper's rule knows of a layer. */
export interface PaperLayer extends AllocatableLayer {
  /** h: 1 − PWCCA of the activations before and after it. */
  readonly importance: number;
  /** e[i] = ‖W − Ŵ‖ of choice i. */
  readonly residuals: readonly number[];
}

/** f(p) = (1/p)·log(1/p) of a layer's share p in all weights. */
export function sizeFactor(share: number): number {
  return Math.log(1 / share) / share;
}

/**
 * Greedy descent of E = Σ h · e · f(p) from the smallest choice everywhere, by the drop of E a byte, within `budget` bytes.
 *
 * @returns number of every layer's choice
 */
export function allocateByPaper(layers: readonly PaperLayer[], budget: number): Chosen {
  const fits = (chosen: Chosen) => totalBytes(layers, chosen) <= budget;
  return addGreedily(layers, smallest(layers), paperGain(layers), fits);
}

/** How much E drops by layer i's choice after `index`. */
export function paperGain(layers: readonly PaperLayer[]): (layer: number, index: number) => number {
  const all = layers.reduce((sum, { weights }) => sum + weights, 0);
  return (i, index) => {
    const { importance, residuals, weights } = layers[i] as PaperLayer;
    const drop = (residuals[index] as number) - (residuals[index + 1] as number);
    return importance * drop * sizeFactor(weights / all);
  };
}
