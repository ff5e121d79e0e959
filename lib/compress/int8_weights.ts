/** Weights in 8 bits with one scale a row: embeddings and head, which on small models are most of the file, and linear layers. */

import { MbokError } from '../errors';
import { Graph } from '../graph/graph';
import { quantiseInt8 } from '../graph/operations/weights';
import { Plan } from '../graph/plan';
import type { PlacedMatrix } from '../models/checkpoint';
import type { ParameterSpecification } from '../models/family';
import { type ModelPart, moduleOf, partsOf } from '../models/parts';
import { Matrix } from '../native/matrix';
import type { Parameters } from '../nn/builder';
import { INT8 } from '../structures/int8';
import { type ConvertedWeights, collected } from './converted';

/** ‖W − Ŵ‖ / ‖W‖ that only scales can cause that F16 does not hold: below 2^-25 they vanish, at 65504 they end. */
const LARGEST_ERROR = 0.5;

/** Where weights are read from, one at a time. */
export interface RealWeights {
  readonly specifications: readonly ParameterSpecification[];
  borrow(specifications: readonly ParameterSpecification[]): Promise<{ parameters: Parameters; release(): void }>;
}

/** The named weights in 8 bits. Throws MBOK_NON_FINITE, MBOK_ABORTED and as `borrow`. */
export async function quantiseWeights(
  source: RealWeights,
  names: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<ConvertedWeights> {
  return await collected(async (weights) => {
    for (const owner of source.specifications) {
      const { name } = owner;
      if (!names.has(name)) continue;
      const { parameters, release } = await source.borrow([owner]);
      try {
        const { numbers, scales, error } = await quantise(name, parameters.get(name) as Matrix, signal);
        const [ofNumbers, ofScales] = partsOf(owner, INT8) as [ModelPart, ModelPart];
        const matrices: readonly PlacedMatrix[] = [
          { part: ofNumbers, matrix: numbers, storage: 'I8' },
          { part: ofScales, matrix: scales, storage: 'F16' },
        ];
        weights.set(moduleOf(name), { format: INT8, matrices, residual: error });
      } finally {
        release();
      }
    }
  });
}

/** numbers i8 · scales f32 [rows, 1] ≈ weight, of f32 or 16 bits. */
async function quantise(
  name: string,
  weight: Matrix,
  signal: AbortSignal | undefined,
): Promise<{ numbers: Matrix; scales: Matrix; error: number }> {
  const { rows, cols } = weight;
  const numbers = new Matrix({ rows, cols, type: 'i8' });
  const scales = new Matrix({ rows, cols: 1 });
  try {
    const graph = new Graph();
    graph.output('error', quantiseInt8(graph.bind(weight), graph.bind(numbers), graph.bind(scales)));
    await using plan = new Plan(graph);
    const error = (await plan.run({ signal })).error?.[0] as number;
    if (error > LARGEST_ERROR)
      throw new MbokError('MBOK_NON_FINITE', `'${name}' is too large or too small for 8 bits with scales in F16`);
    return { numbers, scales, error };
  } catch (error) {
    numbers.dispose();
    scales.dispose();
    throw error;
  }
}
