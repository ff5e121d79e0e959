/** The matrices of one weight as a Boolean factor pair. */

import { MbokError } from '../../base/errors';
import type { Graph } from '../../graph/graph';
import { type F16Rounding, LARGEST_F16_LOSS, roundToF16 } from '../../io/half';
import type { ParameterSpecification } from '../../models/family';
import { partsOf } from '../../models/parts';
import type { PartMatrix } from '../../models/stored_matrix';
import { transposedBits } from '../../models/transposed';
import { BitMatrix } from '../../native/bit_matrix';
import { Matrix } from '../../native/matrix';
import type { FactorsFormat } from '../../structures/factors';

/** The pair of one weight W [m, n]: W ≈ diag(sOut) · A · diag(sMid) · B · diag(sIn). */
export interface PairMatrices {
  /** A, ±1 [m, r]. */
  readonly a: BitMatrix;
  /** B, ±1 [r, n]. */
  readonly b: BitMatrix;
  /** f32 [1, m]. */
  readonly sOut: Matrix;
  /** f32 [1, r]. */
  readonly sMid: Matrix;
  /** f32 [1, n]. */
  readonly sIn: Matrix;
}

/** Creates a zeroed pair for a matrix [rows, cols]. */
export function createPair(
  { rows, cols }: { readonly rows: number; readonly cols: number },
  rank: number,
): PairMatrices {
  return {
    a: new BitMatrix({ rows, cols: rank }),
    b: new BitMatrix({ rows: rank, cols }),
    sOut: new Matrix({ rows: 1, cols: rows }),
    sMid: new Matrix({ rows: 1, cols: rank }),
    sIn: new Matrix({ rows: 1, cols }),
  };
}

/** The tensors of a pair in a graph. */
export function bindPair(graph: Graph, { a, b, sOut, sMid, sIn }: PairMatrices) {
  return {
    a: graph.bind(a),
    b: graph.bind(b),
    sOut: graph.bind(sOut),
    sMid: graph.bind(sMid),
    sIn: graph.bind(sIn),
  };
}

export function clonePair({ a, b, sOut, sMid, sIn }: PairMatrices): PairMatrices {
  return { a: a.clone(), b: b.clone(), sOut: sOut.clone(), sMid: sMid.clone(), sIn: sIn.clone() };
}

/** Copies columns of A and rows of B, beginning with `first`, with all scales of rows and columns of W. */
export function slicePair({ a, b, sOut, sMid, sIn }: PairMatrices, first: number, count: number): PairMatrices {
  using columns = transposedBits(a.toPacked(), a);
  using ofA = rowsOf(columns, new BitMatrix({ rows: count, cols: a.rows }), first);
  return {
    a: transposedBits(ofA.toPacked(), ofA),
    b: rowsOf(b, new BitMatrix({ rows: count, cols: b.cols }), first),
    sOut: sOut.clone(),
    sMid: Matrix.from(sMid.toFloat32().subarray(first, first + count), { rows: 1, cols: count }),
    sIn: sIn.clone(),
  };
}

/** Fills `slice` with rows of `matrix` from row `first` on, and returns it. */
function rowsOf(matrix: BitMatrix, slice: BitMatrix, first: number): BitMatrix {
  const bytes = new Uint8Array(slice.byteLength);
  matrix.readAt((matrix.byteLength / matrix.rows) * first, bytes);
  slice.write(bytes);
  return slice;
}

/**
 * Joins the columns of A and the rows of B of two pairs. sOut and sIn are those of `p`; the difference of their means goes
 * to the sMid of `q`.
 */
export function joinPairs(p: PairMatrices, q: PairMatrices): PairMatrices {
  using ofP = transposedBits(p.a.toPacked(), p.a);
  using ofQ = transposedBits(q.a.toPacked(), q.a);
  using columns = stacked(ofP, ofQ);
  const size = mean(p.sOut) * mean(p.sIn);
  const ratio = size > 0 ? (mean(q.sOut) * mean(q.sIn)) / size : 0;
  const sMid = [...p.sMid.toFloat32(), ...q.sMid.toFloat32().map((value) => value * ratio)];
  return {
    a: transposedBits(columns.toPacked(), columns),
    b: stacked(p.b, q.b),
    sOut: p.sOut.clone(),
    sMid: Matrix.from(Float32Array.from(sMid), { rows: 1, cols: sMid.length }),
    sIn: p.sIn.clone(),
  };
}

function mean(scales: Matrix): number {
  return scales.toFloat32().reduce((sum, value) => sum + value, 0) / scales.cols;
}

/** Copies the rows of `above`, then those of `below`. */
function stacked(above: BitMatrix, below: BitMatrix): BitMatrix {
  const all = new BitMatrix({ rows: above.rows + below.rows, cols: above.cols });
  all.writeAt(0, above.raw());
  all.writeAt(above.byteLength, below.raw());
  return all;
}

/** Names the matrices of a pair, listed in the order of the structure's parts. */
export function pairOf([a, b, sOut, sMid, sIn]: readonly Matrix[]): PairMatrices {
  return { a, b, sOut, sMid, sIn } as PairMatrices;
}

export function disposePair({ a, b, sOut, sMid, sIn }: PairMatrices): void {
  for (const matrix of [a, b, sOut, sMid, sIn]) matrix.dispose();
}

/**
 * Rounds the scales of `module` to F16, the type in which they are saved, so later blocks are calibrated on the weights
 * that a reader of the file gets. Throws MBOK_NON_FINITE if they do not fit.
 */
export function roundPairScales(module: string, { sOut, sMid, sIn }: PairMatrices): void {
  const roundings = [sOut, sMid, sIn].map((matrix): [Matrix, F16Rounding] => [matrix, roundToF16(matrix.toFloat32())]);
  const loss = roundings.reduce((sum, [, rounding]) => sum + rounding.loss, 0);
  // the comparison is negated so that NaN throws too
  if (!(loss <= LARGEST_F16_LOSS))
    throw new MbokError(
      'MBOK_NON_FINITE',
      `the scales of '${module}' are too large or too small for F16, or not numbers`,
    );
  for (const [matrix, { values }] of roundings) matrix.write(values);
}

/** Pairs each matrix with its part of the weight `owner` and the type in which it is saved. */
export function pairParts(
  owner: ParameterSpecification,
  format: FactorsFormat,
  pair: PairMatrices,
): readonly PartMatrix[] {
  const matrices = [pair.a, pair.b, pair.sOut, pair.sMid, pair.sIn];
  return partsOf(owner, format).map((part, i) => ({
    part,
    matrix: matrices[i] as Matrix,
    storage: part.type ?? 'F16',
  }));
}
