import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, required } from '../operation';

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

/** Limits every element of x smoothly to ±cap, cap > 0. */
export function softcap(x: Tensor, cap: number): Tensor {
  return x.graph.apply(definition, [x], [cap])[0] as Tensor;
}
