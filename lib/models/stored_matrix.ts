/** A model's matrices from and to its files: every part of a weight has one reader and one writer here. */

import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import { encodeHalf, type FloatType, type HalfType } from '../io/half';
import type { TensorHead, TensorSource } from '../io/safetensors';
import type { WeightEntry, WeightReader } from '../io/weight_reader';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';
import { storedShape } from '../structures/part';
import type { PartType } from '../structures/structure';
import { tiled, untiled } from './bit_tiles';
import { isWeight, type ModelPart, type ModelSlice } from './parts';
import { replacedBy, transposed } from './transposed';

/**
 * A matrix and the element type that files store it in; bits are stored packed. Weights are stored as they are in memory,
 * f32 matrices perhaps rounded to 16 bits.
 */
export interface StoredMatrix {
  readonly matrix: Matrix;
  readonly storage: PartType;
}

/** A matrix of a model with what it is in it. */
export interface PlacedMatrix extends StoredMatrix {
  readonly part: ModelPart;
}

/**
 * How real numbers are stored: in an element type of files, or as the rows of a 'q8' matrix, because a GGUF file had them
 * in such a format.
 */
export type DenseStorage = FloatType | 'Q8';

/** What a model is loaded for. Inference reads ±1 in tiles; training, as files do, row by row. */
export type ModelUse = 'inference' | 'training';

/** What every long call takes. */
export interface ProgressOptions {
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Told how much of the work is done, from 0 to 1, and what is being worked on. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

/** What transformers wants the file of a model to say of itself. */
export const WEIGHTS_METADATA = { format: 'pt' } as const;

/**
 * What a checkpoint has of a part, held against it without reading it. Throws MBOK_SHAPE where it is missing or of another
 * shape than the configuration says, MBOK_UNSUPPORTED for a type that does not stand for numbers.
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

/** How the real numbers of a part are stored that stay as the checkpoint has them. Throws as {@link expectPart}. */
export function denseStorage(weights: WeightReader, part: ModelPart): DenseStorage {
  return realType(weights.path, expectPart(weights, part), part);
}

/**
 * Tells how real numbers are saved when they have been read. Their element type stays. Block formats of GGUF become Q8
 * where that is exact, else F16; what is f32 in memory becomes F32.
 */
function realType(path: string, { name, dtype, isQ8 }: WeightEntry, part: ModelPart): DenseStorage {
  if (part.type === 'Q8') return 'Q8';
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype;
  if (isQ8 || /^(I?Q\d)/.test(dtype)) return isReadInPlace(part) ? 'F16' : 'F32';
  throw new MbokError('MBOK_UNSUPPORTED', `${path}: tensor '${name}' is ${dtype}; weights must be real numbers`);
}

/** Whether operations read real numbers where they lie, in the bits that the file has for them; others are f32. */
function isReadInPlace({ role, owner }: ModelPart): boolean {
  return role === 'real' && isWeight(owner);
}

const MEMORY_TYPES = { F32: 'f32', F16: 'f16', BF16: 'bf16', Q8: 'q8' } as const;

/**
 * Reads one part, and of bits no more than it has. Throws MBOK_IO, MBOK_FORMAT, MBOK_SHAPE where configuration and file
 * disagree, and MBOK_NON_FINITE for NaN or infinite weights, naming the tensor.
 */
export async function readPart(
  weights: WeightReader,
  { part, from }: ModelSlice,
  use: ModelUse = 'inference',
): Promise<StoredMatrix> {
  const info = expectPart(weights, from);
  if (part.type === 'bits') {
    const bytes = await weights.read(from.name, part.rows * Math.ceil(part.cols / 8));
    const bits = BitMatrix.fromPacked(bytes, part);
    if (use === 'training') return { matrix: bits, storage: 'bits' };
    return { matrix: await replacedBy(bits, () => tiled(bits, part.planes ?? 1)), storage: 'bits' };
  }
  if (part.type === 'I8') return { matrix: await weights.readMatrix(from.name, 'i8'), storage: 'I8' };
  const storage = realType(weights.path, info, from);
  const read = await weights.readMatrix(from.name, isReadInPlace(from) ? MEMORY_TYPES[storage] : 'f32');
  const matrix = from.transposed ? await replacedBy(read, transposed) : read;
  return { matrix: part.rows < matrix.rows ? await replacedBy(matrix, firstRows(part.rows)) : matrix, storage };
}

function firstRows(rows: number): (matrix: Matrix) => Promise<Matrix> {
  return async (matrix) => {
    const { cols } = matrix;
    return Matrix.from(matrix.toFloat32().subarray(0, rows * cols), { rows, cols });
  };
}

/** What the header of a file says of a part that is stored in this type. */
export function partHead(part: ModelPart, storage: PartType): TensorHead {
  return { name: part.name, ...storedShape(part, storage) };
}

/**
 * A part as safetensors files hold it. `matrix`: the part in memory, or what reads it for this alone. Its bytes throw
 * MBOK_NON_FINITE for numbers that its type does not hold.
 */
export function partTensor(part: ModelPart, storage: PartType, matrix: Matrix | (() => Promise<Matrix>)): TensorSource {
  const bytes = async () => {
    const isOwn = typeof matrix === 'function';
    const read = isOwn ? await matrix() : matrix;
    const order = fileOrder(part, read);
    if (order === undefined) return storedBytes(part.name, read, storage, isOwn);
    const ordered = await (isOwn ? replacedBy(read, order) : order(read));
    return storedBytes(part.name, ordered, storage, true);
  };
  return { ...partHead(part, storage), bytes };
}

/** What brings the rows of a matrix into the order that files have; undefined where they are. */
function fileOrder({ planes = 1, rows, transposed: turned }: ModelPart, { type }: Matrix) {
  if (type === 'bitTiles') return (tiles: Matrix) => untiled(tiles, { kernels: planes, rows: rows / planes });
  return turned ? transposed : undefined;
}

/** The bytes of a matrix in the element type that it is saved in. It is then freed if it `isTemporary`. */
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

/** Tensors that tell as they are written how far a file is, and that stop it when `signal` says so. */
export function watched(
  tensors: readonly TensorSource[],
  { signal, onProgress }: ProgressOptions,
): readonly TensorSource[] {
  return tensors.map((tensor, index) => ({
    ...tensor,
    bytes() {
      throwIfAborted(signal);
      onProgress?.({ done: index / tensors.length, what: tensor.name });
      return tensor.bytes();
    },
  }));
}
