import { oneOf } from '../../base/validate';
import { type OperationDefinition, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/** A loss of two tensors whose gradient goes to the first, by the native operation `<name>_gradient`. */
function pairLoss(name: string, secondType: 'f32' | 'i32'): OperationDefinition {
  return {
    name,
    outputs([value, reference]) {
      const { rows, cols } = expectShape(name, 'value', value, {});
      const extent = secondType === 'i32' ? { rows, cols: 1, type: secondType } : { rows, cols };
      expectShape(name, 'reference', reference, extent);
      return [SCALAR_SHAPE];
    },
    gradient({ inputs, attributes, upstream }) {
      const value = required(name, 'value', inputs[0]);
      const gradient = value.graph.create(value);
      value.graph.emit(`${name}_gradient`, [...inputs, upstream(0)], [gradient], attributes, { inPlace: 0 });
      return [gradient];
    },
  };
}

const crossEntropyDefinition = pairLoss('cross_entropy', 'i32');
const klDefinition = pairLoss('kl_divergence', 'f32');
const hiddenDefinition = pairLoss('hidden_loss', 'f32');

/**
 * Mean over the counted rows of −log softmax(logits)[target]; rows whose target is −1 do not count.
 *
 * @param logits - f32 [rows, vocabulary]
 * @param targets - i32 [rows, 1], token ids or −1
 * @returns [1, 1], in nats; 0 where no row counts
 * @throws MbokError MBOK_SHAPE where shapes do not fit
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  return graphOf('logits', logits).apply(crossEntropyDefinition, [logits, targets])[0] as Tensor;
}

/**
 * Mean over rows of KL(softmax(teacher) ‖ softmax(student)) at temperature 1 (paper §4.3.2). The gradient goes to the
 * student alone.
 *
 * @param student - logits [rows, vocabulary]
 * @param teacher - logits of the same shape
 * @returns [1, 1], in nats
 * @throws MbokError MBOK_SHAPE where shapes do not fit
 */
export function klDivergence(student: Tensor, teacher: Tensor): Tensor {
  return graphOf('student', student).apply(klDefinition, [student, teacher])[0] as Tensor;
}

/** Distances of hidden states, in the order of the native kinds. */
export const HIDDEN_LOSSES = ['plain', 'relative', 'logarithmic'] as const;
export type HiddenLoss = (typeof HIDDEN_LOSSES)[number];

/**
 * Distance of hidden states from the teacher's, mean over rows: 'plain' is the squared error's mean over components,
 * 'relative' r = ‖h − t‖² / ‖t‖², which massive activations of the teacher do not drown, 'logarithmic' log(1 + r), which
 * massive activations of the student alone do not drown either. The gradient goes to `hidden` alone.
 *
 * @param hidden - the student's [rows, n]
 * @param teacher - the teacher's, of the same shape
 * @returns [1, 1]
 * @throws MbokError MBOK_SHAPE where shapes do not fit
 */
export function hiddenLoss(hidden: Tensor, teacher: Tensor, kind: HiddenLoss): Tensor {
  oneOf('kind', kind, HIDDEN_LOSSES);
  return graphOf('hidden', hidden).apply(
    hiddenDefinition,
    [hidden, teacher],
    [HIDDEN_LOSSES.indexOf(kind)],
  )[0] as Tensor;
}
