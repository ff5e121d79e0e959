import { finiteNumber } from '../../base/validate';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/** y = cap · tanh(x / cap). Attribute: cap. */
const definition: OperationDefinition = {
  name: 'softcap',
  inPlace: 0,
  outputs: ([x]) => [expectShape('softcap', 'x', x, {})],
  gradient({ inputs, attributes, upstream }) {
    const x = required('softcap', 'x', inputs[0]);
    const dx = x.graph.create(x);
    x.graph.emit('softcap_gradient', [upstream(0), x], [dx], attributes, { inPlace: 0 });
    return [dx];
  },
};

/**
 * Limits every element smoothly to ±cap: cap · tanh(x / cap), as Gemma 2 does for logits (arXiv 2408.00118).
 *
 * @param x - [rows, cols], f32
 * @param cap - the limit, above 0
 * @returns a tensor of the same shape
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE
 */
export function softcap(x: Tensor, cap: number): Tensor {
  finiteNumber('cap', cap, Number.MIN_VALUE);
  return graphOf('x', x).apply(definition, [x], [cap])[0] as Tensor;
}
