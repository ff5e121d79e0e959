/**
 * The conversions that a nested model is made by, one for every number of kernels. Each has a walk of its own, so that its
 * scales are fitted to what its own errors before a layer leave, and keeps the signs of one before it.
 */

import type { ParameterSpecification } from '../models/family';
import { loadedParts, mostOf } from '../models/parts';
import type { Formats } from '../structures/structure';

/**
 * Kernels that are chosen together, before all others. With one, tiny-stories has perplexities of 24.70, 9.74, 7.61 and
 * 7.11 for 1, 2, 3 and 4 kernels; with two 84.6, 8.33, 7.32 and 7.03; with three 271, 9.91, 7.15 and 6.98.
 */
const JOINT_KERNELS = 2;

/** One conversion of the whole model. */
export interface ConversionStep {
  readonly formats: Formats;
  /** Kernels of the prefix that it makes; undefined for all. */
  readonly prefix?: number | undefined;
  /** The conversion whose signs it keeps; without one it chooses all. */
  readonly from?: ConversionStep | undefined;
}

/** In the order in which they are made. */
export function nestedSteps(
  specifications: readonly ParameterSpecification[],
  formats: Formats,
): readonly ConversionStep[] {
  const most = mostOf(formats) ?? 1;
  const joint = Math.min(JOINT_KERNELS, most);
  const others = Array.from({ length: most }, (_, i) => i + 1).filter((count) => count !== joint);
  const steps = new Map<number, ConversionStep>();
  for (const count of [joint, ...others]) {
    steps.set(count, {
      formats: loadedParts(specifications, formats, count).formats,
      prefix: count === most ? undefined : count,
      from: steps.get(Math.max(joint, count - 1)),
    });
  }
  return [...steps.values()];
}
