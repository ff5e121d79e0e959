/** Models of the first K' kernels of every module of one that has more. */

import type { WeightReader } from '../io/weights';
import { Matrix } from '../native/matrix';
import { INPUT_SCALES, OUTPUT_SCALES } from '../nn/linear';
import { integerInRange, invalid } from '../validate';
import { moduleOf, readKernels, readParameter, type StoredMatrix, type StoredSpecification } from './checkpoint';
import type { ParameterSpecification } from './family';
import type { KernelCounts } from './quantization';
import { replacedBy } from './transposed';

/** Name of the scales, else called `name`, that the first `kernels` kernels of a nested module have of their own. */
export function prefixName(name: string, kernels: number): string {
  return `${name}_prefix_${kernels}`;
}

/**
 * What the file of a nested model holds besides the whole: for every K' below the K of a module the scales of its first K'
 * kernels, [K', m] and [K', n]; K (K − 1) (m + n) bytes a module.
 */
export function prefixSpecifications(
  specifications: readonly ParameterSpecification[],
  kernels: KernelCounts,
): readonly StoredSpecification[] {
  return specifications.flatMap(({ name: weight, rows, cols, role }) => {
    const module = moduleOf(weight);
    const count = role === 'linear' ? (kernels.get(module) ?? 0) : 0;
    return Array.from({ length: Math.max(0, count - 1) }, (_, k): StoredSpecification[] => {
      const scales = (part: string, length: number): StoredSpecification => {
        return { name: prefixName(`${module}.${part}`, k + 1), rows: k + 1, cols: length, role, as: 'scales' };
      };
      return [scales(OUTPUT_SCALES, rows), scales(INPUT_SCALES, cols)];
    }).flat();
  });
}

/** Kernels by module where at most `kernels` of each are taken. Throws MBOK_INVALID_ARGUMENT where none has so many. */
export function prefixCounts(counts: KernelCounts, kernels: number): KernelCounts {
  if (counts.size === 0) invalid('kernels', 'left out for a dense model', kernels);
  const limit = integerInRange('kernels', kernels, 1, Math.max(...counts.values()));
  return new Map([...counts].map(([module, count]) => [module, Math.min(count, limit)]));
}

/**
 * Reads what a prefix of `kernels` kernels has in place of a tensor of the whole model: the first kernels, with scales of
 * their own where the model is `nested`, with their scales in the whole model where it is not. Throws as
 * {@link readParameter}.
 */
export async function readPrefix(
  weights: WeightReader,
  specification: StoredSpecification,
  { kernels, nested }: { readonly kernels: number; readonly nested: boolean },
): Promise<StoredMatrix> {
  const { name, role, as } = specification;
  if (as === 'kernels') {
    return await readKernels(weights, specification, Math.min(kernels, specification.kernels));
  }
  if (as !== 'scales' || role !== 'linear' || specification.rows <= kernels) {
    return await readParameter(weights, specification);
  }
  if (nested) {
    return await readParameter(weights, { ...specification, name: prefixName(name, kernels), rows: kernels });
  }
  const { matrix, storage } = await readParameter(weights, specification);
  return { matrix: await replacedBy(matrix, async () => firstRows(matrix, kernels)), storage };
}

function firstRows(matrix: Matrix, rows: number): Matrix {
  const { cols } = matrix;
  return Matrix.from(matrix.toFloat32().subarray(0, rows * cols), { rows, cols });
}
