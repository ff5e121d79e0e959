/**
 * The conversions that a nested model is made by, one for every number of kernels. Each has a walk of its own, so that its
 * scales are fitted to what its own errors before a layer leave, and keeps the signs of one before it.
 */

import type { TensorSource } from '../io/safetensors';
import { partHead } from '../models/checkpoint';
import type { ParameterSpecification } from '../models/family';
import { loadedParts, mostOf } from '../models/parts';
import type { Formats } from '../structures/structure';
import type { WorkFolder } from './work_folder';

/**
 * Kernels that are chosen together, before all others. With one, tiny-stories has perplexities of 24.70, 9.74, 7.61 and
 * 7.11 for 1, 2, 3 and 4 kernels; with two 84.6, 8.33, 7.32 and 7.03; with three 271, 9.91, 7.15 and 6.98.
 */
const JOINT_KERNELS = 2;

/** One conversion of the whole model. */
export interface ConversionStep {
  readonly work: WorkFolder;
  readonly formats: Formats;
  /** The conversion whose signs it keeps; without one it chooses all. */
  readonly from?: ConversionStep | undefined;
}

/** In the order in which they are made; blocks of the whole model are kept in `work`, those of prefixes below it. */
export async function nestedSteps(
  work: WorkFolder,
  specifications: readonly ParameterSpecification[],
  formats: Formats,
): Promise<readonly ConversionStep[]> {
  const most = mostOf(formats) ?? 1;
  const joint = Math.min(JOINT_KERNELS, most);
  const folders = new Map([[most, work]]);
  for (let count = 1; count < most; count++) {
    folders.set(count, await work.part(`prefix-${count}`));
  }
  const steps = new Map<number, ConversionStep>();
  const others = [...folders.keys()].filter((count) => count !== joint).sort((a, b) => a - b);
  for (const count of [joint, ...others]) {
    steps.set(count, {
      work: folders.get(count) as WorkFolder,
      formats: loadedParts(specifications, formats, count).formats,
      from: steps.get(Math.max(joint, count - 1)),
    });
  }
  return [...steps.values()];
}

/** What a file of these nested `formats` holds of the prefixes: the scales of each from its own conversion. */
export function prefixTensors(
  specifications: readonly ParameterSpecification[],
  formats: Formats,
  steps: readonly ConversionStep[],
): ReadonlyMap<string, TensorSource> {
  const tensors = new Map<string, TensorSource>();
  for (const { work, formats: own } of steps) {
    for (const { part, from } of loadedParts(specifications, formats, mostOf(own)).slices) {
      if (!from.ofPrefix) continue;
      const bytes = async () => {
        const { file } = await work.block(part.owner.layer as number);
        await using _ = file;
        return await file.read(part.name);
      };
      tensors.set(from.name, { ...partHead(from, 'F16'), bytes });
    }
  }
  return tensors;
}
