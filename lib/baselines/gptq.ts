/**
 * GPTQ (arXiv 2210.17323, algorithm 1). It rounds columns in order. The error that a column causes in the layer's
 * outputs is compensated by the later columns.
 */

import { Graph } from '../graph/graph';
import { accumulateGram } from '../graph/operations/kernel_fit';
import { Plan } from '../graph/plan';
import { Matrix } from '../native/matrix';
import { fitGrid, type Grid, type GridSettings, nearest } from './grid';
import type { InputFactor } from './input_factor';

/** Columns whose errors reach the later columns in one matrix product (the B of the paper). */
const BLOCK = 128;

/**
 * Rounds `weight` to [rows, cols], row by row. A group is `group` consecutive columns of `inputs.order`. Its grids are
 * fitted to the current weights when its first column is reached.
 *
 * Blocks end where groups end, so that a new group sees all earlier errors. The authors' code fits every group inside a
 * block of 128 to the weights at the start of the block. Both agree if `group` is a multiple of 128.
 *
 * Throws MBOK_NON_FINITE as {@link fitGrid}, MBOK_ABORTED, MBOK_OUT_OF_MEMORY.
 */
export async function gptq(
  weight: Float32Array,
  inputs: InputFactor,
  { bits, group }: GridSettings,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const cols = inputs.order.length;
  const rows = weight.length / cols;
  const remaining = Matrix.from(columnsInOrder(weight, inputs), { rows: cols, cols: rows });
  try {
    const graph = new Graph();
    const u = graph.input('u', { rows: 'tokens', cols });
    const errors = graph.input('errors', { rows: 'tokens', cols: rows });
    accumulateGram(u, errors, graph.bind(remaining, 'state'));
    await using plan = new Plan(graph, { maxRows: Math.min(BLOCK, cols) });
    const rounded = new Float32Array(weight.length);
    let grids: readonly Grid[] = [];
    for (let begin = 0; begin < cols; ) {
      const groupEnd = Math.min(cols, (Math.floor(begin / group) + 1) * group);
      if (begin % group === 0) grids = fitGrids(readRows(remaining, begin, groupEnd), rows, bits);
      const end = Math.min(groupEnd, begin + BLOCK);
      const block = { columns: readRows(remaining, begin, end), u: readRows(inputs.factor, begin, end), begin };
      const blockErrors = roundBlock(block, grids, rounded, inputs.order);
      if (end < cols) {
        await plan.run({ inputs: { u: block.u, errors: blockErrors }, scalars: { rows: end - begin }, signal });
      }
      begin = end;
    }
    return rounded;
  } finally {
    remaining.dispose();
  }
}

/** Returns the weights column by column [cols, rows], in order. Dead columns become 0. */
function columnsInOrder(weight: Float32Array, { order, dead }: InputFactor): Float32Array {
  const [cols, rows] = [order.length, weight.length / order.length];
  const columns = new Float32Array(weight.length);
  order.forEach((col, place) => {
    if (dead.has(col)) return;
    for (let row = 0; row < rows; row++) columns[place * rows + row] = weight[row * cols + col] as number;
  });
  return columns;
}

function readRows(matrix: Matrix, begin: number, end: number): Float32Array {
  const values = new Float32Array((end - begin) * matrix.cols);
  matrix.readAt(begin * matrix.cols * Float32Array.BYTES_PER_ELEMENT, values);
  return values;
}

/** Fits the grid of every row of the layer to columns [count, rows]. */
function fitGrids(columns: Float32Array, rows: number, bits: number): readonly Grid[] {
  const count = columns.length / rows;
  return Array.from({ length: rows }, (_, begin) => fitGrid(columns, { begin, stride: rows, count, bits }));
}

/**
 * Rounds the columns [count, rows] of one group in turn, with compensation inside the block, into `rounded` [rows,
 * cols]. The first column has index `begin` in `order` and row 0 of `u` [count, cols]. Returns −(w − ŵ) / U_jj of every
 * column [count, rows].
 */
function roundBlock(
  { columns, u, begin }: { columns: Float32Array; u: Float32Array; begin: number },
  grids: readonly Grid[],
  rounded: Float32Array,
  order: Int32Array,
): Float32Array {
  const [cols, rows] = [order.length, grids.length];
  const errors = new Float32Array(columns.length);
  const count = columns.length / rows;
  for (let j = 0; j < count; j++) {
    const offset = j * rows;
    const reach = u[j * cols + begin + j] as number;
    for (let row = 0; row < rows; row++) {
      const value = nearest(grids[row] as Grid, columns[offset + row] as number);
      rounded[row * cols + (order[begin + j] as number)] = value;
      errors[offset + row] = (value - (columns[offset + row] as number)) / reach;
    }
    for (let later = j + 1; later < count; later++) {
      const share = u[j * cols + begin + later] as number;
      const laterOffset = later * rows;
      for (let row = 0; row < rows; row++) {
        columns[laterOffset + row] = (columns[laterOffset + row] as number) + share * (errors[offset + row] as number);
      }
    }
  }
  return errors;
}
