/** The matrices of one weight as a Boolean factor pair. */

import { MbokError } from '../../base/errors';
import type { Graph } from '../../graph/graph';
import { type F16Rounding, LARGEST_F16_LOSS, roundToF16 } from '../../io/half';
import type { ParameterSpecification } from '../../models/family';
import { partsOf } from '../../models/parts';
import type { PartMatrix } from '../../models/stored_matrix';
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
