/** Conversion of a model's matrices from and to files: one reader and one writer for all parts. */

import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import { encodeHalf, type FloatType, type HalfType } from '../io/half';
import { inOrder, type TensorHead, type TensorSource } from '../io/safetensors';
import type { WeightEntry, WeightReader } from '../io/weight_reader';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix, rowBytes } from '../native/matrix';
import { storedShape } from '../structures/part';
import type { PartType } from '../structures/structure';
import { tiled, untiled } from './bit_tiles';
import { isWeight, type ModelPart, type ModelSlice } from './parts';
import { replacedBy, transposed, transposedBits } from './transposed';

/**
 * A matrix and its element type in files; bits are packed there. Weights are stored as in memory; f32 matrices may be
 * rounded to 16 bits.
 */
export interface StoredMatrix {
  readonly matrix: Matrix;
  readonly storage: PartType;
}

/** A matrix with the part of the model that it is. */
export interface PartMatrix extends StoredMatrix {
  readonly part: ModelPart;
}

/**
 * Storage of real numbers: an element type of files, or rows of a 'q8' matrix if a GGUF file has them in such a format.
 */
export type DenseStorage = FloatType | 'Q8';

export const MODEL_USES: readonly ModelUse[] = ['inference', 'training'];
/** Use of a model. Inference reads ±1 in tiles; training reads rows, as files do. */
export type ModelUse = 'inference' | 'training';

