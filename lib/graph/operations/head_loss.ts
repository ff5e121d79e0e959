/** Losses of logits that never exist whole: a model's head and what judges its logits, as one operation. */

import { MbokError } from '../../errors';
import type { Node } from '../graph';
import { expectShape, type OperationDefinition } from '../operation';
import { matrixShape, SCALAR_SHAPE, type Tensor } from '../tensor';
import { precisionCode } from './linear';

/** Logits as z = cap·tanh(states·weightsᵀ / cap); without a cap 0. */
interface Head {
  readonly states: Tensor;
  readonly weights: Tensor;
  readonly scales: Tensor | undefined;
  readonly cap: number;
}

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

function producer(tensor: Tensor): Node | undefined {
  return tensor.graph.nodes.findLast((node) => node.outputs.includes(tensor));
}

/**
 * The head that made `logits`, taken out of the graph again: nothing else may read them. Undefined, and the graph as it
 * was, where they were made in another way than by a linear layer without bias and a soft cap after it.
 */
function takeHead(logits: Tensor): Head | undefined {
  const { graph } = logits;
  const last = producer(logits);
  const cap = last?.name === 'softcap' ? last : undefined;
  const linear = cap === undefined ? last : producer(cap.inputs[0] as Tensor);
  if (linear?.name !== 'linear' || linear.inputs[2] !== undefined || logits.binding.kind !== 'intermediate') {
    return undefined;
  }
  graph.remove(cap === undefined ? [linear] : [linear, cap]);
  const [states, weights, , scales] = linear.inputs as [Tensor, Tensor, undefined, Tensor | undefined];
  return { states, weights, scales, cap: cap?.attributes[0] ?? 0 };
}

function notAHead(operation: string): never {
  throw new MbokError('MBOK_UNSUPPORTED', `${operation}: the logits do not come from a linear layer`);
}

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

/**
 * The mean over counted rows of −log softmax(logits)[target], as {@link crossEntropy}. The logits are taken back out of the
 * graph; undefined where they do not come straight from a linear layer.
 */
export function headCrossEntropy(logits: Tensor, targets: Tensor, options: HeadLossOptions = {}): Tensor | undefined {
  expectShape('head_loss', 'targets', targets, { rows: logits.rows, cols: 1, type: 'i32' });
  const head = takeHead(logits);
  return head && emit(head, [targets], 0, options);
}

/** The same for the divergence from a teacher, as {@link klDivergence}; both models' logits are taken out. */
export function headDivergence(logits: Tensor, teacher: Tensor, options: HeadLossOptions = {}): Tensor | undefined {
  const own = producer(logits)?.name;
  expectShape('head_loss', 'teacher', teacher, logits);
  const its = takeHead(teacher);
  if (its === undefined) return undefined;
  const head = takeHead(logits);
  if (head === undefined) throw new MbokError('MBOK_UNSUPPORTED', `head_loss: logits of '${own}'`);
  return emit(head, [undefined, its.states, its.weights, its.scales], its.cap, options);
}

/**
 * The same for what was kept of a teacher's predictions: `kept` f32 [rows, k + 1], logarithms of the probabilities of the
 * tokens `ids` i32 [rows, k] and of all others together.
 */
export function headKeptDivergence(
  logits: Tensor,
  { kept, ids }: { readonly kept: Tensor; readonly ids: Tensor },
  options: HeadLossOptions = {},
): Tensor {
  const { cols } = expectShape('head_loss', 'ids', ids, { rows: logits.rows, type: 'i32' });
  expectShape('head_loss', 'kept', kept, { rows: logits.rows, cols: cols + 1 });
  const head = takeHead(logits) ?? notAHead('head_loss');
  return emit(head, [undefined, undefined, undefined, undefined, kept, ids], 0, options);
}

/**
 * −log softmax(logits)[target] of every row, and whether no token is likelier than the target: [rows, 1] each, 0 and 1 where
 * the target is −1. For evaluation; has no gradient. The logits are taken back out of the graph.
 */
export function headLikelihood(
  logits: Tensor,
  targets: Tensor,
): { readonly values: Tensor; readonly likeliest: Tensor } {
  expectShape('head_likelihood', 'targets', targets, { rows: logits.rows, cols: 1, type: 'i32' });
  const { graph, rows } = logits;
  const { states, weights, scales, cap } = takeHead(logits) ?? notAHead('head_likelihood');
  const [values, likeliest] = [graph.create(matrixShape(rows, 1)), graph.create(matrixShape(rows, 1))];
  graph.emit('head_likelihood', [states, weights, targets, scales], [values, likeliest], [precisionCode(states), cap]);
  return { values, likeliest };
}

/**
 * The k likeliest tokens of every row of logits: logarithms of their probabilities and of what is left [rows, k + 1],
 * their ids as whole numbers in f32 [rows, k], and what keeping no more costs in nats [rows, 1].
 */
export function topTokens(logits: Tensor, k: number): readonly [kept: Tensor, ids: Tensor, error: Tensor] {
  const { graph, rows } = logits;
  const outputs = [matrixShape(rows, k + 1), matrixShape(rows, k), matrixShape(rows, 1)].map((s) => graph.create(s));
  graph.emit('top_tokens', [logits], outputs, [k]);
  return outputs as [Tensor, Tensor, Tensor];
}
