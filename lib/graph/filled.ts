/** Matrices that a single run of a graph computes. */

import type { Matrix } from '../native/matrix';
import { Graph, type Tensor } from './graph';
import { runOnce } from './plan';

/**
 * Runs the operations that `emit` adds once and returns `matrix`, which they write. Disposes `matrix` on failure.
 * Throws the errors of the operations, MBOK_ABORTED, MBOK_OUT_OF_MEMORY.
 */
export async function filled<T extends Matrix>(
  matrix: T,
  emit: (graph: Graph, target: Tensor) => void,
  signal?: AbortSignal,
): Promise<T> {
  try {
    const graph = new Graph();
    emit(graph, graph.bind(matrix));
    await runOnce(graph, signal);
    return matrix;
  } catch (error) {
    matrix.dispose();
    throw error;
  }
}
