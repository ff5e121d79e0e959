/** Second moments of the inputs of linear layers, which calibrated conversion weighs errors by. */

import { Graph } from '../graph/graph';
import { compensationFactor } from '../graph/operations/conversion';
import { gradientNorm } from '../graph/operations/training';
import { Plan } from '../graph/plan';
import { Matrix } from '../native/matrix';

/** What is added to the diagonal of H before it is inverted, in units of the diagonal's mean (method of GPTQ). */
export const DAMPING = 0.01;

/** Moments over N calibration tokens of an input X̃ [N, n] that one or more layers share. */
export interface InputMoments {
  /** H = X̃ᵀX̃ / N, [n, n]; sums until {@link prepareMoments} divides them. */
  readonly h: Matrix;
  /** C = XᵀX̃ / N with X the original model's input of the same layers; absent where the original does not matter. */
  readonly c: Matrix | undefined;
}

/** Moments with what error compensation needs of them, shared by all layers with this input. */
export interface PreparedMoments extends InputMoments {
  /** The factor [n, n] and the column order i32 [n, 1]; absent where H is all zero and nothing can be calibrated. */
  readonly compensation: { readonly factor: Matrix; readonly order: Matrix } | undefined;
}

export function createMoments(size: number, { cross }: { cross: boolean }): InputMoments {
  const square = { rows: size, cols: size };
  return { h: new Matrix(square), c: cross ? new Matrix(square) : undefined };
}

/** Divides the sums by `count` tokens in place and factors H. */
export async function prepareMoments(
  { h, c }: InputMoments,
  count: number,
  signal: AbortSignal | undefined,
): Promise<PreparedMoments> {
  const graph = new Graph();
  for (const sum of [h, c]) {
    if (sum !== undefined) graph.emit('scale', [graph.bind(sum)], [graph.bind(sum)], [1 / count]);
  }
  graph.output('norm', gradientNorm([graph.bind(h)]));
  await using plan = new Plan(graph);
  const { norm } = await plan.run({ signal });
  if (norm?.[0] === 0) return { h, c, compensation: undefined };
  const compensation = {
    factor: new Matrix(h),
    order: new Matrix({ rows: h.rows, cols: 1, type: 'i32' }),
  };
  try {
    await factorise(h, compensation, signal);
  } catch (error) {
    compensation.factor.dispose();
    compensation.order.dispose();
    throw error;
  }
  return { h, c, compensation };
}

async function factorise(
  h: Matrix,
  { factor, order }: { factor: Matrix; order: Matrix },
  signal: AbortSignal | undefined,
): Promise<void> {
  const graph = new Graph();
  compensationFactor(graph.bind(h), graph.bind(factor), graph.bind(order), DAMPING);
  await using plan = new Plan(graph);
  await plan.run({ signal });
}

export function disposeMoments({ h, c, compensation }: InputMoments & Partial<PreparedMoments>): void {
  for (const matrix of [h, c, compensation?.factor, compensation?.order]) matrix?.dispose();
}
