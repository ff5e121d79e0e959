/** Reader of a checkpoint's tensors, independent of the file format. */

import type { Matrix } from '../native/matrix';

/**
 * Element types that a tensor can be read as. Every tensor can be read as its stored type, and as f32 if it holds real
 * numbers. 'q8' is the stored type of U8 tensors that hold rows of q8 matrices, and of some block formats of GGUF.
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
  /** Bytes in the file, if the tensor is presented in another layout than the stored one. */
  readonly storedBytes?: number;
  /**
   * Whether the blocks of a GGUF tensor can be read as 'q8'. Blocks lie along the inputs of a layer, so the matrix is
   * [outputs, inputs] even if the tensor is presented transposed.
   */
  readonly isQ8?: boolean;
}

/**
 * An open checkpoint: one safetensors file, several with an index, or a GGUF file, with Hugging Face tensor names.
 * Tensors are read by position, never mapped. Truncating a file while it is open gives an error and does not kill the
 * process.
 */
export interface WeightReader extends AsyncDisposable {
  /** Path, for messages. */
  readonly path: string;
  /** Bytes of all files together, headers included. */
  readonly byteLength: number;
  /** Tensors by name. */
  readonly tensors: ReadonlyMap<string, WeightEntry>;
  /**
   * Reads the bytes of a tensor as stored (little endian), or only the first `length` of them. Throws MBOK_FORMAT if
   * there is no such tensor or the file was truncated meanwhile, MBOK_IO.
   */
  read(name: string, length?: number): Promise<Uint8Array>;
  /**
   * Reads a tensor into a matrix of element type `type`; vectors become one row. Besides the matrix it needs a few
   * megabytes. The caller owns the matrix.
   *
   * Throws MBOK_NON_FINITE if a value is NaN or infinite in that type, MBOK_UNSUPPORTED if the tensor cannot be read
   * so, MBOK_OUT_OF_MEMORY; else as `read`.
   */
  readMatrix(name: string, type: ReadType): Promise<Matrix>;
  /** Reads a tensor of real numbers as f32. Throws MBOK_UNSUPPORTED for other data types; else as `read`. */
  readF32(name: string): Promise<Float32Array>;
  /** Closes the files; later reads fail. A second call does nothing. */
  close(): Promise<void>;
}
