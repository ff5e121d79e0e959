import { expectShape, type OperationDefinition, required } from '../operation';
import type { Tensor } from '../tensor';

/** y = x / √(mean(x²) + ε) ⊙ w. Attribute: ε. */
const definition: OperationDefinition = {
  name: 'rms_norm',
  outputs([x, w]) {
    const shape = expectShape('rms_norm', 'x', x, {});
    expectShape('rms_norm', 'w', w, { rows: 1, cols: shape.cols });
    return [shape];
  },
  gradient({ inputs, attributes, upstream, accumulator }) {
    const x = required('rms_norm', 'x', inputs[0]);
    const dx = x.graph.create(x);
    x.graph.emit('rms_norm_gradient', [upstream(0), x, inputs[1]], [dx, accumulator(1)], attributes);
    return [dx];
  },
};

/** Root-mean-square normalisation of every row of x [rows, h] with weight w [1, h]. */
export function rmsNorm(x: Tensor, w: Tensor, epsilon: number): Tensor {
  return x.graph.apply(definition, [x, w], [epsilon])[0] as Tensor;
}
