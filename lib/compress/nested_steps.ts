/**
 * The steps of a nested conversion. In a nested model the first k of K kernels of every layer are a model too, for each
 * k; or the k-th of K ranks of every factor pair. All prefixes share the bits; each has separate scales.
 *
 * The model is converted once for each k, in this order:
 *
 * 1. k = 2 ({@link JOINT_KERNELS}; 1 if K = 1): all signs and scales are chosen;
 * 2. k = 1: the first kernel's signs of step 1 stay; scales are fitted;
 * 3. k = 3 … K: the signs of k − 1 kernels stay, those of kernel k are chosen, all scales are fitted.
 *
 * Factor pairs go from the first rank to the last ({@link JOINT_RANKS}).
 *
 * Every conversion passes through the whole model. So its scales are calibrated on inputs that contain its errors, not
 * those of another k. kernels/nested_matrix.ts and factors/nested_pair.ts convert the single matrices.
 */

import type { ParameterSpecification } from '../models/family';
import { loadedParts, maxPrefix } from '../models/parts';
import { isFactors } from '../structures/factors';
import type { Formats } from '../structures/structure';

/**
 * Number of kernels whose signs are chosen together, before the others. Perplexity on tiny-stories:
 *
 * | joint kernels | k = 1 | k = 2 | k = 3 | k = 4 |
 * |---|---|---|---|---|
 * | 1 | 24.70 | 9.74 | 7.61 | 7.11 |
 * | 2 | 84.6 | 8.33 | 7.32 | 7.03 |
 * | 3 | 271 | 9.91 | 7.15 | 6.98 |
 */
const JOINT_KERNELS = 2;

/**
 * The rank of a factor pair, counted from 1, whose signs are chosen before the others. Perplexity on tiny-stories:
 *
 * | chosen first | 0.510 bits | 1.156 bits | 1.513 bits |
 * |---|---|---|---|
 * | the first | 118.7 | 21.8 | 13.8 |
 * | the first two, one after the other in each layer of one conversion | 756 | 17.6 | 12.0 |
 * | a pair for each size | 118.7 | 14.6 | 9.12 |
 */
const JOINT_RANKS = 1;

/** One conversion of the whole model. */
export interface ConversionStep {
  /** Formats by module, with at most this step's number of kernels, or at this step's rank. */
  readonly formats: Formats;
  /** k of the prefix that this step converts; undefined for the whole model. */
  readonly prefix?: number | undefined;
  /** Step whose signs this one keeps; undefined for the step that chooses all signs. */
  readonly from?: ConversionStep | undefined;
}

/** Lists the steps in the order of their conversion, for the formats of the whole model. */
export function nestedSteps(
  specifications: readonly ParameterSpecification[],
  formats: Formats,
): readonly ConversionStep[] {
  const maxKernels = maxPrefix(formats) ?? 1;
  const ofPairs = [...formats.values()].some((format) => isFactors(format) && format.prefixes !== undefined);
  const joint = ofPairs ? JOINT_RANKS : Math.min(JOINT_KERNELS, maxKernels);
  const otherCounts = Array.from({ length: maxKernels }, (_, i) => i + 1).filter((count) => count !== joint);
  const steps = new Map<number, ConversionStep>();
  for (const count of [joint, ...otherCounts]) {
    steps.set(count, {
      formats: loadedParts(specifications, formats, count).formats,
      prefix: count === maxKernels ? undefined : count,
      from: steps.get(Math.max(joint, count - 1)),
    });
  }
  return [...steps.values()];
}
