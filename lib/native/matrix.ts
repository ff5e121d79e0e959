/** Matrices in native memory, which hold parameters, optimizer state and plan inputs. */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, object, oneOf } from '../base/validate';
import { addon, guarded, type NativeBuffer, TENSOR_TYPES, type TensorType } from './addon';

/** Columns of a 'q8' matrix that share a scale. */
export const Q8_BLOCK = 32;

/** Returns the bytes of one row. Rows of bits are padded to whole 64-bit words. */
export function rowBytes(type: TensorType, cols: number): number {
  switch (type) {
    case 'bits':
    case 'bitTiles':
      return Math.ceil(cols / 64) * 8;
    case 'f16':
    case 'bf16':
      return cols * 2;
    case 'u8':
    case 'i8':
      return cols;
    case 'q8':
      return Math.ceil(cols / Q8_BLOCK) * (Q8_BLOCK + 2);
    default:
      return cols * 4;
  }
}

/** Shape and element type of a {@link Matrix}. */
export interface MatrixShape {
  /** 0 to 2³¹. */
  readonly rows: number;
  /** 1 to 2³¹. */
  readonly cols: number;
  /** Default 'f32'. */
  readonly type?: TensorType;
}

const TYPE_NAMES = Object.keys(TENSOR_TYPES) as readonly TensorType[];

/**
 * Bytes copied at a time. A copy needs no more extra memory than this, and blocks the event loop for about a
 * millisecond.
 */
const PIECE_BYTES = 1 << 22;

/** Elements of a matrix as an array. */
export type MatrixElements = Float32Array | Int32Array | Uint16Array | Uint8Array | Int8Array;

/**
 * A zeroed row-major matrix in native memory, aligned to 64 bytes. Dispose it, or leave it to the garbage collector.
 */
export class Matrix {
  /** Number of rows. */
  readonly rows: number;
  /** Number of columns. */
  readonly cols: number;
  /**
   * Element type. Rows of 'bits' are padded to whole 64-bit words; 'bitTiles' are bits in the order in which decoding
   * reads them. A row of 'q8' is one f16 scale per 32 columns, then one 8-bit integer per column.
   */
  readonly type: TensorType;
  #buffer: NativeBuffer | undefined;

  /** Creates a matrix of zeros. Throws MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY. */
  constructor(shape: MatrixShape) {
    const { rows, cols, type = 'f32' } = object('shape', shape);
    this.rows = integerInRange('rows', rows, 0, 2 ** 31);
    this.cols = integerInRange('cols', cols, 1, 2 ** 31);
    this.type = oneOf('type', type, TYPE_NAMES);
    if (type === 'q8' && cols % Q8_BLOCK !== 0) invalid('cols', `a multiple of ${Q8_BLOCK} for type 'q8'`, cols);
    this.#buffer = guarded(() => new (addon().NativeBuffer)(this.byteLength));
  }

  /**
   * Tells whether `value` is a matrix of this copy of mbok. Proxies and objects that only inherit from a matrix are
   * not.
   */
  static isMatrix(value: unknown): value is Matrix {
    return typeof value === 'object' && value !== null && #buffer in value;
  }

  /**
   * Creates a matrix with a copy of `data`: f32 from a Float32Array, i32 from an Int32Array. Throws
   * MBOK_INVALID_ARGUMENT, MBOK_SHAPE.
   */
  static from(data: Float32Array | Int32Array, shape: { rows: number; cols: number }): Matrix {
    const { rows, cols } = object('shape', shape);
    const type = elementsOf(data);
    const matrix = new Matrix({ rows, cols, type: type ?? invalid('data', 'a Float32Array or an Int32Array', data) });
    matrix.write(data);
    return matrix;
  }

  /** Size in bytes of the native memory. */
  get byteLength(): number {
    return this.rows * rowBytes(this.type, this.cols);
  }

