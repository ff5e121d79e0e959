import { MbokError } from '../../base/errors';
import type { ReadType, WeightEntry, WeightReader } from '../../io/weight_reader';
import { isQ8 } from '../../native/ggml_types';
import type { Matrix } from '../../native/matrix';
import { replacedBy, transposed } from '../transposed';
import type { Change } from './architectures';
import { inOrder } from './changes';
import { dequantized, type ValueType } from './dequantize';
import type { GgufFile } from './file';
import type { GgufTensor } from './header';

/** Numbers of a tensor that are read and converted at a time. */
const PIECE_ELEMENTS = 1 << 19;

/** A tensor of a checkpoint and its source in the file. */
export interface MappedTensor {
  /** Hugging Face's name. */
  readonly name: string;
  readonly tensor: GgufTensor;
  readonly change: Change | undefined;
}

/** A GGUF file read by Hugging Face's names, with the changes of llama.cpp's conversion undone. */
export class GgufReader implements WeightReader {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, WeightEntry>;
  readonly #mapped: ReadonlyMap<string, MappedTensor>;

  /** Takes ownership of the file. */
  constructor(
    private readonly file: GgufFile,
    mapped: readonly MappedTensor[],
  ) {
    this.path = file.path;
    this.#mapped = new Map(mapped.map((entry) => [entry.name, entry]));
    this.tensors = new Map(mapped.map((entry) => [entry.name, present(entry)]));
  }

  get byteLength(): number {
    return this.file.byteLength;
  }

  /** Reads the bytes of a tensor. Blocks of a matrix that must be transposed are read as F16. */
  async read(name: string, length?: number): Promise<Uint8Array> {
    const mapped = this.#find(name);
    const { dtype, byteLength } = present(mapped);
    if (mapped.change?.kind === 'transposed' || mapped.change?.kind === 'plusOne') {
      const matrix = await this.readMatrix(name, PLAIN_TYPES[dtype] as ValueType);
      const { buffer, byteOffset } = matrix.raw();
      matrix.dispose();
      return new Uint8Array(buffer, byteOffset, byteLength).subarray(0, length);
    }
    const bytes = new Uint8Array(byteLength);
    let done = 0;
    for await (const piece of this.#pieces(mapped)) {
      bytes.set(piece, done);
      done += piece.length;
    }
    return bytes.subarray(0, length);
  }

  async readF32(name: string): Promise<Float32Array> {
    const matrix = await this.readMatrix(name, 'f32');
    const values = matrix.toFloat32();
    matrix.dispose();
    return values;
  }

  /** Reads a matrix, as any {@link WeightReader}. All types can be read as f32, f16 and bf16, rounded once. */
  async readMatrix(name: string, type: ReadType): Promise<Matrix> {
    const mapped = this.#find(name);
    const { tensor, change } = mapped;
    const isRead = type === 'f32' || (change?.kind !== 'plusOne' && (type !== 'q8' || isQ8(tensor.dtype)));
    if (type === 'i8' || !isRead) {
      throw new MbokError('MBOK_UNSUPPORTED', `tensor '${name}' of '${this.path}' is not read as ${type}`);
    }
    const cols = tensor.shape.at(-1) as number;
    const rows = elements(tensor) / cols;
    const stored = { dtype: tensor.dtype, pieces: this.#pieces(mapped), pieceRows: pieceRows(mapped) };
    const matrix = await dequantized({ rows, cols, type }, stored).catch((error) => this.#rethrow(error, name, type));
    if (change?.kind === 'transposed' && type !== 'q8') return await replacedBy(matrix, transposed);
    if (change?.kind === 'plusOne') matrix.write(matrix.toFloat32().map((value) => value - 1));
    return matrix;
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #find(name: string): MappedTensor {
    const entry = this.#mapped.get(name);
    if (entry === undefined) throw new MbokError('MBOK_FORMAT', `'${this.path}' has no tensor '${name}'`);
    return entry;
  }

  /**
   * Yields the stored bytes of a tensor in the order of the checkpoint, some rows at a time. Each piece overwrites the
   * one before.
   */
  async *#pieces(mapped: MappedTensor): AsyncGenerator<Uint8Array> {
    const { tensor, change } = mapped;
    const { rows } = extent(mapped);
    const rowBytes = tensor.byteLength / rows;
    const rowsPerPiece = Math.min(rows, pieceRows(mapped));
    const memory = new Uint8Array(rowsPerPiece * rowBytes);
    for (let first = 0; first < rows; first += rowsPerPiece) {
      const stored = memory.subarray(0, Math.min(rowsPerPiece, rows - first) * rowBytes);
      await this.file.fill(tensor, first * rowBytes, stored);
      yield change?.kind === 'interleaved' ? inOrder(stored, rowBytes, rows / change.heads) : stored;
    }
  }

  #rethrow(error: unknown, name: string, type: ValueType): never {
    if (!(error instanceof MbokError) || error.code !== 'MBOK_NON_FINITE') throw error;
    const message = `${this.path}: tensor '${name}' holds values that are NaN or infinite as ${type}`;
    throw new MbokError('MBOK_NON_FINITE', message, { cause: error });
  }
}

/** Types in memory of element types; block types are absent. */
const PLAIN_TYPES: Readonly<Record<string, ValueType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

function present({ name, tensor, change }: MappedTensor): WeightEntry {
  const { dtype, shape, byteLength } = tensor;
  const blocks = isQ8(dtype) && { isQ8: true };
  if (change?.kind !== 'transposed') return { name, dtype, shape, byteLength, ...blocks };
  const storedType = dtype in PLAIN_TYPES ? { dtype, byteLength } : { dtype: 'F16', byteLength: 2 * elements(tensor) };
  return { name, shape: [...shape].reverse(), ...storedType, storedBytes: byteLength, ...blocks };
}

function elements({ shape }: GgufTensor): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Returns rows and columns. A vector with interleaved numbers counts as a column, so that they are reordered like rows;
 * other vectors are one row.
 */
function extent({ tensor, change }: MappedTensor): { rows: number; cols: number } {
  const { shape } = tensor;
  const cols = shape.length === 1 && change?.kind === 'interleaved' ? 1 : (shape.at(-1) as number);
  return { rows: elements(tensor) / cols, cols };
}

function pieceRows(mapped: MappedTensor): number {
  const { rows, cols } = extent(mapped);
  const { tensor, change } = mapped;
  if (tensor.shape.length === 1) return rows;
  const headRows = change?.kind === 'interleaved' ? rows / change.heads : 1;
  return headRows * Math.max(1, Math.floor(PIECE_ELEMENTS / (cols * headRows)));
}
