/** Matrices that one run of a graph makes. */

import type { Matrix } from '../native/matrix';
import { Graph, type Tensor } from './graph';
import { Plan } from './plan';

/**
 * Runs once what `emit` adds to a graph, and returns `matrix`, which that writes to; where it fails, the matrix is
 * disposed. Throws what the operations throw, MBOK_ABORTED, MBOK_OUT_OF_MEMORY.
 */
export async function filled<T extends Matrix>(
  matrix: T,
  emit: (graph: Graph, target: Tensor) => void,
  signal?: AbortSignal,
): Promise<T> {
  try {
    const graph = new Graph();
    emit(graph, graph.bind(matrix));
    await using plan = new Plan(graph);
    await plan.run({ signal });
    return matrix;
  } catch (error) {
    matrix.dispose();
    throw error;
  }
}
