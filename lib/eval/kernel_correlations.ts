/** Correlations between the kernels of a weight: do later kernels repair what earlier ones leave? */

import { MbokError } from '../base/errors';
import { options, throwIfAborted } from '../base/validate';
import type { ParameterSpecification } from '../models/family';
import { loadedParts, moduleOf } from '../models/parts';
import { ModelSource } from '../models/source';
import { multipliedOut } from '../models/widen';
import type { Matrix } from '../native/matrix';
import { isKernels, kernelsFormat } from '../structures/kernels';
import type { LayerFormat } from '../structures/structure';

/** Correlations of the first two kernels of a layer, for outputs y = W x, y₁ = Ŵ₁ x, y₂ = Ŵ₂ x. */
export interface KernelCorrelation {
  /** Name of the module, such as 'model.layers.0.mlp.up_proj'. */
  readonly module: string;
  /** corr(y₁, y₂). */
  readonly kernels: number;
  /** corr(y − y₁, y₂): 1 if the second kernel repairs exactly what the first leaves. */
  readonly residual: number;
}

/**
 * Computes how the first two kernels of every layer correlate with each other and with the original. RaBiT's ablation
 * (arXiv 2602.05367) does so on data; here inputs are uncorrelated with equal variance. So corr(A x, B x) = ⟨A, B⟩ /
 * (‖A‖ ‖B‖), 0 if a norm is 0. One layer is in memory at a time.
 *
 * @param path - a Boolean model, as {@link Model.load} takes it; trained or not
 * @param original - the dense model from which it was converted
 * @returns layers with at least two kernels, in the order of the checkpoint
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED, MBOK_OUT_OF_MEMORY, MBOK_ABORTED, and
 * MBOK_SHAPE if the original has other layers
 *
 * @example
 * for (const { module, residual } of await kernelCorrelations('small', 'llama')) console.log(module, residual);
 */
export async function kernelCorrelations(
  path: string,
  original: string,
  given: { readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly KernelCorrelation[]> {
  const { signal } = options('options', given, ['signal']);
  await using source = await ModelSource.open(path, { signal });
  await using dense = await ModelSource.open(original, { signal });
  const others = new Map(dense.specifications.map((owner) => [owner.name, owner]));
  const correlations: KernelCorrelation[] = [];
  for (const owner of source.specifications) {
    const module = moduleOf(owner.name);
    const format = source.formats.get(module);
    if (!isKernels(format) || format.count < 2) continue;
    throwIfAborted(signal);
    const other = others.get(owner.name);
    if (other?.rows !== owner.rows || other.cols !== owner.cols)
      throw new MbokError(
        'MBOK_SHAPE',
        `'${original}' has no layer '${module}' of ${owner.rows} × ${owner.cols} weights`,
      );
    const w = await numbersOf(dense, other, dense.formats.get(module));
    // not nested: the scales of prefixes belong to smaller models
    const whole = kernelsFormat(format.count);
    const [one, two] = [await numbersOf(source, owner, whole, 1), await numbersOf(source, owner, whole, 2)];
    correlations.push({ module, ...correlationsOf(w, one, two) });
  }
  return correlations;
}

/** Computes both correlations of W, Ŵ₁ and Ŵ₁ + Ŵ₂. */
function correlationsOf(w: Float32Array, one: Float32Array, two: Float32Array): Omit<KernelCorrelation, 'module'> {
  let [firstSquares, secondSquares, restSquares, firstSecond, restSecond] = [0, 0, 0, 0, 0];
  for (let at = 0; at < w.length; at++) {
    const first = one[at] as number;
    const second = (two[at] as number) - first;
    const rest = (w[at] as number) - first;
    firstSquares += first * first;
    secondSquares += second * second;
    restSquares += rest * rest;
    firstSecond += first * second;
    restSecond += rest * second;
  }
  const over = (product: number, squares: number) => (squares === 0 ? 0 : product / Math.sqrt(squares));
  return {
    kernels: over(firstSecond, firstSquares * secondSquares),
    residual: over(restSecond, restSquares * secondSquares),
  };
}

/** Reads a weight, or the prefix of its first `count` kernels, as a dense matrix. */
async function numbersOf(
  source: ModelSource,
  owner: ParameterSpecification,
  format: LayerFormat | undefined,
  count?: number,
): Promise<Float32Array> {
  const module = moduleOf(owner.name);
  const { formats, slices } = loadedParts([owner], new Map(format && [[module, format]]), count);
  const parameters = new Map<string, Matrix>();
  try {
    for (const slice of slices) parameters.set(slice.part.name, (await source.read(slice)).matrix);
    const dense = await multipliedOut(owner, formats.get(module), parameters);
    const numbers = dense.toFloat32();
    dense.dispose();
    return numbers;
  } finally {
    for (const matrix of parameters.values()) matrix.dispose();
  }
}
