/** Losses of logits that are never stored as a whole: head and loss are one operation. */

import { MbokError } from '../../base/errors';
import { matrixShape, type OperationDefinition, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectShape } from '../operation';
import type { Head } from './head';
import { precisionCode } from './linear';
import { booleanInputs, expectTable, type Table, tableInto } from './table';

/** Options for the gradient of a loss. */
export interface HeadLossOptions {
  /**
   * Gradient [1, 1] that the loss will receive from the operations after it. The gradient of the head is computed in
   * the forward pass, while logits are in memory, so it is needed there. Without it nothing is differentiated.
   */
  readonly seed?: Tensor;
  /**
   * Trained parameters and the matrices to which their gradients are added, as in {@link appendGradients}. The kernels
   * of Boolean rows map to the gradient of these rows, f32 [B, h].
   */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>;
}

/**
 * Outputs: the loss, each row's part of it, and with a seed the gradient of the states. Inputs: states, weights?,
 * scales?, seed?, targets?, a teacher's states?, weights? and scales?, stored log-probabilities? and ids?, and the
 * Boolean inputs of both tables. Attributes: precision, and the caps of both heads.
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

/** What a head is judged by: one of the three. */
interface Judge {
  readonly targets?: Tensor;
  readonly teacher?: Head;
  readonly stored?: readonly [logarithms: Tensor, ids: Tensor];
}

function emit(head: Head, { targets, teacher, stored }: Judge, options: HeadLossOptions) {
  const { states, table, cap } = head;
  const { seed, accumulators } = options;
  const { graph } = states;
  const shapes = definition.outputs([states], []);
  // the values of single rows are not used here
  const outputs = shapes.map((shape, i) =>
    i === LOSS || (i === DX && seed !== undefined) ? graph.create(shape) : undefined,
  );
  const inputs = [
    ...[states, table.weights, table.scales, seed, targets],
    ...[teacher?.states, teacher?.table.weights, teacher?.table.scales],
    ...(stored ?? [undefined, undefined]),
    ...booleanInputs(table),
    ...booleanInputs(teacher?.table ?? {}),
  ];
  const trained = table.boolean?.kernels ?? table.weights;
  const allOutputs = [...outputs, seed && trained && accumulators?.get(trained)];
  graph.emit(definition.name, inputs, allOutputs, [precisionCode(states), cap, teacher?.cap ?? 0], { definition });
  return outputs[LOSS] as Tensor;
}

/** Computes the mean over counted rows of −log softmax(logits)[target], as {@link crossEntropy} does. */
export function headCrossEntropy(head: Head, targets: Tensor, options: HeadLossOptions = {}): Tensor {
  expectShape('head_loss', 'targets', targets, { rows: head.states.rows, cols: 1, type: 'i32' });
  return emit(head, { targets }, options);
}

/** Computes the mean over rows of the divergence from a teacher's predictions, as {@link klDivergence} does. */
export function headDivergence(head: Head, teacher: Head, options: HeadLossOptions = {}): Tensor {
  expectShape('head_loss', 'teacher', teacher.states, { rows: head.states.rows });
  const [{ rows }, ofTeacher] = [expectTable('head_loss', head.table), expectTable('head_loss', teacher.table)];
  if (ofTeacher.rows !== rows) {
    throw new MbokError('MBOK_SHAPE', `head_loss: the vocabularies have ${rows} and ${ofTeacher.rows} tokens`);
  }
  return emit(head, { teacher: { ...teacher, table: inOrderOf(head.table, teacher) } }, options);
}

/**
 * Returns the teacher's table in a form that can follow the order of the student's rows: as it is, or multiplied out if
 * its rows are not in the order of the tokens, or are Boolean while the student's are not in that order.
 */
function inOrderOf({ marks }: Table, { table, states }: Head): Table {
  if (table.marks === undefined && (marks === undefined || table.boolean === undefined)) return table;
  const { rows, cols } = expectTable('head_loss', table);
  const weights = states.graph.create(matrixShape(rows, cols));
  tableInto(weights, table);
  return { weights };
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
  return emit(head, { stored: [stored, ids] }, options);
}

/**
 * Computes −log softmax(logits)[target] for every row, and whether no token is more likely than the target (1 or 0).
 * Both are [rows, 1]; rows with target −1 have 0 and 1. For evaluation; has no gradient.
 */
export function headLikelihood(
  { states, table, cap }: Head,
  targets: Tensor,
): { readonly values: Tensor; readonly likeliest: Tensor } {
  const { graph, rows } = states;
  expectShape('head_likelihood', 'targets', targets, { rows, cols: 1, type: 'i32' });
  const [values, likeliest] = [graph.create(matrixShape(rows, 1)), graph.create(matrixShape(rows, 1))];
  const inputs = [states, table.weights, targets, table.scales, ...booleanInputs(table)];
  graph.emit('head_likelihood', inputs, [values, likeliest], [precisionCode(states), cap]);
  return { values, likeliest };
}

/**
 * Finds the k most likely tokens of every row. Has no gradient.
 *
 * @returns `stored` [rows, k + 1]: log-probabilities of these tokens and of all others together. `ids` [rows, k]: the
 * tokens, as integers in f32. `error` [rows, 1]: the divergence in nats that dropping the other tokens causes
 */
export function topTokens(
  { states, table, cap }: Head,
  k: number,
): readonly [stored: Tensor, ids: Tensor, error: Tensor] {
  const { graph, rows } = states;
  const outputs = [matrixShape(rows, k + 1), matrixShape(rows, k), matrixShape(rows, 1)].map((s) => graph.create(s));
  const inputs = [states, table.weights, table.scales, ...booleanInputs(table)];
  graph.emit('head_top_tokens', inputs, outputs, [precisionCode(states), cap, k]);
  return outputs as [Tensor, Tensor, Tensor];
}
