/** Weights of any element type as f32, for the few things that need one matrix so. */

import { filled } from '../graph/filled';
import { widenInto } from '../graph/operations/weights';
import { Matrix } from '../native/matrix';

/** A copy in f32; of an i8 matrix its `scales` [rows, 1] are needed. Dispose it. */
export async function widened(weight: Matrix, scales?: Matrix, signal?: AbortSignal): Promise<Matrix> {
  const wide = new Matrix({ rows: weight.rows, cols: weight.cols });
  return filled(wide, (graph, target) => widenInto(target, graph.bind(weight), scales && graph.bind(scales)), signal);
}

/** Calls `use` with the matrix in f32: itself where it is, else a copy that lives as long as the call. */
export async function withWidened<T>(
  weight: Matrix,
  signal: AbortSignal | undefined,
  use: (wide: Matrix) => Promise<T>,
): Promise<T> {
  if (weight.type === 'f32') return await use(weight);
  const wide = await widened(weight, undefined, signal);
  try {
    return await use(wide);
  } finally {
    wide.dispose();
  }
}
