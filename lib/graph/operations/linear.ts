import { PRECISIONS } from '../arithmetic';
import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, expectWeights, graphOf, required } from '../operation';

/** y = x wᵀ + bias; i8 weights are multiplied by the scale of their row. Attribute: precision. */
const definition: OperationDefinition = {
  name: 'linear',
  outputs([x, w, bias, scales]) {
    const { rows, cols } = expectShape('linear', 'x', x, {});
    const { rows: outputs } = expectWeights('linear', 'w', w, scales, { cols });
    if (bias !== undefined) expectShape('linear', 'bias', bias, { rows: 1, cols: outputs as number });
    return [matrixShape(rows, outputs as number)];
  },
  gradient({ inputs, attributes, upstream, needs, accumulator }) {
    const x = required('linear', 'x', inputs[0]);
    const dy = required('linear', 'dy', upstream(0));
    const { graph } = dy;
    let dx: Tensor | undefined;
    if (needs(0)) {
      dx = graph.create(x);
      graph.emit('linear_gradient_input', [dy, inputs[1], inputs[3]], [dx], attributes);
    }
    const dw = accumulator(1);
    if (dw !== undefined) graph.emit('linear_gradient_weight', [dy, x], [dw], attributes);
    const db = accumulator(2);
    if (db !== undefined) graph.emit('bias_gradient', [dy], [db]);
    return [dx];
  },
};

/**
 * Adds a dense linear layer: x [rows, n] times w [m, n] transposed, plus bias [1, m], in the graph's precision. `w` is
 * f32 (the only type that can be trained), f16, bf16, q8, or i8 with `scales` [m, 1].
 *
 * @returns y [rows, m]
 * @throws MbokError MBOK_SHAPE if shapes do not fit
 */
export function linear(x: Tensor, w: Tensor, bias?: Tensor, scales?: Tensor): Tensor {
  return graphOf('x', x).apply(definition, [x, w, bias, scales], [precisionCode(x)])[0] as Tensor;
}

/** Encodes the graph's precision for the native products. */
export function precisionCode({ graph }: Tensor): number {
  return PRECISIONS.indexOf(graph.arithmetic.precision);
}