  /** @internal The native memory. Throws MBOK_DISPOSED. */
  get buffer(): NativeBuffer {
    if (this.#buffer === undefined) throw new MbokError('MBOK_DISPOSED', 'this matrix has been disposed');
    return this.#buffer;
  }

  /** Whether {@link Matrix.dispose} has been called. */
  get disposed(): boolean {
    return this.#buffer === undefined;
  }

  /**
   * Overwrites the whole matrix. `data` holds its elements row by row (bits: bytes of padded rows). Throws MBOK_SHAPE.
   */
  write(data: MatrixElements): void {
    if (!ArrayBuffer.isView(data)) invalid('data', 'a typed array', data);
    if (data.byteLength !== this.byteLength) {
      throw new MbokError(
        'MBOK_SHAPE',
        `'data' has ${data.byteLength} bytes; a ${this.type} matrix of ${this.rows} × ${this.cols} has ${this.byteLength}`,
      );
    }
    this.writeAt(0, data);
  }

  /** Overwrites the bytes from `byteOffset` on. Throws MBOK_INVALID_ARGUMENT if they would end past the matrix. */
  writeAt(byteOffset: number, data: MatrixElements): void {
    guarded(() => this.buffer.write(data, byteOffset));
  }

  /**
   * Fills all of `target` with the bytes from `byteOffset` on. Throws MBOK_INVALID_ARGUMENT if they would end past the
   * matrix.
   */
  readAt(byteOffset: number, target: MatrixElements): void {
    guarded(() => this.buffer.read(target, byteOffset));
  }

  /** @internal Creates a matrix and fills it with the pieces in order. If a piece fails, the matrix is disposed. */
  static async ofPieces(shape: MatrixShape, pieces: AsyncIterable<MatrixElements>): Promise<Matrix> {
    const matrix = new Matrix(shape);
    try {
      let done = 0;
      for await (const piece of pieces) {
        matrix.writeAt(done, piece);
        done += piece.byteLength;
      }
      return matrix;
    } catch (error) {
      matrix.dispose();
      throw error;
    }
  }

  /**
   * Copies the elements in their memory layout: Float32Array, Int32Array, Uint16Array (f16, bf16), Int8Array (i8) or
   * Uint8Array.
   */
  raw(): MatrixElements {
    const view = this.#view();
    this.readAt(0, view);
    return view;
  }

  /** Copies an f32 matrix, row by row. Throws MBOK_SHAPE for other types. */
  toFloat32(): Float32Array {
    const data = this.raw();
    if (this.type !== 'f32') throw new MbokError('MBOK_SHAPE', `expected an f32 matrix, this one is ${this.type}`);
    return data as Float32Array;
  }

  /** Yields the bytes of the matrix, 4 MiB at a time. Each piece overwrites the one before. */
  *pieces(): Generator<Uint8Array, void> {
    const memory = new Uint8Array(Math.min(this.byteLength, PIECE_BYTES));
    for (let done = 0; done < this.byteLength; done += PIECE_BYTES) {
      const piece = memory.subarray(0, Math.min(PIECE_BYTES, this.byteLength - done));
      this.readAt(done, piece);
      yield piece;
    }
  }

  /** Returns an independent copy. */
  clone(): Matrix {
    const copy = new Matrix(this);
    let done = 0;
    for (const piece of this.pieces()) {
      copy.writeAt(done, piece);
      done += piece.length;
    }
    return copy;
  }

  /** Frees the native memory once running plans have ended. Later reads and writes throw MBOK_DISPOSED. */
  dispose(): void {
    this.#buffer?.dispose();
    this.#buffer = undefined;
  }

  /** Disposes the matrix, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #view(): MatrixElements {
    const elements = this.rows * this.cols;
    if (this.type === 'f32') return new Float32Array(elements);
    if (this.type === 'i32') return new Int32Array(elements);
    if (this.type === 'i8') return new Int8Array(elements);
    if (this.type === 'f16' || this.type === 'bf16') return new Uint16Array(elements);
    return new Uint8Array(this.byteLength);
  }
}

/**
 * Returns the element type of an array, by its tag, which is valid across realms where instanceof is not. Returns
 * undefined for other objects.
 */
export function elementsOf(data: unknown): 'f32' | 'i32' | undefined {
  const tag = Object.prototype.toString.call(data);
  if (!ArrayBuffer.isView(data)) return undefined;
  return tag === '[object Float32Array]' ? 'f32' : tag === '[object Int32Array]' ? 'i32' : undefined;
}
