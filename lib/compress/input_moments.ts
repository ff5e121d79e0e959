/**
 * Second moments of the inputs of linear layers, summed over calibration tokens: step 1 of calibrated conversion.
 * kernels/calibrated_matrix.ts explains their use.
 */

import { Graph, type Tensor } from '../graph/graph';
import { add } from '../graph/operations/add';
import { accumulateGram, beforeNorm, compensationFactor, relativeRows } from '../graph/operations/kernel_fit';
import { linear } from '../graph/operations/linear';
import { gradientNorm } from '../graph/operations/training';
import { scale } from '../graph/operations/weighted_sum';
import { runOnce } from '../graph/plan';
import { Matrix } from '../native/matrix';
import type { Parameters } from '../nn/builder';
import { type BlockTrace, prune, type TracedLinear, traceBlock } from './block_trace';
import { DAMPING } from './damping';
import type { BlockWeights } from './dense_source';
import { chunkPlan, chunkScalars, hiddenInput, type Walk } from './hidden_states';
import { LazyBasis } from './input_basis';

/** Weights of the two corrections, 0 (none) to 1 (full). */
export interface Aims {
  /** Weight of the correction towards the layer's outputs in the original model. */
  readonly targetMix: number;
  /** Weight of the correction towards the original hidden states, for layers that write to the residual stream. */
  readonly residualMix: number;
}

/**
 * Moments over N calibration tokens of an input X̃ [N, n] that several layers share, in the model as converted so far.
 * The rows of X̃ and Z are weighted by token; see {@link collectMoments}.
 */
export interface InputMoments {
  /** H = X̃ᵀX̃ / N, f32 [n, n]. */
  readonly h: Matrix;
  /**
   * R = ZᵀX̃ / N, f32 [m, n], by module; Z [N, m] is the output error to correct. Modules with nothing to correct are
   * absent.
   */
  readonly corrections: ReadonlyMap<string, Matrix>;
}

/** Moments with what conversions derive from H. */
export interface PreparedMoments extends InputMoments {
  /** Factor [n, n] and column order i32 [n, 1]; undefined if H is zero, in which case nothing can be calibrated. */
  readonly compensation: { readonly factor: Matrix; readonly order: Matrix } | undefined;
  /** The inputs in their eigenbasis, for factor pairs; computed at its first use. */
  readonly basis: LazyBasis;
}

/** The weights of a block: the student as converted so far, the teacher as in the original. */
export interface Sides {
  readonly student: BlockWeights;
  readonly teacher: BlockWeights;
}

/** Arguments of {@link collectMoments}. */
export interface MomentsTask {
  readonly layer: number;
  readonly modules: readonly string[];
  readonly sides: Sides;
  readonly aims: Aims;
  readonly advanceTeacher?: boolean;
}

/**
 * Sums the moments of `modules`, which share an input, over the hidden states before block `layer`. The student's
 * parameters contain the converted weights of the block so far.
 *
 * Each token's rows are divided by rms(h), h its hidden state in the original, so it counts by 1/‖h‖². The norms after
 * it remove the length of h, so only relative error matters. Without this weight the few tokens with massive
 * activations would dominate. If a norm lies between output and residual stream (Gemma), rows are also divided by the
 * rms of the student's output. Queries, keys and values are not weighted, because attention carries their errors to
 * other tokens.
 *
 * With `advanceTeacher` the same pass writes the original's hidden states before the next block.
 */
