import { oneOf } from '../../base/validate';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/** Activation function. 'gelu' is the exact form with erf, 'geluTanh' its tanh approximation (arXiv 1606.08415). */
export type ActivationKind = 'silu' | 'gelu' | 'geluTanh' | 'relu';

/** Codes of the activation functions, as in native/kernels/activation. */
const KINDS: Readonly<Record<ActivationKind, number>> = { silu: 0, gelu: 1, geluTanh: 2, relu: 3 };
const KIND_NAMES = Object.keys(KINDS) as readonly ActivationKind[];

/** y = f(x). Attribute: kind. */
const definition: OperationDefinition = {
  name: 'activation',
  inPlace: 0,
  outputs: ([x]) => [expectShape('activation', 'x', x, {})],
  gradient({ inputs, attributes, upstream }) {
    const x = required('activation', 'x', inputs[0]);
    const dx = x.graph.create(x);
    x.graph.emit('activation_gradient', [upstream(0), x], [dx], attributes, { inPlace: 0 });
    return [dx];
  },
};

/** y = f(gate) ⊙ up. Attribute: kind. */
const gatedDefinition: OperationDefinition = {
  name: 'gated_activation',
  inPlace: 0,
  outputs([gate, up]) {
    const shape = expectShape('gated_activation', 'gate', gate, {});
    expectShape('gated_activation', 'up', up, shape);
    return [shape];
  },
  gradient({ inputs, attributes, upstream }) {
    const gate = required('gated_activation', 'gate', inputs[0]);
    const gradients = [gate.graph.create(gate), gate.graph.create(gate)];
    gate.graph.emit('gated_activation_gradient', [upstream(0), ...inputs], gradients, attributes);
    return gradients;
  },
};

/**
 * Applies an activation function to every element.
 *
 * @param x - [rows, cols], f32
 * @returns a tensor of the same shape
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE
 */
export function activation(x: Tensor, kind: ActivationKind): Tensor {
  return graphOf('x', x).apply(definition, [x], [KINDS[oneOf('kind', kind, KIND_NAMES)]])[0] as Tensor;
}

/**
 * Computes f(gate) ⊙ up, the middle of a gated MLP: with 'silu' SwiGLU, with 'geluTanh' GeGLU (arXiv 2002.05202).
 *
 * @param gate - [rows, cols], f32
 * @param up - of the same shape
 * @param kind - the function f
 * @returns a tensor of the same shape
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if shapes differ
 */
export function gatedActivation(gate: Tensor, up: Tensor, kind: ActivationKind): Tensor {
  const code = KINDS[oneOf('kind', kind, KIND_NAMES)];
  return graphOf('gate', gate).apply(gatedDefinition, [gate, up], [code])[0] as Tensor;
}
