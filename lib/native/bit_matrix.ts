/** ±1 matrices, one bit per element. */

import { MbokError } from '../base/errors';
import { invalid, object } from '../base/validate';
import { Matrix, rowBytes } from './matrix';

/**
 * A matrix of ±1 in native memory: bit 1 is +1, bit 0 is −1. Bits are stored least significant first, and each row is
 * padded with zero bits to whole 64-bit words.
 */
export class BitMatrix extends Matrix {
  /** Creates a matrix of all −1. Throws MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY. */
  constructor(shape: { rows: number; cols: number }) {
    const { rows, cols } = object('shape', shape);
    super({ rows, cols, type: 'bits' });
  }

  /**
   * Creates a matrix from numbers, row by row: ≥ 0 becomes +1, negative becomes −1 (sign(0) = +1). Throws
   * MBOK_INVALID_ARGUMENT, MBOK_SHAPE, and MBOK_NON_FINITE for NaN.
   */
  static fromSigns(signs: ArrayLike<number>, shape: { rows: number; cols: number }): BitMatrix {
    const matrix = new BitMatrix(shape);
    const { rows, cols } = matrix;
    if (!Array.isArray(signs) && !ArrayBuffer.isView(signs)) invalid('signs', 'an array of numbers', signs);
    if (signs.length !== rows * cols) {
      throw new MbokError('MBOK_SHAPE', `'signs' has ${signs.length} entries, expected ${rows} × ${cols}`);
    }
    const stride = rowBytes('bits', cols);
    const bytes = new Uint8Array(rows * stride);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const value = signs[row * cols + col] as number;
        if (typeof value !== 'number') invalid(`signs[${row * cols + col}]`, 'a number', value);
        if (Number.isNaN(value)) throw new MbokError('MBOK_NON_FINITE', `'signs' is NaN at row ${row}, column ${col}`);
        if (value >= 0) (bytes[row * stride + (col >> 3)] as number) |= 1 << (col & 7);
      }
    }
    matrix.write(bytes);
    return matrix;
  }

  /**
   * Creates a matrix from rows of ceil(cols / 8) bytes, the layout of model files. Padding bits in the last byte are
   * ignored.
   */
  static fromPacked(packed: Uint8Array, shape: { rows: number; cols: number }): BitMatrix {
    const matrix = new BitMatrix(shape);
    const { rows, cols } = matrix;
    if (Object.prototype.toString.call(packed) !== '[object Uint8Array]') invalid('packed', 'a Uint8Array', packed);
    const width = Math.ceil(cols / 8);
    if (packed.length !== rows * width) {
      throw new MbokError('MBOK_SHAPE', `'packed' has ${packed.length} bytes, expected ${rows} × ${width}`);
    }
    const stride = rowBytes('bits', cols);
    if (stride === width) {
      matrix.write(packed);
      return matrix;
    }
    const bytes = new Uint8Array(rows * stride);
    const lastMask = cols % 8 === 0 ? 0xff : (1 << (cols % 8)) - 1;
    for (let row = 0; row < rows; row++) {
      bytes.set(packed.subarray(row * width, (row + 1) * width), row * stride);
      (bytes[row * stride + width - 1] as number) &= lastMask;
    }
    matrix.write(bytes);
    return matrix;
  }

  /** Returns rows of ceil(cols / 8) bytes, the layout of model files. */
  toPacked(): Uint8Array {
    const bytes = this.raw() as Uint8Array;
    const stride = rowBytes('bits', this.cols);
    const width = Math.ceil(this.cols / 8);
    const packed = new Uint8Array(this.rows * width);
    for (let row = 0; row < this.rows; row++) {
      packed.set(bytes.subarray(row * stride, row * stride + width), row * width);
    }
    return packed;
  }

  /** Returns +1 and −1, row by row. */
  toSigns(): Int8Array {
    const bytes = this.raw() as Uint8Array;
    const stride = rowBytes('bits', this.cols);
    const signs = new Int8Array(this.rows * this.cols);
    for (let row = 0; row < this.rows; row++) {
      for (let col = 0; col < this.cols; col++) {
        const byte = bytes[row * stride + (col >> 3)] as number;
        signs[row * this.cols + col] = (byte >> (col & 7)) & 1 ? 1 : -1;
      }
    }
    return signs;
  }

  /** Returns an independent copy. */
  override clone(): BitMatrix {
    const copy = new BitMatrix(this);
    copy.write(this.raw());
    return copy;
  }
}
