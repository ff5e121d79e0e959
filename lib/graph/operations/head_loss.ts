/** Losses of logits that are never stored as a whole: head and loss are one operation. */

import { MbokError } from '../../base/errors';
import { matrixShape, type OperationDefinition, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectShape } from '../operation';
import type { Head } from './head';
import { precisionCode } from './linear';

/** Options for the gradient of a loss. */
export interface HeadLossOptions {
  /**
   * Gradient [1, 1] that the loss will receive from the operations after it. The gradient of the head is computed in
   * the forward pass, while logits are in memory, so it is needed there. Without it nothing is differentiated.
   */
  readonly seed?: Tensor;
  /** Trained f32 parameters and the matrices to which their gradients are added, as in {@link appendGradients}. */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>;
}

/**
 * Outputs: the loss, each row's part of it, and with a seed the gradient of the states. Inputs: states, weights,
 * scales?, seed?, then one of: targets; a teacher's states, weights, scales?; stored log-probabilities and ids.
 * Attributes: precision, and the caps of both heads.
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
  // the values of single rows are not used here
  const outputs = shapes.map((shape, i) =>
    i === LOSS || (i === DX && seed !== undefined) ? graph.create(shape) : undefined,
  );
  const inputs = [states, weights, scales, seed, ...judge];
  const allOutputs = [...outputs, seed && accumulators?.get(weights)];
  graph.emit(definition.name, inputs, allOutputs, [precisionCode(states), cap, teacherCap], { definition });
  return outputs[LOSS] as Tensor;
}

/** Computes the mean over counted rows of −log softmax(logits)[target], as {@link crossEntropy} does. */
export function headCrossEntropy(head: Head, targets: Tensor, options: HeadLossOptions = {}): Tensor {
  expectShape('head_loss', 'targets', targets, { rows: head.states.rows, cols: 1, type: 'i32' });
  return emit(head, [targets], 0, options);
}

/** Computes the mean over rows of the divergence from a teacher's predictions, as {@link klDivergence} does. */
export function headDivergence(head: Head, teacher: Head, options: HeadLossOptions = {}): Tensor {
  const { rows: vocabulary } = head.weights;
  expectShape('head_loss', 'teacher', teacher.states, { rows: head.states.rows });
  expectShape('head_loss', 'teacher', teacher.weights, { rows: vocabulary, type: teacher.weights.type });
  return emit(head, [undefined, teacher.states, teacher.weights, teacher.scales], teacher.cap, options);
}

/**
 * Computes the same divergence from a teacher's stored predictions. `stored` f32 [rows, k + 1] has the
 * log-probabilities of the tokens `ids` i32 [rows, k], and last that of all other tokens together.
 */
export function headStoredDivergence(
  head: Head,
  { stored, ids }: { readonly stored: Tensor; readonly ids: Tensor },
  options: HeadLossOptions = {},
): Tensor {
  const { rows } = head.states;
  const { cols } = expectShape('head_loss', 'ids', ids, { rows, type: 'i32' });
  expectShape('head_loss', 'kept', stored, { rows, cols: cols + 1 });
  return emit(head, [undefined, undefined, undefined, undefined, stored, ids], 0, options);
}

/**
 * Computes −log softmax(logits)[target] for every row, and whether no token is more likely than the target (1 or 0).
 * Both are [rows, 1]; rows with target −1 have 0 and 1. For evaluation; has no gradient.
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
 * Finds the k most likely tokens of every row. Has no gradient.
 *
 * @returns `stored` [rows, k + 1]: log-probabilities of these tokens and of all others together. `ids` [rows, k]: the
 * tokens, as integers in f32. `error` [rows, 1]: the divergence in nats that dropping the other tokens causes
 */
export function topTokens(
  { states, weights, scales, cap }: Head,
  k: number,
): readonly [stored: Tensor, ids: Tensor, error: Tensor] {
  const { graph, rows } = states;
  const outputs = [matrixShape(rows, k + 1), matrixShape(rows, k), matrixShape(rows, 1)].map((s) => graph.create(s));
  graph.emit('head_top_tokens', [states, weights, scales], outputs, [precisionCode(states), cap, k]);
  return outputs as [Tensor, Tensor, Tensor];
}
