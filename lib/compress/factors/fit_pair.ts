/**
 * The fit of one matrix as a Boolean factor pair W ≈ diag(a) A diag(c) B diag(b), A ∈ {−1, +1}^{m×r}, B ∈ {−1,
 * +1}^{r×n}. The form is that of double binary factorization (arXiv 2505.11076). Unlike there and in NanoQuant, no
 * latent weights are trained, and the metric is the whole second moment H of the layer's inputs.
 *
 * With W' = W + R Ĥ⁻¹ (calibration_target.ts), Ĥ the damped H, D the importances of the outputs (default ones):
 *
 * 1. scaled problem: s_j = √(H_jj / mean(diag H) + 0.01), W̃ = D^½ W' diag(s) / ν, H̃ = diag(s)⁻¹ Ĥ diag(s)⁻¹ over its mean
 *    diagonal; ν makes the root mean square of W̃ one;
 * 2. start: a rotated truncated SVD of W̃ (start.ts);
 * 3. iterations (admm.ts) give signs and a = ν u_A / D^½, c = v_A ⊙ u_B, b = v_B / s;
 * 4. scales by least squares under Ĥ and D, a sweep over the bits of A, the scales again, the same for B (scales.ts).
 *
 * On SmolLM2-135M at 1.045 bits the diagonal of H as the metric gives a perplexity of 142.6, the whole H 101.3, D on top
 * of it 93.0. Error feedback in GPTQ's order after the iterations harms.
 */

import { Graph } from '../../graph/graph';
import { copy, multiply } from '../../graph/operations/factor_fit';
import { gradientNorm } from '../../graph/operations/training';
import { runOnce } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import type { InputBasis } from '../input_basis';
import { type AdmmSettings, alternate } from './admm';
import { createPair, disposePair, type PairMatrices } from './pair_matrices';
import { descendLeftSigns, descendRightSigns, fitPairScales } from './scales';
import { startingFactors } from './start';

/** Iterations of a conversion. */
export const PAIR_ITERATIONS = 100;

export interface PairSettings extends AdmmSettings {
  readonly rank: number;
}

/** The weight and the metric of a fit. */
export interface PairGoal {
  /** W', f32 [m, n]. */
  readonly target: Matrix;
  readonly basis: InputBasis;
  /** D, m positive numbers: weights of the squared errors of the outputs. */
  readonly importances: Float32Array;
}

/**
 * Counts the numbers in memory at the peak of a fit, besides W and W': those of the eigenvectors (of the inputs, or of the
 * start), or those of the iterations.
 */
export function pairNumbers({ rows, cols }: { readonly rows: number; readonly cols: number }, rank: number): number {
  const [whole, inputs, left, right] = [rows * cols, cols ** 2, rows * rank, rank * cols];
  // damped H and its eigenvectors stay; symmetric_eigen reads a copy and takes four matrices of scratch
  const eigen = 2 * inputs + Math.max(5 * inputs, whole + 6 * Math.min(rows, cols) ** 2);
  // scaled W and its image; the start; z, dual, x and products of each factor; the system and its inverse
  const iterations = 2 * inputs + 2 * whole + 7 * left + 9 * right + 4 * rank ** 2;
  return Math.max(eigen, iterations);
}

/** Fits a pair by the steps in this file's header. Dispose it. */
export async function fitPair(
  { target, basis, importances }: PairGoal,
  { rank, ...settings }: PairSettings,
  signal: AbortSignal | undefined,
): Promise<PairMatrices> {
  const rootImportances = importances.map(Math.sqrt);
  using scaled = new Matrix({ rows: target.rows, cols: target.cols });
  const size = await scaleProblem(target, { rows: rootImportances, columns: basis.scales }, scaled, signal);
  if (size === 0) return createPair(target, rank);
  const start = await startingFactors(scaled, rank, signal);
  let pair: PairMatrices;
  try {
    ({ pair } = await alternate(scaled, basis, start, settings, signal));
  } finally {
    start.a.dispose();
    start.b.dispose();
  }
  try {
    pair.sOut.write(pair.sOut.toFloat32().map((value, i) => (size * value) / (rootImportances[i] as number)));
    pair.sIn.write(pair.sIn.toFloat32().map((value, j) => value / (basis.scales[j] as number)));
    const goal = { target, damped: basis.damped, importances };
    await fitPairScales(pair, goal, signal);
    await descendLeftSigns(pair, goal, signal);
    await fitPairScales(pair, goal, signal);
    await descendRightSigns(pair, goal, signal);
    await fitPairScales(pair, goal, signal);
    return pair;
  } catch (error) {
    disposePair(pair);
    throw error;
  }
}

/** Computes diag(rows) W' diag(columns) over its root mean square ν, and returns ν. */
async function scaleProblem(
  target: Matrix,
  { rows, columns }: { readonly rows: Float32Array; readonly columns: Float32Array },
  scaled: Matrix,
  signal: AbortSignal | undefined,
): Promise<number> {
  using row = Matrix.from(columns, { rows: 1, cols: columns.length });
  using column = Matrix.from(rows, { rows: rows.length, cols: 1 });
  const graph = new Graph();
  const product = multiply(multiply(graph.bind(target), graph.bind(column)), graph.bind(row));
  copy(product, graph.bind(scaled));
  graph.output('norm', gradientNorm([product]));
  const { norm } = await runOnce(graph, signal);
  const size = (norm?.[0] as number) / Math.sqrt(target.rows * target.cols);
  if (size === 0) return 0;
  const division = new Graph();
  division.emit('scale', [division.bind(scaled)], [division.bind(scaled)], [1 / size]);
  await runOnce(division, signal);
  return size;
}
