/**
 * The kernel allocation of the paper (arXiv 2505.22811, §5).
 *
 * Minimizes E = Σ_l h_l · e_l[K_l] · f(p_l), f(p) = (1/p) · log(1/p), within the budget and with 1 ≤ K_l ≤ 8. h_l is
 * the importance (importance.ts), e_l[k] the residual norm after k kernels, and p_l the layer's share of all weights.
 * The algorithm is greedy: it repeatedly adds a kernel to the layer with the largest drop of E per byte.
 */

import { type AllocatableLayer, addGreedily, type Chosen, smallest, totalBytes } from './layers';

/** A layer with the terms of the paper's objective. */
export interface PaperLayer extends AllocatableLayer {
  /** h: 1 − PWCCA of the hidden states before and after the layer's block. */
  readonly importance: number;
  /** e[i] = ‖W − Ŵ‖ of choice i. */
  readonly residuals: readonly number[];
}

/** Computes f(p) = (1/p) · log(1/p) for a layer's share p of all weights. */
export function sizeFactor(share: number): number {
  return Math.log(1 / share) / share;
}

/**
 * Minimizes E greedily within `budget` bytes, starting from the smallest choices.
 *
 * @returns the index of each layer's choice
 */
export function allocateByPaper(layers: readonly PaperLayer[], budget: number): Chosen {
  const fits = (chosen: Chosen) => totalBytes(layers, chosen) <= budget;
  return addGreedily(layers, smallest(layers), paperGain(layers), fits);
}

/** Returns a function that computes the drop of E by layer i's choice after `index`. */
export function paperGain(layers: readonly PaperLayer[]): (layer: number, index: number) => number {
  const totalWeights = layers.reduce((sum, { weights }) => sum + weights, 0);
  return (i, index) => {
    const { importance, residuals, weights } = layers[i] as PaperLayer;
    const drop = (residuals[index] as number) - (residuals[index + 1] as number);
    return importance * drop * sizeFactor(weights / totalWeights);
  };
}
