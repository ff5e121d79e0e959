/**
 * The multi-Boolean weight (arXiv 2505.22811, §4): W ≈ Σₖ diag(s_out[k]) · B[k] · diag(s_in[k]), B[k] ∈ {−1, +1}^{m×n}.
 */

import { rowsOfBits } from '../graph/operations/arrange_bits';
import { reconstruct } from '../graph/operations/kernel_fit';
import { multiBooleanLinear } from '../graph/operations/multi_boolean_linear';
import type { Formats, LayerFormat, Part, PartSlice, Structure, WeightShape } from './structure';

/** Maximum number of kernels of a weight. */
export const MAX_KERNELS = 8;

export interface KernelsFormat extends LayerFormat {
  readonly kind: 'kernels';
  /** K, 1 to {@link MAX_KERNELS}. */
  readonly count: number;
  /** Whether the file also contains separate scales for every prefix of the kernels. */
  readonly nested?: true | undefined;
}

export function kernelsFormat(count: number, nested = false): KernelsFormat {
  return { kind: 'kernels', count, ...(nested && { nested }) };
}

/** Marks the multi-Boolean formats as nested. */
export function nestedFormats(formats: Formats): Formats {
  const nest = (format: LayerFormat) => (isKernels(format) ? kernelsFormat(format.count, true) : format);
  return new Map([...formats].map(([module, format]) => [module, nest(format)]));
}

export function isKernels(format: LayerFormat | undefined): format is KernelsFormat {
  return format?.kind === 'kernels';
}

type Name = 'boolean_kernels' | 's_out' | 's_in';

export const kernels: Structure<KernelsFormat, Name> = {
  kind: 'kernels',
  parts: (shape, { count, nested }) => [
    bitsOf(shape, count),
    ...scalesOf(shape, count),
    ...(nested ? Array.from({ length: count - 1 }, (_, k) => prefixScalesOf(shape, k + 1)).flat() : []),
  ],
  fits: (_, { count }) => count <= MAX_KERNELS,
  layer: ({ boolean_kernels, s_out, s_in }, x, { bias, rounded }) =>
    multiBooleanLinear(rounded(x), boolean_kernels, s_out, s_in, bias),
  multiplyOut({ boolean_kernels, s_out, s_in }, dense) {
    reconstruct(
      { kernels: rowsOfBits(boolean_kernels, s_out.rows as number, s_out.cols), sOut: s_out, sIn: s_in },
      dense,
    );
  },
  prefixes: {
    largest: ({ count }) => count,
    take(shape, { count, nested }, prefixCount) {
      const scales = scalesOf(shape, prefixCount);
      const sources = nested && prefixCount < count ? prefixScalesOf(shape, prefixCount) : scalesOf(shape, count);
      const slices: PartSlice[] = scales.map((part, i) => ({ part, from: sources[i] as Part }));
      return {
        format: kernelsFormat(prefixCount),
        slices: [{ part: bitsOf(shape, prefixCount), from: bitsOf(shape, count) }, ...slices],
      };
    },
  },
  parse: (settings) => kernelsFormat(settings.count('count'), settings.boolean('nested', false)),
  write: ({ count, nested }) => ({ count, ...(nested && { nested }) }),
  describe: ({ count }) => `K = ${count}`,
};

function bitsOf({ rows, cols }: WeightShape, count: number): Part {
  return { name: 'boolean_kernels', rows: count * rows, cols, role: 'bits', type: 'bits', planes: count };
}

function scalesOf({ rows, cols }: WeightShape, count: number): readonly Part[] {
  return [
    { name: 's_out', rows: count, cols: rows, role: 'scale', type: 'F16' },
    { name: 's_in', rows: count, cols, role: 'scale', type: 'F16' },
  ];
}

/** Lists the separate scales for the first `count` kernels of a nested weight. */
function prefixScalesOf(shape: WeightShape, count: number): readonly Part[] {
  return scalesOf(shape, count).map((part) => ({ ...part, name: `${part.name}_prefix_${count}`, ofPrefix: true }));
}
