/** Conversion of weights of any structure to f32. */

import { filled } from '../graph/filled';
import { widenInto } from '../graph/operations/weights';
import { Matrix } from '../native/matrix';
import { structureOf } from '../structures/registry';
import type { LayerFormat } from '../structures/structure';
import type { ParameterSpecification } from './family';
import { isWeight, nameInModule, partsOf } from './parts';

/** Copies real numbers to f32. Dispose the result. */
export async function widened(weight: Matrix, signal?: AbortSignal): Promise<Matrix> {
  const wide = new Matrix({ rows: weight.rows, cols: weight.cols });
  return filled(wide, (graph, target) => widenInto(target, graph.bind(weight)), signal);
}

/** Computes a tensor of the architecture in f32 [rows, cols] from its parts. Dispose it. */
export async function multipliedOut(
  owner: ParameterSpecification,
  format: LayerFormat | undefined,
  parameters: ReadonlyMap<string, Matrix>,
): Promise<Matrix> {
  const { name, rows, cols } = owner;
  if (!isWeight(owner)) return widened(parameters.get(name) as Matrix);
  return filled(new Matrix({ rows, cols }), (graph, dense) => {
    const parts = partsOf(owner, format).filter(({ ofPrefix }) => !ofPrefix);
    const bound = parts.map((part) => [nameInModule(part), graph.bind(parameters.get(part.name) as Matrix)] as const);
    structureOf(format).multiplyOut(Object.fromEntries(bound), dense);
  });
}

/**
 * Calls `use` with the matrix in f32: the matrix itself if it is f32, otherwise a copy that is freed after the call.
 */
export async function withWidened<T>(
  weight: Matrix,
  signal: AbortSignal | undefined,
  use: (wide: Matrix) => Promise<T>,
): Promise<T> {
  if (weight.type === 'f32') return await use(weight);
  const wide = await widened(weight, signal);
  try {
    return await use(wide);
  } finally {
    wide.dispose();
  }
}
