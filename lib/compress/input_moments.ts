/** What calibrated conversion sums over tokens for linear layers that share an input. */

import { Graph, type Tensor } from '../graph/graph';
import { add } from '../graph/operations/add';
import { accumulateGram, beforeNorm, compensationFactor, relativeRows } from '../graph/operations/kernel_fit';
import { linear } from '../graph/operations/linear';
import { gradientNorm } from '../graph/operations/training';
import { scale } from '../graph/operations/weighted_sum';
import { Plan } from '../graph/plan';
import { Matrix } from '../native/matrix';
import type { Parameters } from '../nn/builder';
import { type BlockTrace, type LinearPlace, prune, traceBlock } from './block_trace';
import type { BlockWeights } from './dense_source';
import { chunkPlan, chunkScalars, hiddenInput, type Walk } from './hidden_states';

/**
 * What is added to the diagonal of H before it is inverted, in units of the diagonal's mean (method of GPTQ, which takes
 * 0.01). Measured on SmolLM2 at K = 2: 2 % of perplexity less than 0.01, 1 % less than 0.1.
 */
export const DAMPING = 0.03;

/** How far layers aim at the original model's results in spite of the errors before them, 0 (not at all) to 1. */
export interface Aims {
  /** At the outputs that the layer has in the original. */
  readonly targetMix: number;
  /** At the hidden states of the original, by layers whose outputs are added to them. */
  readonly residualMix: number;
}

/** Moments over N calibration tokens of an input X̃ [N, n] that layers share in the model as converted so far. */
export interface InputMoments {
  /** H = X̃ᵀX̃ / N, [n, n]. */
  readonly h: Matrix;
  /** By module R = ZᵀX̃ / N, [m, n], Z what its outputs are to make up for; without those that make up for nothing. */
  readonly corrections: ReadonlyMap<string, Matrix>;
}

/** Moments with what error compensation needs of them. */
export interface PreparedMoments extends InputMoments {
  /** The factor [n, n] and the column order i32 [n, 1]; absent where H is all zero and nothing can be calibrated. */
  readonly compensation: { readonly factor: Matrix; readonly order: Matrix } | undefined;
}

/** Weights of a block, as converted so far and as they were. */
export interface Sides {
  readonly student: BlockWeights;
  readonly teacher: BlockWeights;
}

/** What {@link collectMoments} does. */
export interface MomentsTask {
  readonly layer: number;
  readonly modules: readonly string[];
  readonly sides: Sides;
  readonly aims: Aims;
  readonly advanceTeacher?: boolean;
}

/**
 * Sums the moments of `modules`, which share an input, over the hidden states before block `layer`. The student's
 * parameters hold what is converted of the block so far.
 *
 * A token counts by the inverse square of its hidden state's size in the original: the norms after it see the direction
 * alone, so an error of a tenth of the state matters alike whether the state is large or small, and real models have
 * tokens with massive ones. Keys, queries and values count plainly: attention carries their errors to other tokens. Where
 * a norm lies between output and hidden states (Gemma), it divides errors by the output's size, so a token counts by the
 * inverse square of that too.
 *
 * With `advanceTeacher` the original's hidden states are taken to the next block in the same pass.
 */
export async function collectMoments(
  walk: Walk,
  { layer, modules, sides, aims, advanceTeacher = false }: MomentsTask,
): Promise<InputMoments> {
  const { states, signal } = walk;
  const graph = new Graph({ precision: walk.precision });
  const trace = (side: keyof Sides) => traceBlock(walk, layer, sides[side], hiddenInput(graph, walk, side));
  const [seen, original] = [trace('student'), trace('teacher')];
  const first = modules[0] as string;
  const place = original.linears.get(first) as LinearPlace;
  const { input, output, residual } = seen.linears.get(first) as LinearPlace;
  const weighted = (tensor: Tensor) => {
    if (place.mixed) return tensor;
    return relativeRows(residual?.norm === undefined ? tensor : relativeRows(tensor, output), place.hidden);
  };
  const x = weighted(input);
  const moments = { h: new Matrix({ rows: input.cols, cols: input.cols }), corrections: new Map<string, Matrix>() };
  try {
    accumulateGram(x, x, graph.bind(moments.h, 'state'));
    for (const module of modules) {
      const z = missing({ module, seen, original, parameters: sides.teacher.parameters, aims });
      if (z === undefined) continue;
      const correction = new Matrix({ rows: z.cols, cols: input.cols });
      moments.corrections.set(module, correction);
      accumulateGram(weighted(z), x, graph.bind(correction, 'state'));
    }
    if (advanceTeacher) graph.output('next', original.output);
    prune(graph);
    await using plan = chunkPlan(graph, walk);
    let rows = 0;
    let [student, teacher, next]: Float32Array[] = [];
    for (let chunk = 0; chunk < states.chunks('student', layer); chunk++) {
      student = await states.read('student', layer, chunk, student);
      teacher = await states.read('teacher', layer, chunk, teacher);
      const scalars = chunkScalars(walk, student);
      ({ next } = await plan.run({ inputs: { student, teacher }, scalars, into: { next }, signal }));
      if (next !== undefined) await states.write('teacher', layer + 1, chunk, next);
      rows += scalars.rows;
    }
    await divide(moments, rows, signal);
    return moments;
  } catch (error) {
    disposeMoments(moments);
    throw error;
  }
}

