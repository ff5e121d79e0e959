/**
 * The native add-on as one TypeScript type. Each entry states parameters, units, who owns the memory and what it
 * throws; nothing else in lib touches the binary. Native errors carry a `code`; {@link rethrow} makes them MbokErrors.
 */

import { MbokError, type MbokErrorCode } from '../base/errors';
import { loadBinary } from './load_addon';

/** Element types of a plan's tensors; the numbers are those of native/runtime/tensor.h. */
export const TENSOR_TYPES = { f32: 0, i32: 1, f16: 2, bf16: 3, bits: 4, u8: 5, i8: 6, bitTiles: 7, q8: 8 } as const;
export type TensorType = keyof typeof TENSOR_TYPES;

/** Numbers that may differ from run to run, in the order of `Scalars` in native/runtime/operation.h. */
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
] as const;
export type ScalarName = (typeof SCALARS)[number];

/** When an operation runs within an optimizer step; the numbers are those of native/plan/plan.h. */
export const PHASES = { always: 0, first: 1, last: 2 } as const;
export type Phase = keyof typeof PHASES;

/** Zeroed native memory, aligned to 64 bytes. Freed by `dispose()`, or when collected; plans that use it keep it alive. */
export interface NativeBuffer {
  /** 0 after disposal. */
  readonly byteLength: number;
  /** Copies all of `source` into the buffer. Throws MBOK_INVALID_ARGUMENT past its end, MBOK_DISPOSED. */
  write(source: NodeJS.TypedArray, byteOffset: number): void;
  /** Fills all of `target` from the buffer. Throws as `write`. */
  read(target: NodeJS.TypedArray, byteOffset: number): void;
  dispose(): void;
}

export interface NativeTensor {
  /** Null: in the plan's own arena. */
  readonly buffer: NativeBuffer | null;
  /** Bytes, a multiple of 64. */
  readonly offset: number;
  /** −1: as many rows as the run has tokens. */
  readonly rows: number;
  readonly cols: number;
  readonly type: number;
}

export interface NativeOperation {
  readonly name: string;
  /** Indices into the plan's tensors; −1 for an optional tensor left out. */
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
  /** Bytes of scratch shared by the operations, allocated with the plan. */
  readonly scratchBytes: number;
  /** Seconds spent in each operation by all runs so far. Throws MBOK_BUSY while a run is in flight and MBOK_DISPOSED. */
  seconds(): Float64Array;
  /**
   * Runs all operations on a worker thread. Resolves to true when completed, to false when aborted in time. Throws
   * MBOK_BUSY while a run is in flight and MBOK_DISPOSED; rejects with the code of the operation that failed.
   */
  run(scalars: Float64Array): Promise<boolean>;
  /** Asks the run in flight to stop before its next operation; no effect once it has begun to update state. */
  abort(): void;
  /** Frees the plan's memory, after the run in flight if there is one. */
  dispose(): void;
}

export interface NativeInfo {
  readonly cpu: string;
  readonly isa: 'scalar' | 'avx2' | 'avxvnni' | 'avx512' | 'amx' | 'neon' | 'dotprod' | 'i8mm';
  readonly threads: number;
  /** Which candidate serves each kernel function. */
  readonly kernels: Readonly<Record<string, string>>;
  /** Up to how many rows a multi-Boolean product looks up its bits, by 1, 2, … 8 kernels; for more, weights are rebuilt. */
  readonly decodedRows: Readonly<Record<'f32' | 'bf16' | 'int8', readonly number[]>>;
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
   * Looks at logits in runs of `run`: `largest[i]` becomes the largest of the i-th, `weights[i]` the sum of its
   * exp((logit − largest[i]) · factor), 0 where all are −∞ and NaN where one is NaN. Throws MBOK_INVALID_ARGUMENT unless both
   * have an element for each run.
   */
  weigh(logits: Float32Array, run: number, factor: number, largest: Float32Array, weights: Float32Array): void;
}

let loaded: NativeAddon | undefined;

/** The add-on, loaded at first use. Throws MBOK_NATIVE_MISSING where no binary fits this platform. */
export function addon(): NativeAddon {
  loaded ??= loadBinary() as NativeAddon;
  return loaded;
}

/** Throws `error` as an MbokError if it came from the add-on (it carries an MBOK_ code), else as it is. */
export function rethrow(error: unknown): never {
  if (!(error instanceof MbokError) && typeof error === 'object' && error !== null) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (typeof code === 'string' && code.startsWith('MBOK_')) {
      throw new MbokError(code as MbokErrorCode, String(message), { cause: error });
    }
  }
  throw error;
}

/** Calls the add-on and maps its errors. */
export function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    rethrow(error);
  }
}
