/** A model's matrices from and to the safetensors file of its folder. */

import { MbokError } from '../errors';
import { encodeHalf, type FloatType, type HalfType } from '../io/half';
import { type TensorSource, writeSafetensors } from '../io/safetensors';
import type { WeightEntry, WeightReader } from '../io/weights';
import { BitMatrix } from '../native/bit_matrix';
import { type Matrix, rowBytes } from '../native/matrix';
import { scaleName } from '../nn/builder';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';
import { throwIfAborted } from '../validate';
import { tiled, untiled } from './bit_tiles';
import type { ParameterRole, ParameterSpecification } from './family';
import type { KernelCounts, QuantizationNotes } from './quantization';
import { replacedBy, transposed } from './transposed';

/**
 * A matrix and the element type that files store it in; bits are stored packed. Weights are stored as they are in memory,
 * f32 matrices perhaps rounded to 16 bits.
 */
export interface StoredMatrix {
  readonly matrix: Matrix;
  readonly storage: DenseStorage | 'I8' | 'bits';
}

/**
 * How a weight is stored that has not been converted: in an element type of files, or as the rows of a 'q8' matrix,
 * because a GGUF file had it in such a format.
 */
export type DenseStorage = FloatType | 'Q8';

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

/** How a model's matrices are stored where that is not as real numbers. */
export interface StorageChoice {
  /** Of the linear modules that have been converted. */
  readonly kernels: KernelCounts;
  /** Names of weights in 8 bits. */
  readonly int8: ReadonlySet<string>;
  /** Names of weights that files hold as rows of a 'q8' matrix. Default none. */
  readonly q8?: ReadonlySet<string>;
}

/** Weights that can be in 16 or 8 bits in memory. Everything else is f32. */
const NARROW: readonly ParameterRole[] = ['linear', 'embedding', 'head'];

/** Whether a tensor is a matrix that operations read where it lies, in the bits that the file has for it. */
export function isNarrow({ role, as }: StoredSpecification): boolean {
  return (as === undefined || as === 'q8') && NARROW.includes(role);
}

/** Names of weights in 8 bits: embeddings and head if `tables`, and those of linear `modules`. */
export function int8Weights(
  specifications: readonly ParameterSpecification[],
  { tables, modules }: { readonly tables: boolean; readonly modules: Iterable<string> },
): ReadonlySet<string> {
  const linears = new Set(modules);
  const included = specifications.filter(({ name, role }) =>
    role === 'linear' ? linears.has(moduleOf(name)) : tables && (role === 'embedding' || role === 'head'),
  );
  return new Set(included.map(({ name }) => name));
}

/** What the configuration says of weights in 8 bits. */
export function int8Notes(
  specifications: readonly ParameterSpecification[],
  int8: ReadonlySet<string>,
): Pick<QuantizationNotes, 'embeddings' | 'int8'> {
  const weights = specifications.filter(({ name }) => int8.has(name));
  return {
    embeddings: weights.some(({ role }) => role !== 'linear') ? 'int8' : undefined,
    int8: weights.filter(({ role }) => role === 'linear').map(({ name }) => moduleOf(name)),
  };
}

/** Everything that the file of a model must hold. */
export function storedSpecifications(
  specifications: readonly ParameterSpecification[],
  { kernels, int8, q8 }: StorageChoice,
): readonly StoredSpecification[] {
  return specifications.flatMap((specification): readonly StoredSpecification[] => {
    const { name, rows, cols, role } = specification;
    if (int8.has(name)) {
      return [
        { ...specification, as: 'int8' },
        { name: scaleName(name), rows, cols: 1, role, as: 'scales' },
      ];
    }
    const module = moduleOf(name);
    const count = role === 'linear' ? kernels.get(module) : undefined;
    if (count === undefined) return [q8?.has(name) ? { ...specification, as: 'q8' } : specification];
    return [
      { name: `${module}.${KERNELS}`, rows: count * rows, cols, role, as: 'kernels', kernels: count },
      { name: `${module}.${OUTPUT_SCALES}`, rows: count, cols: rows, role, as: 'scales' },
      { name: `${module}.${INPUT_SCALES}`, rows: count, cols, role, as: 'scales' },
    ];
  });
}

