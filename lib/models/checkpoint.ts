/** A model's matrices from and to the safetensors file of its folder. */

import { MbokError } from '../errors';
import { type FloatType, f32ToHalf } from '../io/half';
import { type TensorSource, writeSafetensors } from '../io/safetensors';
import type { WeightEntry, WeightReader } from '../io/weights';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';
import { throwIfAborted } from '../validate';
import type { ParameterSpecification } from './family';
import type { KernelCounts } from './quantization';

/** A matrix and the element type that files store it in; bits are stored packed. */
export interface StoredMatrix {
  readonly matrix: Matrix;
  readonly storage: FloatType | 'bits';
}

/** What every long call takes. */
export interface ProgressOptions {
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Told how much of the work is done, from 0 to 1, and what is being worked on. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

/** Module name of a linear weight's tensor name. */
export function moduleOf(weight: string): string {
  return weight.replace(/\.weight$/, '');
}

/** Everything that the file of a model must hold, given which modules have been converted. */
export function storedSpecifications(
  specifications: readonly ParameterSpecification[],
  kernels: KernelCounts,
): readonly StoredSpecification[] {
  return specifications.flatMap((specification) => {
    const module = moduleOf(specification.name);
    const count = specification.role === 'linear' ? kernels.get(module) : undefined;
    if (count === undefined) return [specification];
    const { rows, cols, role } = specification;
    return [
      { name: `${module}.${KERNELS}`, rows: count * rows, cols, role, kernels: count },
      { name: `${module}.${OUTPUT_SCALES}`, rows: count, cols: rows, role },
      { name: `${module}.${INPUT_SCALES}`, rows: count, cols, role },
    ];
  });
}

/** A tensor that a checkpoint must hold; `kernels` where it is the ±1 kernels of a converted module. */
export type StoredSpecification = ParameterSpecification & { readonly kernels?: number };

/**
 * Reads one matrix. Throws MBOK_IO, MBOK_FORMAT, MBOK_SHAPE where configuration and file disagree, and MBOK_NON_FINITE
 * for NaN or infinite weights, naming the tensor.
 */
export async function readParameter(
  weights: WeightReader,
  { name, rows, cols, kernels }: StoredSpecification,
): Promise<StoredMatrix> {
  const { path } = weights;
  const info = weights.tensors.get(name);
  if (info === undefined) throw new MbokError('MBOK_SHAPE', `${path}: tensor '${name}' is missing`);
  if (kernels !== undefined) {
    expectStored(path, info, 'U8', [kernels, rows / kernels, Math.ceil(cols / 8)]);
    return { matrix: BitMatrix.fromPacked(await weights.read(name), { rows, cols }), storage: 'bits' };
  }
  expectStored(path, info, info.dtype, rows === 1 && info.shape.length === 1 ? [cols] : [rows, cols]);
  const data = await weights.readF32(name);
  if (!data.every(Number.isFinite)) {
    throw new MbokError('MBOK_NON_FINITE', `${path}: tensor '${name}' holds NaN or infinite values`);
  }
  return { matrix: Matrix.from(data, { rows, cols }), storage: storageOf(path, info) };
}

/** The element type that a tensor is saved in when it has been read: its own, or F16 where that is a block format. */
function storageOf(path: string, { name, dtype }: WeightEntry): FloatType {
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype;
  if (/^(I?Q\d)/.test(dtype)) return 'F16';
  throw new MbokError('MBOK_UNSUPPORTED', `${path}: tensor '${name}' is ${dtype}; weights must be real numbers`);
}

function expectStored(path: string, info: WeightEntry, dtype: string, shape: readonly number[]): void {
  if (info.dtype === dtype && info.shape.join() === shape.join()) return;
  throw new MbokError(
    'MBOK_SHAPE',
    `${path}: tensor '${info.name}' must be ${dtype} [${shape.join(', ')}] by the configuration, got ${info.dtype} [${info.shape.join(', ')}]`,
  );
}

/** Writes the matrices to a safetensors file, one tensor in memory at a time. Throws MBOK_IO, MBOK_ABORTED. */
export async function writeParameters(
  path: string,
  parameters: ReadonlyMap<string, StoredMatrix>,
  kernels: KernelCounts,
  { signal, onProgress }: ProgressOptions = {},
): Promise<void> {
  let written = 0;
  const sources = [...parameters].map(([name, stored]): TensorSource => {
    const bytes = () => {
      throwIfAborted(signal);
      onProgress?.({ done: written++ / parameters.size, what: name });
      return encode(stored);
    };
    const { matrix, storage } = stored;
    if (storage === 'bits') {
      const count = kernels.get(name.slice(0, -KERNELS.length - 1)) as number;
      return { name, dtype: 'U8', shape: [count, matrix.rows / count, Math.ceil(matrix.cols / 8)], bytes };
    }
    const isScale = name.endsWith(`.${OUTPUT_SCALES}`) || name.endsWith(`.${INPUT_SCALES}`);
    const shape = matrix.rows === 1 && !isScale ? [matrix.cols] : [matrix.rows, matrix.cols];
    return { name, dtype: storage, shape, bytes };
  });
  await writeSafetensors(path, sources, { format: 'pt' });
}

function encode({ matrix, storage }: StoredMatrix): Uint8Array {
  if (storage === 'bits') return (matrix as BitMatrix).toPacked();
  const data = matrix.toFloat32();
  const stored = storage === 'F32' ? data : f32ToHalf(data, storage);
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}
