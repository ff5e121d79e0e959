/** Matrices that never change. They belong to the process and are never disposed. */

import { Matrix } from '../native/matrix';
import type { Graph, Tensor } from './graph';

const ONES = new Map<number, Matrix>();

/** Returns the tensor [1, cols] of ones. */
export function constantOnes(graph: Graph, cols: number): Tensor {
  const ones = ONES.get(cols) ?? Matrix.from(new Float32Array(cols).fill(1), { rows: 1, cols });
  ONES.set(cols, ones);
  return graph.bind(ones);
}