/**
 * A tensor that a checkpoint must hold: the ±1 kernels of a converted module, weights in 8 bits, the scales of either,
 * the rows of a 'q8' matrix or, by default, a tensor of the family's own.
 */
export type StoredSpecification = ParameterSpecification &
  (
    | { readonly as?: undefined | 'int8' | 'q8' | 'scales'; readonly kernels?: undefined }
    | { readonly as: 'kernels'; readonly kernels: number }
  );

/**
 * The tensor of a checkpoint that a specification asks for, held against it without reading it. Throws MBOK_SHAPE where it
 * is missing or of another shape than the configuration says, MBOK_UNSUPPORTED for a type that does not stand for numbers.
 */
export function expectTensor(weights: WeightReader, specification: StoredSpecification): WeightEntry {
  const { name, rows, cols, as, transposed: turned } = specification;
  const { path } = weights;
  const info = weights.tensors.get(name);
  if (info === undefined) throw new MbokError('MBOK_SHAPE', `${path}: tensor '${name}' is missing`);
  if (as === 'kernels') {
    const { kernels } = specification;
    expectStored(path, info, 'U8', [kernels, rows / kernels, Math.ceil(cols / 8)]);
  } else if (as === 'int8') {
    expectStored(path, info, 'I8', [rows, cols]);
  } else if (as === 'q8') {
    expectStored(path, info, 'U8', [rows, rowBytes('q8', cols)]);
  } else {
    const plain = rows === 1 && info.shape.length === 1 ? [cols] : [rows, cols];
    expectStored(path, info, info.dtype, turned && as === undefined ? [cols, rows] : plain);
    storageOf(path, info, specification);
  }
  return info;
}

/**
 * Reads one matrix. Throws MBOK_IO, MBOK_FORMAT, MBOK_SHAPE where configuration and file disagree, and MBOK_NON_FINITE for
 * NaN or infinite weights, naming the tensor.
 */
export async function readParameter(weights: WeightReader, specification: StoredSpecification): Promise<StoredMatrix> {
  if (specification.as === 'kernels') return await readKernels(weights, specification, specification.kernels);
  const { name, as } = specification;
  const info = expectTensor(weights, specification);
  if (as === 'int8') return { matrix: await weights.readMatrix(name, 'i8'), storage: 'I8' };
  const storage = storageOf(weights.path, info, specification);
  const matrix = await weights.readMatrix(name, isNarrow(specification) ? MEMORY_TYPES[storage] : 'f32');
  const turned = specification.transposed && as === undefined && storage !== 'Q8';
  return { matrix: turned ? await replacedBy(matrix, transposed) : matrix, storage };
}

/** Reads the first `count` kernels of a module, and no more than their bytes. Throws as {@link readParameter}. */
export async function readKernels(
  weights: WeightReader,
  specification: StoredSpecification & { readonly as: 'kernels' },
  count: number,
): Promise<StoredMatrix> {
  const { name, rows, cols, kernels } = specification;
  expectTensor(weights, specification);
  const wanted = (count * rows) / kernels;
  const bytes = await weights.read(name, wanted * Math.ceil(cols / 8));
  const bits = BitMatrix.fromPacked(bytes, { rows: wanted, cols });
  return { matrix: await replacedBy(bits, () => tiled(bits, count)), storage: 'bits' };
}

/** How the weights of a tensor are stored that stays as the checkpoint has it. Throws as {@link expectTensor}. */
export function denseStorage(weights: WeightReader, specification: StoredSpecification): DenseStorage {
  return storageOf(weights.path, expectTensor(weights, specification), specification);
}

const MEMORY_TYPES = { F32: 'f32', F16: 'f16', BF16: 'bf16', Q8: 'q8' } as const;

/**
 * Tells how a tensor is saved when it has been read. Real numbers keep their element type. Block formats of GGUF become Q8
 * where that is exact, else F16; what is f32 in memory becomes F32.
 */
