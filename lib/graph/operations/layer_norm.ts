import { finiteNumber, options } from '../../base/validate';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

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

/** Options of {@link layerNorm}. */
export interface LayerNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly epsilon?: number;
}

/**
 * Normalizes every row to mean 0 and variance 1 (arXiv 1607.06450): (x − mean) / √(variance + ε) ⊙ w + b.
 *
 * @param x - [rows, h], f32
 * @param w - weight [1, h]
 * @param b - bias [1, h]; undefined for none
 * @returns a tensor of the shape of x
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if weight or bias do not fit
 */
export function layerNorm(x: Tensor, w: Tensor, b?: Tensor, given: LayerNormOptions = {}): Tensor {
  const { epsilon = 1e-5 } = options('options', given, ['epsilon']);
  finiteNumber('epsilon', epsilon, 0);
  return graphOf('x', x).apply(definition, [x, w, b], [epsilon])[0] as Tensor;
}
