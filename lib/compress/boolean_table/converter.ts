/** Conversion of embedding and head to ±1 kernels, with the rows of the most frequent tokens in 8 bits. */

import { Graph } from '../../graph/graph';
import { runOnce } from '../../graph/plan';
import { type ModelPart, moduleOf, nameInModule, partsOf } from '../../models/parts';
import type { PartMatrix } from '../../models/stored_matrix';
import { BitMatrix } from '../../native/bit_matrix';
import { Matrix } from '../../native/matrix';
import type { BooleanTableFormat } from '../../structures/boolean_table';
import type { ConvertedWeight } from '../converted';
import type { FitGoal, WeightConverter } from '../converter';
import { quantize } from '../int8/converter';
import { calibrateMatrix } from '../kernels/calibrated_matrix';
import { decompose } from '../kernels/decompose';
import { type KernelMatrices, roundScales } from '../kernels/kernel_matrices';
import { relativeResidual } from '../relative_residual';

export const booleanTableConverter: WeightConverter<BooleanTableFormat> = {
  // layers cannot have it, and a budget does not choose it
  formats: () => [],
  inOrder: false,
  // the rows in f32, and twice as much in the extraction of kernels or the comparison with the weight
  fitBytes: ({ rows, cols }) => 3 * rows * cols * 4,

  async fit(weight, goal): Promise<ConvertedWeight> {
    const { owner, format, signal } = goal;
    const matrices = new Map<string, Matrix>();
    try {
      const marked = frequentTokens(weight.rows, format.frequent, goal.tokenCounts ?? new Float64Array(weight.rows));
      if (format.frequent > 0) {
        matrices.set('marks', marksOf(marked));
        using rows = await rowsOf(weight, marked, true, signal);
        const { numbers, scales } = await quantize(owner.name, rows.matrix, signal);
        matrices.set('weight', numbers).set('weight_scale', scales);
      }
      using rows = await rowsOf(weight, marked, false, signal);
      const { kernels, sOut, sIn } = await fitKernels(rows.matrix, goal);
      matrices.set('boolean_kernels', kernels).set('s_out', sOut).set('s_in', sIn);
      roundScales(moduleOf(owner.name), { kernels, sOut, sIn });
      const parts = partsOf(owner, format).map((part) => withMatrix(part, matrices));
      const residual = await relativeResidual(weight, { format, matrices: parts }, signal);
      return { format, matrices: parts, residual };
    } catch (error) {
      for (const matrix of matrices.values()) matrix.dispose();
      throw error;
    }
  },
};

function withMatrix(part: ModelPart, matrices: ReadonlyMap<string, Matrix>): PartMatrix {
  return { part, matrix: matrices.get(nameInModule(part)) as Matrix, storage: part.type ?? 'F16' };
}

/**
 * Marks the `count` tokens with the most occurrences. Of equal ones it takes the smaller ids, because byte-pair encoding
 * numbers tokens by the frequency of their merges.
 */
function frequentTokens(vocabulary: number, count: number, counts: ArrayLike<number>): Uint8Array {
  const order = Int32Array.from({ length: vocabulary }, (_, token) => token);
  order.sort((a, b) => (counts[b] as number) - (counts[a] as number) || a - b);
  const marked = new Uint8Array(vocabulary);
  for (const token of order.subarray(0, count)) marked[token] = 1;
  return marked;
}

function marksOf(marked: Uint8Array): BitMatrix {
  return BitMatrix.fromSigns(
    Int8Array.from(marked, (mark) => (mark === 1 ? 1 : -1)),
    { rows: 1, cols: marked.length },
  );
}

/** Copies the rows of the tokens that are marked, or of the others, in f32; f32 weights without marks are not copied. */
async function rowsOf(
  weight: Matrix,
  marked: Uint8Array,
  which: boolean,
  signal: AbortSignal | undefined,
): Promise<{ readonly matrix: Matrix } & Disposable> {
  const ids = Int32Array.from(marked.keys()).filter((token) => (marked[token] === 1) === which);
  if (ids.length === weight.rows && weight.type === 'f32') return { matrix: weight, [Symbol.dispose]: () => {} };
  using chosen = disposable(Matrix.from(ids, { rows: ids.length, cols: 1 }));
  const rows = disposable(new Matrix({ rows: ids.length, cols: weight.cols }));
  try {
    const graph = new Graph();
    const table = graph.bind(weight);
    graph.emit('embedding', [table, graph.bind(chosen.matrix)], [graph.bind(rows.matrix)]);
    await runOnce(graph, signal);
    return rows;
  } catch (error) {
    rows[Symbol.dispose]();
    throw error;
  }
}

function disposable(matrix: Matrix): { readonly matrix: Matrix } & Disposable {
  return { matrix, [Symbol.dispose]: () => matrix.dispose() };
}

async function fitKernels(
  rows: Matrix,
  { owner, format, calibration, rounds, signal }: FitGoal<BooleanTableFormat>,
): Promise<KernelMatrices> {
  const { kernels } = format;
  if (calibration === undefined) return await decompose(rows, { ...rounds, kernels }, signal);
  const inputs = { module: moduleOf(owner.name), moments: calibration.moments };
  return (await calibrateMatrix(rows, inputs, { ...calibration.rounds, kernels }, signal)).matrices;
}
