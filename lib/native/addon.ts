/**
 * The native add-on as one TypeScript type. Each entry states parameters, units, memory ownership and errors. No other
 * file in lib calls the binary directly. Native errors carry a `code`, and {@link rethrow} converts them to MbokErrors.
 */

import { MbokError, type MbokErrorCode } from '../base/errors';
import { loadBinary } from './load_addon';

/** Element types of a plan's tensors. The numbers are those of native/runtime/tensor.h. */
export const TENSOR_TYPES = { f32: 0, i32: 1, f16: 2, bf16: 3, bits: 4, u8: 5, i8: 6, bitTiles: 7, q8: 8 } as const;
export type TensorType = keyof typeof TENSOR_TYPES;

/** Numbers that may change between runs, in the order of `Scalars` in native/runtime/operation.h. */
export const SCALARS = [
  'rows',
  'sequenceLength',
  'position',
  'lossScale',
  'flipRate',
  'learningRate',
  'step',
  'microBatches',
  'first',
  'last',
  'pathRows',
] as const;
export type ScalarName = (typeof SCALARS)[number];

/** Micro-batches of an optimizer step in which an operation runs. The numbers are those of native/plan/plan.h. */
export const PHASES = { always: 0, first: 1, last: 2 } as const;
export type Phase = keyof typeof PHASES;

/**
 * Zeroed native memory, aligned to 64 bytes. It is freed by `dispose()` or by the garbage collector. Plans that use it
 * keep it alive.
 */
export interface NativeBuffer {
  /** 0 after disposal. */
  readonly byteLength: number;
  /**
   * Copies all of `source` into the buffer. Throws MBOK_INVALID_ARGUMENT if it would end past the buffer,
   * MBOK_DISPOSED.
   */
  write(source: NodeJS.TypedArray, byteOffset: number): void;
  /** Fills all of `target` from the buffer. Throws as `write`. */
  read(target: NodeJS.TypedArray, byteOffset: number): void;
  dispose(): void;
}

export interface NativeTensor {
  /** Null: the tensor lies in the plan's arena. */
  readonly buffer: NativeBuffer | null;
  /** Offset in bytes, a multiple of 64. */
  readonly offset: number;
  /** −1: one row per token of the run. */
  readonly rows: number;
  readonly cols: number;
  readonly type: number;
}

export interface NativeOperation {
  readonly name: string;
  /** Indices into the plan's tensors; −1 for an omitted optional tensor. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly attributes: readonly number[];
  readonly phase: number;
}

export interface NativePlanDescription {
  readonly arenaBytes: number;
  readonly maxRows: number;
  readonly tensors: readonly NativeTensor[];
  readonly operations: readonly NativeOperation[];
}

export interface NativePlan {
  /** Bytes of scratch memory, shared by the operations and allocated with the plan. */
  readonly scratchBytes: number;
  /** Returns the seconds spent in each operation by all runs so far. Throws MBOK_BUSY during a run, MBOK_DISPOSED. */
  seconds(): Float64Array;
  /**
   * Runs all operations on a worker thread. Resolves to true when completed, to false when aborted in time. Throws
   * MBOK_BUSY during a run, MBOK_DISPOSED. Rejects with the code of the operation that failed.
   */
  run(scalars: Float64Array): Promise<boolean>;
  /**
   * Asks the current run to stop before its next operation. It has no effect once the run has begun to update state.
   */
  abort(): void;
  /** Frees the plan's memory, after the current run if there is one. */
  dispose(): void;
}

export interface NativeInfo {
  readonly cpu: string;
  readonly isa: 'scalar' | 'avx2' | 'avxvnni' | 'avx512' | 'amx' | 'neon' | 'dotprod' | 'i8mm';
  readonly threads: number;
  /** Name of the selected implementation of each kernel function. */
  readonly kernels: Readonly<Record<string, string>>;
  /**
   * Largest number of rows for which a multi-Boolean product looks up its bits, for 1, 2, … 8 kernels. For more rows
   * the weights are rebuilt.
   */
  readonly decodedRows: Readonly<Record<'f32' | 'bf16' | 'int8', readonly number[]>>;
  /** Up to how many rows a dense product streams its weights; one of ±1 in rows of bits streams for no more than these. */
  readonly streamedRows: number;
}

export interface NativeAddon {
  /** Throws MBOK_OUT_OF_MEMORY. */
  readonly NativeBuffer: new (
    bytes: number,
  ) => NativeBuffer;
  /** Throws MBOK_INVALID_ARGUMENT or MBOK_SHAPE where operations and tensors do not fit together. */
  readonly NativePlan: new (
    description: NativePlanDescription,
  ) => NativePlan;
  info(): NativeInfo;
  /**
   * Reduces consecutive runs of `run` logits each, for sampling.
   *
   * `largest[i]` becomes the largest logit of run i. `weights[i]` becomes the sum of exp((logit − largest[i]) ·
   * factor): 0 if all are −∞, NaN if one is NaN. Throws MBOK_INVALID_ARGUMENT unless both arrays have one element per
   * run.
   */
  weigh(logits: Float32Array, run: number, factor: number, largest: Float32Array, weights: Float32Array): void;
}

let loaded: NativeAddon | undefined;

/** Returns the add-on and loads it at first use. Throws MBOK_NATIVE_MISSING if no binary fits this platform. */
export function addon(): NativeAddon {
  loaded ??= loadBinary() as NativeAddon;
  return loaded;
}

/** Throws `error` as an MbokError if it carries an MBOK_ code of the add-on, otherwise unchanged. */
export function rethrow(error: unknown): never {
  if (!(error instanceof MbokError) && typeof error === 'object' && error !== null) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (typeof code === 'string' && code.startsWith('MBOK_')) {
      throw new MbokError(code as MbokErrorCode, String(message), { cause: error });
    }
  }
  throw error;
}

/** Calls the add-on and converts its errors. */
export function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    rethrow(error);
  }
}