export async function collectMoments(
  walk: Walk,
  { layer, modules, sides, aims, advanceTeacher = false }: MomentsTask,
): Promise<InputMoments> {
  const { states, signal } = walk;
  const graph = new Graph({ precision: walk.precision });
  const trace = (side: keyof Sides) => traceBlock(walk, layer, sides[side], hiddenInput(graph, walk, side));
  const [studentTrace, teacherTrace] = [trace('student'), trace('teacher')];
  const first = modules[0] as string;
  const teacherLinear = teacherTrace.linears.get(first) as TracedLinear;
  const { input, output, residual } = studentTrace.linears.get(first) as TracedLinear;
  const weighted = (tensor: Tensor) => {
    if (teacherLinear.mixed) return tensor;
    return relativeRows(residual?.norm === undefined ? tensor : relativeRows(tensor, output), teacherLinear.hidden);
  };
  const x = weighted(input);
  const moments = { h: new Matrix({ rows: input.cols, cols: input.cols }), corrections: new Map<string, Matrix>() };
  try {
    accumulateGram(x, x, graph.bind(moments.h, 'state'));
    for (const module of modules) {
      const z = outputError({ module, studentTrace, teacherTrace, parameters: sides.teacher.parameters, aims });
      if (z === undefined) continue;
      const correction = new Matrix({ rows: z.cols, cols: input.cols });
      moments.corrections.set(module, correction);
      accumulateGram(weighted(z), x, graph.bind(correction, 'state'));
    }
    if (advanceTeacher) graph.output('next', teacherTrace.output);
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
 * Computes the output error Z that a module should correct; undefined if no term applies.
 *
 *   Z = targetMix · (X − X̃) Wᵀ + residualMix · (h − h̃)
 *
 * X and X̃ are the layer's inputs in the original and the student. h and h̃ are their residual streams before the
 * layer's output is added. Layers that do not write to the residual stream have no second term. If a norm lies between
 * output and residual stream, the second term is mapped to before the norm ({@link beforeNorm}).
 */
function outputError({
  module,
  studentTrace,
  teacherTrace,
  parameters,
  aims: { targetMix, residualMix },
}: {
  module: string;
  studentTrace: BlockTrace;
  teacherTrace: BlockTrace;
  parameters: Parameters;
  aims: Aims;
}): Tensor | undefined {
  const [student, teacher] = [studentTrace, teacherTrace].map(({ linears }) => linears.get(module)) as [
    TracedLinear,
    TracedLinear,
  ];
  const difference = (a: Tensor, b: Tensor) => add(a, scale(b, -1));
  const parts: Tensor[] = [];
  if (targetMix > 0) {
    const weight = teacher.input.graph.bind(parameters.get(`${module}.weight`) as Matrix);
    parts.push(scale(linear(difference(teacher.input, student.input), weight), targetMix));
  }
  const [studentResidual, teacherResidual] = [student.residual, teacher.residual];
  if (residualMix > 0 && studentResidual !== undefined && teacherResidual !== undefined) {
    const streamError = difference(teacherResidual.x, studentResidual.x);
    parts.push(
      scale(
        studentResidual.norm === undefined
          ? streamError
          : beforeNorm(streamError, student.output, studentResidual.norm),
        residualMix,
      ),
    );
  }
  return parts.length === 2 ? add(parts[0] as Tensor, parts[1] as Tensor) : parts[0];
}

/** Divides the sums of `count` tokens by their number. */
export async function divide(
  { h, corrections }: InputMoments,
  count: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const graph = new Graph();
  for (const sum of [h, ...corrections.values()]) {
    graph.emit('scale', [graph.bind(sum)], [graph.bind(sum)], [1 / count]);
  }
  await runOnce(graph, signal);
}

/** Calls {@link collectMoments}, then {@link prepareMoments}. Dispose the result. */
export async function preparedMoments(walk: Walk, task: MomentsTask): Promise<PreparedMoments> {
  const moments = await collectMoments(walk, task);
  try {
    return await prepareMoments(moments, walk.signal);
  } catch (error) {
    disposeMoments(moments);
    throw error;
  }
}

/** Factorizes the damped H. The result takes ownership of the matrices. */
export async function prepareMoments(
  moments: InputMoments,
  signal: AbortSignal | undefined,
  damping = DAMPING,
): Promise<PreparedMoments> {
  const { h } = moments;
  const graph = new Graph();
  graph.output('norm', gradientNorm([graph.bind(h)]));
  const { norm } = await runOnce(graph, signal);
  const basis = new LazyBasis(norm?.[0] === 0 ? undefined : h, h.cols);
  if (norm?.[0] === 0) return { ...moments, compensation: undefined, basis };
  const compensation = { factor: new Matrix(h), order: new Matrix({ rows: h.rows, cols: 1, type: 'i32' }) };
  try {
    await factorize(h, compensation, damping, signal);
    return { ...moments, compensation, basis };
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
  await runOnce(graph, signal);
}

export function disposeMoments({ h, corrections, compensation, basis }: InputMoments & Partial<PreparedMoments>): void {
  basis?.dispose();
  for (const matrix of [h, ...corrections.values(), compensation?.factor, compensation?.order]) matrix?.dispose();
}
