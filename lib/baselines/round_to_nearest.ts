/** Round to nearest: every weight becomes the nearest value of its group's grid. It needs no data. */

import { fitGrid, type GridSettings, nearest } from './grid';

/** Rounds `weight` to [rows, cols], row by row. Throws MBOK_NON_FINITE as {@link fitGrid}. */
export function roundToNearest(weight: Float32Array, cols: number, { bits, group }: GridSettings): Float32Array {
  const rounded = new Float32Array(weight.length);
  for (let row = 0; row < weight.length; row += cols) {
    for (let begin = row; begin < row + cols; begin += group) {
      const end = Math.min(begin + group, row + cols);
      const grid = fitGrid(weight, { begin, stride: 1, count: end - begin, bits });
      for (let at = begin; at < end; at++) rounded[at] = nearest(grid, weight[at] as number);
    }
  }
  return rounded;
}
