/** Losses of logits that never exist whole: a model's head and what judges its logits, as one operation. */

import { MbokError } from '../../base/errors';
import { matrixShape, type OperationDefinition, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectShape } from '../operation';
import type { Head } from './head';
import { precisionCode } from './linear';

/** What follows from a loss besides its value. */
export interface HeadLossOptions {
  /**
   * [1, 1], the gradient that the loss will receive from what is made of it: the operation forms its gradient while logits
   * are at hand, before anything is made of the loss. Absent: nothing is differentiated.
   */
  readonly seed?: Tensor;
  /** Trained f32 parameters and where their gradients are added, as in {@link appendGradients}. */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>;
}

/**
 * loss and each row's part in it; with a seed the gradient of the states. Inputs: states, weights, scales?, seed?, then
 * targets, or a teacher's states, weights, scales?, or kept logarithms and ids. Attributes: precision, caps of both.
 */
const definition: OperationDefinition = {
  name: 'head_loss',
  outputs: ([states]) => {
    const { rows, cols } = expectShape('head_loss', 'states', states, {});
    return [SCALAR_SHAPE, matrixShape(rows, 1), matrixShape(rows, cols)];
  },
  gradient({ outputs }) {
    if (outputs[DX] === undefined)
      throw new MbokError('MBOK_UNSUPPORTED', 'head_loss: no seed was given for a gradient');
    return [outputs[DX]];
  },
};

const [LOSS, DX] = [0, 2];

function emit(head: Head, judge: readonly (Tensor | undefined)[], teacherCap: number, options: HeadLossOptions) {
  const { states, weights, scales, cap } = head;
  const { seed, accumulators } = options;
  const { graph } = states;
  const shapes = definition.outputs([states], []);
  // nobody asks for the rows' own values
  const made = shapes.map((shape, i) =>
    i === LOSS || (i === DX && seed !== undefined) ? graph.create(shape) : undefined,
  );
  const inputs = [states, weights, scales, seed, ...judge];
  const outputs = [...made, seed && accumulators?.get(weights)];
  graph.emit(definition.name, inputs, outputs, [precisionCode(states), cap, teacherCap], { definition });
  return made[LOSS] as Tensor;
}

/** The mean over counted rows of −log softmax(logits)[target], as {@link crossEntropy}. */
export function headCrossEntropy(head: Head, targets: Tensor, options: HeadLossOptions = {}): Tensor {
  expectShape('head_loss', 'targets', targets, { rows: head.states.rows, cols: 1, type: 'i32' });
  return emit(head, [targets], 0, options);
}

/** The mean over rows of the divergence from a teacher's predictions, as {@link klDivergence}. */
export function headDivergence(head: Head, teacher: Head, options: HeadLossOptions = {}): Tensor {
  const { rows: vocabulary } = head.weights;
  expectShape('head_loss', 'teacher', teacher.states, { rows: head.states.rows });
  expectShape('head_loss', 'teacher', teacher.weights, { rows: vocabulary, type: teacher.weights.type });
  return emit(head, [undefined, teacher.states, teacher.weights, teacher.scales], teacher.cap, options);
}

/**
 * The same for what was kept of a teacher's predictions: `kept` f32 [rows, k + 1], logarithms of the probabilities of the
 * tokens `ids` i32 [rows, k] and of all others together.
 */
export function headKeptDivergence(
  head: Head,
  { kept, ids }: { readonly kept: Tensor; readonly ids: Tensor },
  options: HeadLossOptions = {},
): Tensor {
  const { rows } = head.states;
  const { cols } = expectShape('head_loss', 'ids', ids, { rows, type: 'i32' });
  expectShape('head_loss', 'kept', kept, { rows, cols: cols + 1 });
  return emit(head, [undefined, undefined, undefined, undefined, kept, ids], 0, options);
}

/**
 * −log softmax(logits)[target] of every row, and whether no token is likelier than the target: [rows, 1] each, 0 and 1 where
 * the target is −1. For evaluation; has no gradient.
 */
export function headLikelihood(
  { states, weights, scales, cap }: Head,
  targets: Tensor,
): { readonly values: Tensor; readonly likeliest: Tensor } {
  const { graph, rows } = states;
  expectShape('head_likelihood', 'targets', targets, { rows, cols: 1, type: 'i32' });
  const [values, likeliest] = [graph.create(matrixShape(rows, 1)), graph.create(matrixShape(rows, 1))];
  graph.emit('head_likelihood', [states, weights, targets, scales], [values, likeliest], [precisionCode(states), cap]);
  return { values, likeliest };
}

/**
 * The k likeliest tokens of every row of logits: logarithms of their probabilities and of what is left [rows, k + 1],
 * their ids as whole numbers in f32 [rows, k], and what keeping no more costs in nats [rows, 1]. Has no gradient.
 */
export function topTokens(
  { states, weights, scales, cap }: Head,
  k: number,
): readonly [kept: Tensor, ids: Tensor, error: Tensor] {
  const { graph, rows } = states;
  const outputs = [matrixShape(rows, k + 1), matrixShape(rows, k), matrixShape(rows, 1)].map((s) => graph.create(s));
  graph.emit('head_top_tokens', [states, weights, scales], outputs, [precisionCode(states), cap, k]);
  return outputs as [Tensor, Tensor, Tensor];
}
