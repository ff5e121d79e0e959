/** Where the tensors of a checkpoint are read from, whatever the format of its files. */

import type { Matrix } from '../native/matrix';

/**
 * Element types that a tensor can be read as: at least its own, and f32 where it holds real numbers. 'q8' is the own type of
 * U8 tensors that hold the rows of such a matrix, and of some block formats of GGUF.
 */
export type ReadType = 'f32' | 'f16' | 'bf16' | 'i8' | 'q8';

/** A tensor as a file stores it. */
export interface WeightEntry {
  readonly name: string;
  /** F32, F16, BF16, U8, …, or a block format of GGUF such as Q4_1. */
  readonly dtype: string;
  /** Row-major; empty for a scalar. */
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** Bytes that the tensor takes in the file where it is presented in another way than it is stored. */
  readonly storedBytes?: number;
  /**
   * Whether the blocks of a GGUF tensor can be read as 'q8'. They lie along the inputs of a layer: the matrix is [outputs,
   * inputs] even where the tensor is presented the other way round.
   */
  readonly isQ8?: boolean;
}

/**
 * An open checkpoint: one safetensors file, several with an index, or a GGUF file, by Hugging Face tensor names. Tensors
 * are read by position, never mapped: a file that is truncated while it is open gives an error, not a dead process.
 */
export interface WeightReader extends AsyncDisposable {
  /** For messages. */
  readonly path: string;
  /** Of all files together, headers included. */
  readonly byteLength: number;
  /** What there is, by name. */
  readonly tensors: ReadonlyMap<string, WeightEntry>;
  /**
   * The bytes of a tensor as stored (little endian), or only the first `length` of them. Throws MBOK_FORMAT (no such
   * tensor, truncated since), MBOK_IO.
   */
  read(name: string, length?: number): Promise<Uint8Array>;
  /**
   * A tensor as a matrix of the given element type; vectors have one row. Besides the matrix a piece of some megabytes is
   * in memory. Throws MBOK_NON_FINITE where a number is NaN or infinite in that type, MBOK_UNSUPPORTED where the tensor
   * cannot be read so, MBOK_OUT_OF_MEMORY; else as `read`. The caller owns the matrix.
   */
  readMatrix(name: string, type: ReadType): Promise<Matrix>;
  /** A tensor of numbers as f32. Throws MBOK_UNSUPPORTED for types that do not stand for real numbers; else as `read`. */
  readF32(name: string): Promise<Float32Array>;
  /** Closes the files; further reads fail. Closing twice is allowed. */
  close(): Promise<void>;
}
