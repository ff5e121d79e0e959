import { finiteNumber, integerInRange, options } from '../../base/validate';
import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';
import { precisionCode } from './linear';

const NAME = 'boolean_linear';

/** s = x wᵀ + bias for ±1 inputs and weights (BOLD, arXiv 2405.16339). Attribute: factor of the input gradient. */
const definition: OperationDefinition = {
  name: NAME,
  outputs([x, w, bias]) {
    const { rows, cols } = expectShape(NAME, 'x', x, { type: 'bits' });
    const { rows: m } = expectShape(NAME, 'w', w, { cols, type: 'bits' });
    if (bias !== undefined) expectShape(NAME, 'bias', bias, { rows: 1, cols: m as number });
    return [matrixShape(rows, m as number)];
  },
  gradient({ inputs, attributes, upstream, needs, accumulator, booleanTarget }) {
    const x = required(NAME, 'x', inputs[0]);
    const w = required(NAME, 'w', inputs[1]);
    const z = required(NAME, 'z', upstream(0));
    const { graph } = z;
    const [factor = 1] = attributes;
    const precision = precisionCode(z);
    let dx: Tensor | undefined;
    if (needs(0)) {
      dx = graph.create(matrixShape(x.rows, x.cols));
      graph.emit('boolean_linear_gradient_input', [z, w], [dx], [factor, precision]);
    }
    const db = accumulator(2);
    if (db !== undefined) graph.emit('bias_gradient', [z], [db]);
    const target = booleanTarget(1);
    if (target?.kind === 'dense') graph.emit('boolean_linear_signal', [z, x], [target.signal], [precision]);
    if (target?.kind === 'optimizer') {
      const signal = graph.create(matrixShape(w.rows, w.cols));
      const { accumulator: evidence, rowStatistics, columnStatistics, state, settings } = target;
      const updated = [w, evidence, rowStatistics, columnStatistics, state];
      graph.emit('zero', [], [signal]);
      graph.emit('boolean_linear_signal', [z, x], [signal], [precision]);
      graph.emit('boolean_update', [signal, undefined, undefined], updated, [1, ...settings]);
    }
    return [dx];
  },
};

/**
 * Adds the Boolean linear layer of BOLD (arXiv 2405.16339): s = x wᵀ + bias for x ±1 [rows, n], w ±1 [m, n], bias [1,
 * m]. Without bias s is an integer, exact in f32. `gradientFactor` multiplies the gradient to x; it should be √(2/m) if
 * the layer below is Boolean (App. C.2). Default 1.
 *
 * @returns s [rows, m]
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if types or shapes do not fit
 */
export function booleanLinear(
  x: Tensor,
  w: Tensor,
  bias?: Tensor,
  given: { readonly gradientFactor?: number } = {},
): Tensor {
  const { gradientFactor = 1 } = options('options', given, ['gradientFactor']);
  finiteNumber('gradientFactor', gradientFactor);
  return graphOf('x', x).apply(definition, [x, w, bias], [gradientFactor])[0] as Tensor;
}

const ACTIVATION = 'boolean_activation';

/**
 * TRUE if and only if s ≥ τ. The backward pass multiplies by 1 − tanh²(α(s − τ)), α = π / (2√(3n)). Attributes: τ,
 * fan-in n.
 */
const activationDefinition: OperationDefinition = {
  name: ACTIVATION,
  outputs([s]) {
    const { rows, cols } = expectShape(ACTIVATION, 's', s, {});
    return [{ rows, cols, type: 'bits' }];
  },
  gradient({ inputs, attributes, upstream }) {
    const s = required(ACTIVATION, 's', inputs[0]);
    const ds = s.graph.create(s);
    s.graph.emit('boolean_activation_gradient', [upstream(0), s], [ds], attributes, { inPlace: 0 });
    return [ds];
  },
};

/**
 * Applies the Boolean activation of BOLD to pre-activations s [rows, n] of a layer with `fanIn` inputs. The result is
 * +1 where s ≥ `threshold` (default 0), otherwise −1. The backward pass multiplies by 1 − tanh²(α(s − threshold)) with
 * α = π / (2√(3 · fanIn)).
 *
 * @returns ±1 [rows, n]
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if s is not f32
 */
export function booleanActivation(s: Tensor, given: { fanIn: number; threshold?: number }): Tensor {
  const { fanIn, threshold = 0 } = options('options', given, ['fanIn', 'threshold']);
  integerInRange('fanIn', fanIn, 1);
  finiteNumber('threshold', threshold);
  return graphOf('s', s).apply(activationDefinition, [s], [threshold, fanIn])[0] as Tensor;
}
