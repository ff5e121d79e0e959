/** The matrices of one linear layer as ±1 kernels with scales. */

import { MbokError } from '../errors';
import type { Graph } from '../graph/graph';
import type { KernelTensors } from '../graph/operations/conversion';
import { f16ToF32, f32ToF16 } from '../io/half';
import type { StoredMatrix } from '../models/checkpoint';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';

/** W ≈ Σₖ diag(sOut[k]) · B[k] · diag(sIn[k]) for a matrix W [m, n]. */
export interface KernelMatrices {
  /** ±1 [K·m, n]: row i of kernel k is row k·m + i. */
  readonly kernels: BitMatrix;
  /** f32 [K, m]. */
  readonly sOut: Matrix;
  /** f32 [K, n]. */
  readonly sIn: Matrix;
}

/** Zeroed kernels for a matrix [rows, cols]. */
export function createKernels({ rows, cols }: { rows: number; cols: number }, count: number): KernelMatrices {
  return {
    kernels: new BitMatrix({ rows: count * rows, cols }),
    sOut: new Matrix({ rows: count, cols: rows }),
    sIn: new Matrix({ rows: count, cols }),
  };
}

export function bindKernels(graph: Graph, { kernels, sOut, sIn }: KernelMatrices): KernelTensors {
  return { kernels: graph.bind(kernels), sOut: graph.bind(sOut), sIn: graph.bind(sIn) };
}

export function cloneKernels({ kernels, sOut, sIn }: KernelMatrices): KernelMatrices {
  return { kernels: kernels.clone(), sOut: sOut.clone(), sIn: sIn.clone() };
}

/** A copy of `count` kernels from number `first` on. */
export function sliceKernels({ kernels, sOut, sIn }: KernelMatrices, first: number, count: number): KernelMatrices {
  const slice = createKernels({ rows: sOut.cols, cols: sIn.cols }, count);
  for (const [from, to] of [
    [kernels, slice.kernels],
    [sOut, slice.sOut],
    [sIn, slice.sIn],
  ] as const) {
    const bytes = new Uint8Array(to.byteLength);
    from.readAt((bytes.length / count) * first, bytes);
    to.write(bytes);
  }
  return slice;
}

/** A copy of the kernels of both, one after the other. */
export function joinKernels(a: KernelMatrices, b: KernelMatrices): KernelMatrices {
  const joined = createKernels({ rows: a.sOut.cols, cols: a.sIn.cols }, a.sOut.rows + b.sOut.rows);
  for (const part of ['kernels', 'sOut', 'sIn'] as const) {
    joined[part].writeAt(0, a[part].raw());
    joined[part].writeAt(a[part].byteLength, b[part].raw());
  }
  return joined;
}

export function disposeKernels({ kernels, sOut, sIn }: KernelMatrices): void {
  for (const matrix of [kernels, sOut, sIn]) matrix.dispose();
}

const F16_LARGEST = 65504;

/**
 * Rounds the scales of `module` to the F16 that they are saved in, so that later blocks are fitted to what will be read
 * again. Where F16 does not reach a kernel's input or output scales they are divided by a power of two, and its other
 * scales multiplied by it: the weights are the same. Throws MBOK_NON_FINITE where none fits both.
 */
export function roundScales(module: string, { sOut, sIn }: KernelMatrices): void {
  const [out, inputs] = [sOut.toFloat32(), sIn.toFloat32()];
  for (let k = 0; k < sOut.rows; k++) {
    const ofOutputs = out.subarray(k * sOut.cols, (k + 1) * sOut.cols);
    const ofInputs = inputs.subarray(k * sIn.cols, (k + 1) * sIn.cols);
    const power = excess(ofInputs) / excess(ofOutputs);
    if (power === 1) continue;
    for (let i = 0; i < ofOutputs.length; i++) ofOutputs[i] = (ofOutputs[i] as number) * power;
    for (let j = 0; j < ofInputs.length; j++) ofInputs[j] = (ofInputs[j] as number) / power;
  }
  for (const [matrix, values] of [
    [sOut, out],
    [sIn, inputs],
  ] as const) {
    const rounded = f16ToF32(f32ToF16(values));
    if (!rounded.every(Number.isFinite))
      throw new MbokError('MBOK_NON_FINITE', `the scales of '${module}' are not numbers that F16 holds`);
    matrix.write(rounded);
  }
}

/** The least power of two that brings all values into the range of F16, 1 where they are in it. */
function excess(values: Float32Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest > F16_LARGEST ? 2 ** Math.ceil(Math.log2(largest / F16_LARGEST)) : 1;
}

/** The entries of a converted module in a model: saved scales are F16. */
export function storedKernels(
  module: string,
  { kernels, sOut, sIn }: KernelMatrices,
): readonly (readonly [string, StoredMatrix])[] {
  return [
    [`${module}.${KERNELS}`, { matrix: kernels, storage: 'bits' }],
    [`${module}.${OUTPUT_SCALES}`, { matrix: sOut, storage: 'F16' }],
    [`${module}.${INPUT_SCALES}`, { matrix: sIn, storage: 'F16' }],
  ];
}
