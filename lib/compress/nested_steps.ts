/**
 * The steps of a nested conversion. In a nested model the first k of K kernels of every layer are a model too, for each
 * k. All prefixes share the bits; each has separate scales.
 *
 * The model is converted once for each k, in this order:
 *
 * 1. k = 2 ({@link JOINT_KERNELS}; 1 if K = 1): all signs and scales are chosen;
 * 2. k = 1: the first kernel's signs of step 1 stay; scales are fitted;
 * 3. k = 3 … K: the signs of k − 1 kernels stay, those of kernel k are chosen, all scales are fitted.
 *
 * Every conversion passes through the whole model. So its scales are calibrated on inputs that contain its errors, not
 * those of another k. kernels/nested_matrix.ts converts the single matrices.
 */

import type { ParameterSpecification } from '../models/family';
import { loadedParts, maxPrefix } from '../models/parts';
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

/** One conversion of the whole model. */
export interface ConversionStep {
  /** Formats by module, with at most this step's number of kernels. */
  readonly formats: Formats;
  /** Number of kernels of the prefix that this step converts; undefined for all kernels. */
  readonly prefix?: number | undefined;
  /** Step whose signs this one keeps; undefined for the step that chooses all signs. */
  readonly from?: ConversionStep | undefined;
}

/** Lists the steps in the order of their conversion. */
export function nestedSteps(
  specifications: readonly ParameterSpecification[],
  formats: Formats,
): readonly ConversionStep[] {
  const maxKernels = maxPrefix(formats) ?? 1;
  const joint = Math.min(JOINT_KERNELS, maxKernels);
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
