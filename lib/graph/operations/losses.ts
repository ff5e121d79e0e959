import { oneOf } from '../../base/validate';
import { type OperationDefinition, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/** Defines a loss of two tensors with a gradient to the first, computed by the native operation `<name>_gradient`. */
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
 * Computes the mean of −log softmax(logits)[target] over the rows whose target is not −1.
 *
 * @param logits - f32 [rows, vocabulary]
 * @param targets - i32 [rows, 1], token ids or −1
 * @returns [1, 1], in nats; 0 if all targets are −1
 * @throws MbokError MBOK_SHAPE if shapes do not fit
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  return graphOf('logits', logits).apply(crossEntropyDefinition, [logits, targets])[0] as Tensor;
}

/**
 * Computes the mean over rows of KL(softmax(teacher) ‖ softmax(student)) at temperature 1 (arXiv 2505.22811, §4.3.2).
 * Only the student gets a gradient.
 *
 * @param student - logits [rows, vocabulary]
 * @param teacher - logits of the same shape
 * @returns [1, 1], in nats
 * @throws MbokError MBOK_SHAPE if shapes do not fit
 */
export function klDivergence(student: Tensor, teacher: Tensor): Tensor {
  return graphOf('student', student).apply(klDefinition, [student, teacher])[0] as Tensor;
}

/** Losses of hidden states, in the order of their native codes. */
export const HIDDEN_LOSSES: readonly HiddenLoss[] = ['plain', 'relative', 'logarithmic'];
/** Distance of hidden states; see {@link hiddenLoss}. */
export type HiddenLoss = 'plain' | 'relative' | 'logarithmic';

/**
 * Computes the distance of hidden states h from the teacher's t, as a mean over rows:
 *
 * - 'plain': ‖h − t‖² / n;
 * - 'relative': r = ‖h − t‖² / (‖t‖² + 10⁻⁶), so that the teacher's massive activations do not dominate;
 * - 'logarithmic': log(1 + r), so that massive activations of the student alone do not dominate either.
 *
 * Only `hidden` gets a gradient.
 *
 * @param hidden - the student's states [rows, n]
 * @param teacher - the teacher's states, of the same shape
 * @returns [1, 1]
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if shapes do not fit
 */
export function hiddenLoss(hidden: Tensor, teacher: Tensor, kind: HiddenLoss): Tensor {
  oneOf('kind', kind, HIDDEN_LOSSES);
  return graphOf('hidden', hidden).apply(
    hiddenDefinition,
    [hidden, teacher],
    [HIDDEN_LOSSES.indexOf(kind)],
  )[0] as Tensor;
}
