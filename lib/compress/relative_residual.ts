/** The relative error of converted weights. */

import { Graph } from '../graph/graph';
import { add } from '../graph/operations/add';
import { gradientNorm } from '../graph/operations/training';
import { scale } from '../graph/operations/weighted_sum';
import { widen } from '../graph/operations/weights';
import { runOnce } from '../graph/plan';
import { nameInModule } from '../models/parts';
import type { Matrix } from '../native/matrix';
import { structureOf } from '../structures/registry';
import type { ConvertedWeight } from './converted';

/** Computes ‖W − Ŵ‖ / ‖W‖ for a `weight` in f32 or a 16-bit type; 0 for W = 0. */
export async function relativeResidual(
  weight: Matrix,
  { format, matrices }: Pick<ConvertedWeight, 'format' | 'matrices'>,
  signal: AbortSignal | undefined,
): Promise<number> {
  const graph = new Graph();
  const w = widen(graph.bind(weight));
  const rebuilt = graph.create(w);
  const parts = matrices.map(({ part, matrix }) => [nameInModule(part), graph.bind(matrix)] as const);
  structureOf(format).multiplyOut(Object.fromEntries(parts), rebuilt);
  graph.output('rest', gradientNorm([add(scale(rebuilt, -1), w)]));
  graph.output('whole', gradientNorm([w]));
  const { rest: errorNorm, whole: weightNorm } = await runOnce(graph, signal);
  const norm = weightNorm?.[0] as number;
  return norm === 0 ? 0 : (errorNorm?.[0] as number) / norm;
}

/** Lists the known residuals in the order of `modules`, and their mean; the mean of none is 0. */
export function residualReport(modules: readonly string[], residuals: ReadonlyMap<string, number>) {
  const ordered = modules.flatMap((module) => {
    const residual = residuals.get(module);
    return residual === undefined ? [] : [[module, residual] as const];
  });
  const sum = ordered.reduce((total, [, residual]) => total + residual, 0);
  return { residual: ordered.length === 0 ? 0 : sum / ordered.length, residuals: Object.fromEntries(ordered) };
}