/** Options of all long calls. */
export interface ProgressOptions {
  /** Aborts the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the completed share of the work, from 0 to 1, and the current item. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

/** Metadata that transformers expects in a weights file. */
export const WEIGHTS_METADATA = { format: 'pt' } as const;

/**
 * Checks the entry of a part in a checkpoint without reading it, and returns it. Throws MBOK_SHAPE if it is missing, or
 * its shape or type contradicts the configuration. Throws MBOK_UNSUPPORTED if its type is not numeric.
 */
export function expectPart({ path, tensors }: WeightReader, part: ModelPart): WeightEntry {
  const info = tensors.get(part.name);
  if (info === undefined) throw new MbokError('MBOK_SHAPE', `${path}: tensor '${part.name}' is missing`);
  const { type, rows, cols, owner } = part;
  if (type === 'bits' || type === 'I8' || (type === 'Q8' && !info.isQ8)) {
    expectStored(path, info, storedShape(part, type));
    return info;
  }
  const turned = info.isQ8 ? owner.transposed : part.transposed;
  const plain = rows === 1 && info.shape.length === 1 ? [cols] : [rows, cols];
  expectStored(path, info, { dtype: info.dtype, shape: turned ? [cols, rows] : plain });
  realType(path, info, part);
  return info;
}

function expectStored(path: string, info: WeightEntry, { dtype, shape }: Pick<WeightEntry, 'dtype' | 'shape'>): void {
  if (info.dtype === dtype && info.shape.join() === shape.join()) return;
  throw new MbokError(
    'MBOK_SHAPE',
    `${path}: tensor '${info.name}' must be ${dtype} [${shape.join(', ')}] by the configuration, got ${info.dtype} [${info.shape.join(', ')}]`,
  );
}

/** Returns the storage type of a part of real numbers that is copied unchanged. Throws as {@link expectPart} does. */
export function denseStorage(weights: WeightReader, part: ModelPart): DenseStorage {
  return realType(weights.path, expectPart(weights, part), part);
}

/**
 * Returns the type in which real numbers are saved after reading. Element types stay. Block formats of GGUF become Q8
 * if that is exact, otherwise F16. Tensors that are f32 in memory become F32.
 */
function realType(path: string, { name, dtype, isQ8 }: WeightEntry, part: ModelPart): DenseStorage {
  if (part.type === 'Q8') return 'Q8';
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype;
  if (isQ8 || /^(I?Q\d)/.test(dtype)) return isReadInPlace(part) ? 'F16' : 'F32';
  throw new MbokError('MBOK_UNSUPPORTED', `${path}: tensor '${name}' is ${dtype}; weights must be real numbers`);
}

/** Tells whether operations read these numbers in their stored type; all others are f32 in memory. */
function isReadInPlace({ role, owner }: ModelPart): boolean {
  return role === 'real' && isWeight(owner);
}

const MEMORY_TYPES = { F32: 'f32', F16: 'f16', BF16: 'bf16', Q8: 'q8' } as const;

/**
 * Reads a part; of bits only the rows that it has. Throws MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED, MBOK_SHAPE if
 * configuration and file disagree, and MBOK_NON_FINITE, naming the tensor, for NaN or infinite weights.
 */
export async function readPart(
  weights: WeightReader,
  { part, from }: ModelSlice,
  use: ModelUse = 'inference',
): Promise<StoredMatrix> {
  const info = expectPart(weights, from);
  if (part.type === 'bits') {
    const bits = await readBits(weights, part, from);
    if (use === 'training' || part.role !== 'bits') return { matrix: bits, storage: 'bits' };
    return { matrix: await replacedBy(bits, () => tiled(bits, part.planes ?? 1)), storage: 'bits' };
  }
  if (part.type === 'I8') return { matrix: await weights.readMatrix(from.name, 'i8'), storage: 'I8' };
  const storage = realType(weights.path, info, from);
  const read = await weights.readMatrix(from.name, isReadInPlace(from) ? MEMORY_TYPES[storage] : 'f32');
  const matrix = from.transposed ? await replacedBy(read, transposed) : read;
  return { matrix: part.rows < matrix.rows ? await replacedBy(matrix, firstRows(part.rows)) : matrix, storage };
}

/** Reads the first rows of ±1 bits, or the first columns if the file has them transposed. */
async function readBits(weights: WeightReader, { rows, cols }: ModelPart, from: ModelPart): Promise<BitMatrix> {
  const shape = from.transposed ? { rows: cols, cols: rows } : { rows, cols };
  const bytes = await weights.read(from.name, shape.rows * Math.ceil(shape.cols / 8));
  return from.transposed ? transposedBits(bytes, shape) : BitMatrix.fromPacked(bytes, shape);
}

function firstRows(rows: number): (matrix: Matrix) => Promise<Matrix> {
  return async (matrix) => {
    const { cols } = matrix;
    return Matrix.from(matrix.toFloat32().subarray(0, rows * cols), { rows, cols });
  };
}

/** Returns the bytes that {@link readPart} takes in memory for a part that it reads whole. */
export function loadedBytes(weights: WeightReader, part: ModelPart): number {
  const { rows, cols, type } = part;
  if (type === 'bits') return rows * rowBytes('bits', cols);
  if (type === 'I8') return rows * rowBytes('i8', cols);
  const storage = denseStorage(weights, part);
  return rows * rowBytes(isReadInPlace(part) ? MEMORY_TYPES[storage] : 'f32', cols);
}

/** Returns the header entry of a part with this storage type. */
export function partHead(part: ModelPart, storage: PartType): TensorHead {
  return { name: part.name, ...storedShape(part, storage) };
}

/**
 * Describes a part for a safetensors file. `matrix` is in memory, or a function that reads it temporarily. Its bytes
 * throw MBOK_NON_FINITE if a number does not fit the type.
 */
export function partTensor(part: ModelPart, storage: PartType, matrix: Matrix | (() => Promise<Matrix>)): TensorSource {
  const bytes = async () => {
    const isTemporary = typeof matrix === 'function';
    const read = isTemporary ? await matrix() : matrix;
    const order = fileOrder(part, read);
    if (order === undefined) return storedBytes(part.name, read, storage, isTemporary);
    const ordered = await (isTemporary ? replacedBy(read, order) : order(read));
    return storedBytes(part.name, ordered, storage, true);
  };
  return { ...partHead(part, storage), bytes };
}

/** Returns the conversion of a matrix to the layout of files; undefined if it has that layout. */
function fileOrder({ planes = 1, rows, type: stored, transposed: turned }: ModelPart, { type }: Matrix) {
  if (stored === 'bits' && turned) return turnedBits;
  if (type === 'bitTiles') return (tiles: Matrix) => untiled(tiles, { kernels: planes, rows: rows / planes });
  return turned ? transposed : undefined;
}

/** Transposes bits in the layout of rows. */
async function turnedBits(bits: Matrix): Promise<Matrix> {
  return transposedBits((bits as BitMatrix).toPacked(), bits);
}

/** Yields the bytes of a matrix in its storage type. Then disposes it if it `isTemporary`. */
function* storedBytes(
  name: string,
  matrix: Matrix,
  storage: PartType,
  isTemporary: boolean,
): Generator<Uint8Array, void> {
  try {
    if (storage === 'bits') yield (matrix as BitMatrix).toPacked();
    else if (matrix.type !== 'f32' || storage === 'F32') yield* matrix.pieces();
    else yield bytesOf(encodeHalf(name, matrix.toFloat32(), storage as HalfType));
  } finally {
    if (isTemporary) matrix.dispose();
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Sorts tensors as files do, and wraps them: when one is written it reports progress, or stops if `signal` is aborted. */
export function watched(
  tensors: readonly TensorSource[],
  { signal, onProgress }: ProgressOptions,
): readonly TensorSource[] {
  return inOrder(tensors).map((tensor, index) => ({
    ...tensor,
    bytes() {
      throwIfAborted(signal);
      onProgress?.({ done: index / tensors.length, what: tensor.name });
      return tensor.bytes();
    },
  }));
}
