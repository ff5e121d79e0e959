/**
 * The conversions that a nested model is made by, one for every number of kernels. Each has a walk of its own, so that its
 * scales are fitted to what its own errors before a layer leave, and keeps the signs of one before it.
 */

import type { TensorSource } from '../io/safetensors';
import type { ParameterSpecification } from '../models/family';
import { prefixCounts, prefixName, prefixSpecifications } from '../models/prefix';
import type { KernelCounts } from '../models/quantization';
import { layerOf } from './dense_source';
import type { WorkFolder } from './work_folder';

/**
 * Kernels that are chosen together, before all others. With one, tiny-stories has perplexities of 24.70, 9.74, 7.61 and
 * 7.11 for 1, 2, 3 and 4 kernels; with two 84.6, 8.33, 7.32 and 7.03; with three 271, 9.91, 7.15 and 6.98.
 */
const JOINT_KERNELS = 2;

/** One conversion of the whole model. */
export interface ConversionStep {
  readonly work: WorkFolder;
  readonly kernels: KernelCounts;
  /** The conversion whose signs it keeps; without one it chooses all. */
  readonly from?: WorkFolder | undefined;
}

/** In the order in which they are made; blocks of the whole model are kept in `work`, those of prefixes below it. */
export async function nestedSteps(work: WorkFolder, kernels: KernelCounts): Promise<readonly ConversionStep[]> {
  const most = Math.max(1, ...kernels.values());
  const joint = Math.min(JOINT_KERNELS, most);
  const folders = new Map([[most, work]]);
  for (let count = 1; count < most; count++) {
    folders.set(count, await work.part(`prefix-${count}`));
  }
  const step = (count: number, from: number | undefined): ConversionStep => ({
    work: folders.get(count) as WorkFolder,
    kernels: prefixCounts(kernels, count),
    from: from === undefined ? undefined : folders.get(from),
  });
  const others = [...folders.keys()].filter((count) => count !== joint).sort((a, b) => a - b);
  return [step(joint, undefined), ...others.map((count) => step(count, Math.max(joint, count - 1)))];
}

/** What the output holds of the prefixes: the scales of each from its own conversion. */
export function prefixScales(
  specifications: readonly ParameterSpecification[],
  kernels: KernelCounts,
  steps: readonly ConversionStep[],
): readonly TensorSource[] {
  const folders = new Map(steps.map(({ work, kernels: counts }) => [Math.max(...counts.values()), work]));
  return prefixSpecifications(specifications, kernels).map(({ name, rows, cols }): TensorSource => {
    const bytes = async () => {
      const { file } = await (folders.get(rows) as WorkFolder).block(layerOf(name) as number);
      await using _ = file;
      return await file.read(name.replace(prefixName('', rows), ''));
    };
    return { name, dtype: 'F16', shape: [rows, cols], bytes };
  });
}
