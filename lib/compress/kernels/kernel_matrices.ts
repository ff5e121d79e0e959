/** The matrices of one linear layer as ±1 kernels with scales. */

import { MbokError } from '../../base/errors';
import type { Graph } from '../../graph/graph';
import type { KernelTensors } from '../../graph/operations/kernel_fit';
import { F16_PRECISION, type F16Rounding, LARGEST_F16_LOSS, roundToF16 } from '../../io/half';
import type { ParameterSpecification } from '../../models/family';
import { partsOf } from '../../models/parts';
import type { PartMatrix } from '../../models/stored_matrix';
import { BitMatrix } from '../../native/bit_matrix';
import { Matrix } from '../../native/matrix';
import { kernelsFormat } from '../../structures/kernels';

/** The kernels of one weight W [m, n]: W ≈ Σₖ diag(sOut[k]) · B[k] · diag(sIn[k]). */
export interface KernelMatrices {
  /** ±1 [K·m, n]; row i of kernel k is row k·m + i. */
  readonly kernels: BitMatrix;
  /** Output scales, f32 [K, m]. */
  readonly sOut: Matrix;
  /** Input scales, f32 [K, n]. */
  readonly sIn: Matrix;
}

/** Creates `count` zeroed kernels for a matrix [rows, cols]. */
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

/** Copies `count` kernels, beginning with kernel `first`. */
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

/** Copies the kernels of `a`, then those of `b`, into one set. */
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

/** Largest exponent of a power of two to try: F16 reaches from 2^-24 to 2^16, a factor of 2^40. */
const LARGEST_EXPONENT = 40;

/**
 * Rounds the scales of `module` to F16, the type in which they are saved. So later blocks are calibrated on the weights
 * that a reader of the file gets. Changes the matrices.
 *
 * If a kernel's scales do not fit F16, one set is multiplied by a power of two and the other divided by it. The
 * product, and so the weight, stays the same. A scale that still underflows becomes 0.
 *
 * Throws MBOK_NON_FINITE if a scale stays infinite, or if the weight changes by more than {@link LARGEST_F16_LOSS} of
 * its largest kernel's norm.
 */
export function roundScales(module: string, { sOut, sIn }: KernelMatrices): void {
  const [out, inputs] = [sOut.toFloat32(), sIn.toFloat32()];
  let [loss, largestNorm] = [0, 0];
  for (let k = 0; k < sOut.rows; k++) {
    const ofOutputs = out.subarray(k * sOut.cols, (k + 1) * sOut.cols);
    const ofInputs = inputs.subarray(k * sIn.cols, (k + 1) * sIn.cols);
    // ‖diag(sOut) B diag(sIn)‖
    const norm = length(ofOutputs) * length(ofInputs);
    const rounding = bestRounding(ofOutputs, ofInputs);
    ofOutputs.set(rounding.ofOutputs.values);
    ofInputs.set(rounding.ofInputs.values);
    loss += norm * lossOf(rounding);
    largestNorm = Math.max(largestNorm, norm);
  }
  // the comparison is negated so that NaN throws too
  if (!(loss <= LARGEST_F16_LOSS * largestNorm))
    throw new MbokError(
      'MBOK_NON_FINITE',
      `the scales of '${module}' are too large or too small for F16, or not numbers`,
    );
  sOut.write(out);
  sIn.write(inputs);
}

/** Computes ‖v‖. */
function length(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** The rounded scales of one kernel. */
interface KernelRounding {
  readonly ofOutputs: F16Rounding;
  readonly ofInputs: F16Rounding;
}

/**
 * Rounds the scales of one kernel after multiplying `ofOutputs` by a power of two and dividing `ofInputs` by it. Of the
 * powers it takes the one with the least loss, then with the fewest scales that underflow, then the nearest to 1.
 * Losses up to F16's normal rounding error count as equal.
 */
function bestRounding(ofOutputs: Float32Array, ofInputs: Float32Array): KernelRounding {
  const by = (power: number) => ({
    ofOutputs: roundToF16(ofOutputs, power),
    ofInputs: roundToF16(ofInputs, 1 / power),
  });
  let best = by(1);
  for (let exponent = 1; exponent <= LARGEST_EXPONENT; exponent++) {
    for (const power of [2 ** exponent, 2 ** -exponent]) {
      if (lossOf(best) <= 2 * F16_PRECISION && vanished(best) === 0) return best;
      const other = by(power);
      if (isBetter(other, best)) best = other;
    }
  }
  return best;
}

function isBetter(one: KernelRounding, other: KernelRounding): boolean {
  const [loss, otherLoss] = [Math.max(lossOf(one), 2 * F16_PRECISION), Math.max(lossOf(other), 2 * F16_PRECISION)];
  return loss < otherLoss || (loss === otherLoss && vanished(one) < vanished(other));
}

function lossOf({ ofOutputs, ofInputs }: KernelRounding): number {
  return ofOutputs.loss + ofInputs.loss;
}

function vanished({ ofOutputs, ofInputs }: KernelRounding): number {
  return ofOutputs.vanished + ofInputs.vanished;
}

/** Names the matrices of a weight, listed in the order of the structure's parts. */
export function kernelsOf([kernels, sOut, sIn]: readonly Matrix[]): KernelMatrices {
  return { kernels: kernels as BitMatrix, sOut: sOut as Matrix, sIn: sIn as Matrix };
}

/** Pairs each matrix with its part of the weight `owner` and the type in which it is saved. */
export function kernelParts(
  owner: ParameterSpecification,
  { kernels, sOut, sIn }: KernelMatrices,
): readonly PartMatrix[] {
  const parts = partsOf(owner, kernelsFormat(sOut.rows));
  const matrices = [kernels, sOut, sIn];
  return parts.map((part, i) => ({ part, matrix: matrices[i] as Matrix, storage: part.type ?? 'F16' }));
}
