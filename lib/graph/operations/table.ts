/** Tables with a row per token, for embedding and head. */

import { type BooleanOptimizerState, matrixShape, type Shape, type Tensor } from '../graph';
import { expectShape, expectWeights } from '../operation';
import { tiledRows } from './arrange_bits';
import { linear } from './linear';
import { multiBooleanLinear } from './multi_boolean_linear';

/** Rows of ±1 kernels: Σₖ diag(sOut[k]) · kernels[k] · diag(sIn[k]). */
export interface BooleanRows<T extends Shape = Tensor> {
  /** ±1 [K·B, h], or tiles, which have no gradient. */
  readonly kernels: T;
  /** f32 [K, B]. */
  readonly sOut: T;
  /** f32 [K, h]. */
  readonly sIn: T;
}

/**
 * A table [vocabulary, h] of dense rows, of Boolean rows, or of both. With both, `marks` ±1 [1, vocabulary] is +1 for
 * each token whose row is dense; their number is a multiple of 64. Either class has its rows in the order of the tokens.
 */
export interface Table<T extends Shape = Tensor> {
  /** Dense rows, of a type that {@link linear} accepts. */
  readonly weights?: T | undefined;
  /** Scales of i8 weights; undefined for other types. */
  readonly scales?: T | undefined;
  readonly boolean?: BooleanRows<T> | undefined;
  readonly marks?: T | undefined;
}

/** Returns the shape of all rows. Throws MBOK_SHAPE if the parts do not fit together. */
export function expectTable(operation: string, { weights, scales, boolean, marks }: Table<Shape>): Shape {
  if (boolean === undefined) return expectWeights(operation, 'table', weights, scales);
  const { rows: count, cols: rows } = expectShape(operation, 'sOut', boolean.sOut, {});
  const { cols } = expectShape(operation, 'sIn', boolean.sIn, { rows: count });
  const { type } = boolean.kernels;
  const bitRows = type === 'bitTiles' ? tiledRows(count as number, rows) : (count as number) * rows;
  expectShape(operation, 'kernels', boolean.kernels, {
    rows: bitRows,
    cols,
    type: type === 'bitTiles' ? type : 'bits',
  });
  if (weights === undefined) return matrixShape(rows, cols);
  const dense = expectWeights(operation, 'table', weights, scales, { cols });
  const vocabulary = (dense.rows as number) + rows;
  expectShape(operation, 'marks', marks, { rows: 1, cols: vocabulary, type: 'bits' });
  return matrixShape(vocabulary, cols);
}

/** Lists the inputs of a table's Boolean rows, in the order of native operations. */
export function booleanInputs({ boolean, marks }: Table): readonly (Tensor | undefined)[] {
  return [boolean?.kernels, boolean?.sOut, boolean?.sIn, marks];
}

/** Returns x [rows, h] times the table transposed, in the order of the tokens: [rows, vocabulary]. */
export function tableProduct(x: Tensor, { weights, scales, boolean, marks }: Table): Tensor {
  const dense = weights && linear(x, weights, undefined, scales);
  const ofKernels = boolean && multiBooleanLinear(x, boolean.kernels, boolean.sOut, boolean.sIn);
  if (dense === undefined || ofKernels === undefined) return (dense ?? ofKernels) as Tensor;
  const y = x.graph.create(matrixShape(x.rows, dense.cols + ofKernels.cols));
  x.graph.emit('vocabulary_order', [dense, ofKernels, marks], [y]);
  return y;
}

/**
 * Emits the step of Boolean rows from their gradient g [B, h]: adds to the gradients of their scales, and moves bits
 * as the optimizer says. Emit it after all gradients, because it changes the bits.
 */
export function tableUpdate(
  g: Tensor,
  { kernels, sOut, sIn }: BooleanRows,
  { ofSOut, ofSIn }: { readonly ofSOut: Tensor | undefined; readonly ofSIn: Tensor | undefined },
  optimizer: BooleanOptimizerState | undefined,
): void {
  const state = optimizer && [
    kernels,
    optimizer.accumulator,
    optimizer.rowStatistics,
    optimizer.columnStatistics,
    optimizer.state,
  ];
  const settings = optimizer?.settings ?? [0, 0, 0, 0, 0];
  g.graph.emit('table_update', [g, kernels, sOut, sIn], [ofSOut, ofSIn, ...(state ?? [])], settings);
}

/** Emits all rows in f32, in the order of the tokens, to `dense` [vocabulary, h]. */
export function tableInto(dense: Tensor, table: Table): void {
  dense.graph.emit('embedding', [table.weights, undefined, table.scales, ...booleanInputs(table)], [dense]);
}