function storageOf(path: string, { name, dtype, isQ8 }: WeightEntry, specification: StoredSpecification): DenseStorage {
  if (specification.as === 'q8') return 'Q8';
  if (isQ8) return isNarrow(specification) ? 'Q8' : 'F32';
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype;
  if (/^(I?Q\d)/.test(dtype)) return isNarrow(specification) ? 'F16' : 'F32';
  throw new MbokError('MBOK_UNSUPPORTED', `${path}: tensor '${name}' is ${dtype}; weights must be real numbers`);
}

function expectStored(path: string, info: WeightEntry, dtype: string, shape: readonly number[]): void {
  if (info.dtype === dtype && info.shape.join() === shape.join()) return;
  throw new MbokError(
    'MBOK_SHAPE',
    `${path}: tensor '${info.name}' must be ${dtype} [${shape.join(', ')}] by the configuration, got ${info.dtype} [${info.shape.join(', ')}]`,
  );
}

/** What files say of matrices in a way of their own. */
export interface FileLayout {
  readonly kernels: KernelCounts;
  /** Names of matrices that files hold as [cols, rows]. */
  readonly transposed: ReadonlySet<string>;
}

/** What transformers wants the file of a model to say of itself. */
export const WEIGHTS_METADATA = { format: 'pt' } as const;

/** Writes the matrices to a safetensors file, one tensor in memory at a time. Throws MBOK_IO, MBOK_ABORTED, MBOK_NON_FINITE. */
export async function writeParameters(
  path: string,
  parameters: ReadonlyMap<string, StoredMatrix>,
  { kernels, transposed: turned }: FileLayout,
  { signal, onProgress }: ProgressOptions = {},
): Promise<void> {
  const shapeOfKernels = (name: string) => {
    const module = name.slice(0, -KERNELS.length - 1);
    const scales = parameters.get(`${module}.${OUTPUT_SCALES}`)?.matrix as Matrix;
    return { kernels: kernels.get(module) as number, rows: scales.cols };
  };
  let written = 0;
  const sources = [...parameters].map(([name, stored]): TensorSource => {
    const { matrix, storage } = stored;
    const bytes = async () => {
      throwIfAborted(signal);
      onProgress?.({ done: written++ / parameters.size, what: name });
      if (isAsStored(stored) && !turned.has(name)) return matrix.pieces();
      if (matrix.type !== 'bitTiles' && !turned.has(name)) return storedBytes(name, stored);
      const file = turned.has(name) ? await transposed(matrix) : await untiled(matrix, shapeOfKernels(name));
      try {
        return storedBytes(name, { matrix: file, storage });
      } finally {
        file.dispose();
      }
    };
    if (storage === 'bits') {
      const { kernels: count, rows } = shapeOfKernels(name);
      return { name, dtype: 'U8', shape: [count, rows, Math.ceil(matrix.cols / 8)], bytes };
    }
    if (storage === 'Q8') return { name, dtype: 'U8', shape: [matrix.rows, rowBytes('q8', matrix.cols)], bytes };
    const isScale = [`.${OUTPUT_SCALES}`, `.${INPUT_SCALES}`, scaleName('')].some((end) => name.endsWith(end));
    const { rows, cols } = matrix;
    const plain = rows === 1 && !isScale ? [cols] : [rows, cols];
    return { name, dtype: storage, shape: turned.has(name) ? [cols, rows] : plain, bytes };
  });
  await writeSafetensors(path, sources, WEIGHTS_METADATA);
}

/** Whether memory holds the bytes that the file will. */
function isAsStored({ matrix, storage }: StoredMatrix): boolean {
  return storage !== 'bits' && (matrix.type !== 'f32' || storage === 'F32');
}

/** The bytes of a matrix in the element type that it is saved in. Throws as {@link encodeHalf}. */
export function storedBytes(name: string, { matrix, storage }: StoredMatrix): Uint8Array {
  if (storage === 'bits') return (matrix as BitMatrix).toPacked();
  const data = matrix.raw();
  const stored =
    matrix.type === 'f32' && storage !== 'F32' ? encodeHalf(name, data as Float32Array, storage as HalfType) : data;
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}
