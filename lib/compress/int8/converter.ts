/**
 * Conversion of weights to 8 bits with one F16 scale per row, for embeddings, heads and linear layers. On small models
 * embeddings and head are the largest part of the file.
 */

import { MbokError } from '../../base/errors';
import { Graph } from '../../graph/graph';
import { quantizeInt8 } from '../../graph/operations/weights';
import { runOnce } from '../../graph/plan';
import { type ModelPart, partsOf } from '../../models/parts';
import type { PartMatrix } from '../../models/stored_matrix';
import { Matrix } from '../../native/matrix';
import { INT8, type Int8Format } from '../../structures/int8';
import type { ConvertedWeight } from '../converted';
import type { WeightConverter } from '../converter';

/**
 * Largest accepted ‖W − Ŵ‖ / ‖W‖. Only scales outside F16's range exceed it: they underflow below 2^-25 and overflow
 * above 65504.
 */
const LARGEST_ERROR = 0.5;

export const int8Converter: WeightConverter<Int8Format> = {
  formats: () => [INT8],
  inOrder: false,
  budget: { formats: () => [INT8], usualBits: [7.5, Infinity] },

  async fit(weight, { owner, format, signal }): Promise<ConvertedWeight> {
    const { numbers, scales, error } = await quantize(owner.name, weight, signal);
    const [ofNumbers, ofScales] = partsOf(owner, format) as [ModelPart, ModelPart];
    const matrices: readonly PartMatrix[] = [
      { part: ofNumbers, matrix: numbers, storage: 'I8' },
      { part: ofScales, matrix: scales, storage: 'F16' },
    ];
    return { format, matrices, residual: error };
  },
};

/**
 * Computes numbers (i8) and scales (f32 [rows, 1]) with diag(scales) · numbers ≈ weight, which is f32 or a 16-bit type.
 */
export async function quantize(
  name: string,
  weight: Matrix,
  signal: AbortSignal | undefined,
): Promise<{ numbers: Matrix; scales: Matrix; error: number }> {
  const { rows, cols } = weight;
  const numbers = new Matrix({ rows, cols, type: 'i8' });
  const scales = new Matrix({ rows, cols: 1 });
  try {
    const graph = new Graph();
    graph.output('error', quantizeInt8(graph.bind(weight), graph.bind(numbers), graph.bind(scales)));
    const error = (await runOnce(graph, signal)).error?.[0] as number;
    if (error > LARGEST_ERROR)
      throw new MbokError('MBOK_NON_FINITE', `'${name}' is too large or too small for 8 bits with scales in F16`);
    return { numbers, scales, error };
  } catch (error) {
    numbers.dispose();
    scales.dispose();
    throw error;
  }
}