/**
 * What a module's outputs lack: towards its original outputs, and towards the original hidden states (method §1, step 2, and
 * §8, step 0). Before a norm the latter is what the norm makes them of ({@link beforeNorm}).
 */
function missing({
  module,
  seen,
  original,
  parameters,
  aims: { targetMix, residualMix },
}: {
  module: string;
  seen: BlockTrace;
  original: BlockTrace;
  parameters: Parameters;
  aims: Aims;
}): Tensor | undefined {
  const [student, teacher] = [seen, original].map(({ linears }) => linears.get(module)) as [LinearPlace, LinearPlace];
  const difference = (a: Tensor, b: Tensor) => add(a, scale(b, -1));
  const parts: Tensor[] = [];
  if (targetMix > 0) {
    const weight = teacher.input.graph.bind(parameters.get(`${module}.weight`) as Matrix);
    parts.push(scale(linear(difference(teacher.input, student.input), weight), targetMix));
  }
  const [own, aim] = [student.residual, teacher.residual];
  if (residualMix > 0 && own !== undefined && aim !== undefined) {
    const lack = difference(aim.x, own.x);
    parts.push(scale(own.norm === undefined ? lack : beforeNorm(lack, student.output, own.norm), residualMix));
  }
  return parts.length === 2 ? add(parts[0] as Tensor, parts[1] as Tensor) : parts[0];
}

async function divide({ h, corrections }: InputMoments, count: number, signal: AbortSignal | undefined): Promise<void> {
  const graph = new Graph();
  for (const sum of [h, ...corrections.values()]) {
    graph.emit('scale', [graph.bind(sum)], [graph.bind(sum)], [1 / count]);
  }
  await using plan = new Plan(graph);
  await plan.run({ signal });
}

/** {@link collectMoments} and {@link prepareMoments}. Dispose what it returns. */
export async function preparedMoments(walk: Walk, task: MomentsTask): Promise<PreparedMoments> {
  const moments = await collectMoments(walk, task);
  try {
    return await prepareMoments(moments, walk.signal);
  } catch (error) {
    disposeMoments(moments);
    throw error;
  }
}

/** Factors H. The result takes over the matrices. */
export async function prepareMoments(
  moments: InputMoments,
  signal: AbortSignal | undefined,
  damping = DAMPING,
): Promise<PreparedMoments> {
  const { h } = moments;
  const graph = new Graph();
  graph.output('norm', gradientNorm([graph.bind(h)]));
  await using plan = new Plan(graph);
  const { norm } = await plan.run({ signal });
  if (norm?.[0] === 0) return { ...moments, compensation: undefined };
  const compensation = { factor: new Matrix(h), order: new Matrix({ rows: h.rows, cols: 1, type: 'i32' }) };
  try {
    await factorize(h, compensation, damping, signal);
    return { ...moments, compensation };
  } catch (error) {
    compensation.factor.dispose();
    compensation.order.dispose();
    throw error;
  }
}

async function factorize(
  h: Matrix,
  { factor, order }: { factor: Matrix; order: Matrix },
  damping: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const graph = new Graph();
  compensationFactor(graph.bind(h), graph.bind(factor), graph.bind(order), damping);
  await using plan = new Plan(graph);
  await plan.run({ signal });
}

/**
 * H with the damping on its diagonal: of scales for given signs, whose error no other column can take over, the columns
 * that hardly occur on the calibration tokens would else grow without bound to make up for those that do.
 */
export function dampedMoments(h: Matrix): Matrix {
  const damped = h.clone();
  const one = new Float32Array(1);
  const place = (j: number) => j * (h.rows + 1) * one.byteLength;
  const diagonal = Float32Array.from({ length: h.rows }, (_, j) => {
    h.readAt(place(j), one);
    return one[0] as number;
  });
  const shift = (DAMPING * diagonal.reduce((sum, value) => sum + value, 0)) / h.rows;
  for (const [j, value] of diagonal.entries()) damped.writeAt(place(j), Float32Array.of(value + shift));
  return damped;
}

export function disposeMoments({ h, corrections, compensation }: InputMoments & Partial<PreparedMoments>): void {
  for (const matrix of [h, ...corrections.values(), compensation?.factor, compensation?.order]) matrix?.dispose();
}
