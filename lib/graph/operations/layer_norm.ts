import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, required } from '../operation';

/** y = (x − mean) / √(variance + ε) ⊙ w + b. Attribute: ε. */
const definition: OperationDefinition = {
  name: 'layer_norm',
  outputs([x, w, b]) {
    const shape = expectShape('layer_norm', 'x', x, {});
    expectShape('layer_norm', 'w', w, { rows: 1, cols: shape.cols });
    if (b !== undefined) expectShape('layer_norm', 'b', b, { rows: 1, cols: shape.cols });
    return [shape];
  },
  gradient({ inputs, attributes, upstream, accumulator }) {
    const x = required('layer_norm', 'x', inputs[0]);
    const dx = x.graph.create(x);
    const outputs = [dx, accumulator(1), accumulator(2)];
    x.graph.emit('layer_norm_gradient', [upstream(0), x, inputs[1]], outputs, attributes);
    return [dx];
  },
};

/** Applies layer normalization to every row of x [rows, h], with weight w [1, h] and optional bias b [1, h]. */
export function layerNorm(x: Tensor, w: Tensor, b: Tensor | undefined, epsilon: number): Tensor {
  return x.graph.apply(definition, [x, w, b], [epsilon])[0] as Tensor;
}
