import { finiteNumber } from '../../base/validate';
import { type OperationDefinition, SCALAR_SHAPE, type Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/** y = Σ wᵢ xᵢ of scalars. Attributes: the weights. */
const definition: OperationDefinition = {
  name: 'weighted_sum',
  outputs(inputs) {
    for (const input of inputs) expectShape('weighted_sum', 'x', input, SCALAR_SHAPE);
    return [SCALAR_SHAPE];
  },
  gradient({ inputs, attributes, upstream, needs }) {
    const dy = required('weighted_sum', 'dy', upstream(0));
    return inputs.map((_, i) => (needs(i) ? scale(dy, attributes[i] as number) : undefined));
  },
};

/** Computes a weighted sum of [1, 1] tensors. */
export function weightedSum(terms: readonly { readonly value: Tensor; readonly weight: number }[]): Tensor {
  const { graph } = (terms[0] as { value: Tensor }).value;
  const values = terms.map(({ value }) => value);
  return graph.apply(
    definition,
    values,
    terms.map(({ weight }) => weight),
  )[0] as Tensor;
}

/** y = factor · x. Attribute: factor. */
const scaleDefinition: OperationDefinition = {
  name: 'scale',
  inPlace: 0,
  outputs: ([x]) => [expectShape('scale', 'x', x, {})],
  gradient({ attributes, upstream }) {
    return [scale(required('scale', 'dy', upstream(0)), attributes[0] as number)];
  },
};

/** Computes factor · x for an f32 tensor. */
export function scale(x: Tensor, factor: number): Tensor {
  return graphOf('x', x).apply(scaleDefinition, [x], [finiteNumber('factor', factor)])[0] as Tensor;
}
