import type { OperationDefinition, Tensor } from '../graph';
import { expectShape } from '../operation';

/** y = a + b. */
const definition: OperationDefinition = {
  name: 'add',
  inPlace: 0,
  outputs([a, b]) {
    const shape = expectShape('add', 'a', a, {});
    expectShape('add', 'b', b, shape);
    return [shape];
  },
  gradient({ needs, upstream }) {
    const dy = upstream(0);
    return [needs(0) ? dy : undefined, needs(1) ? dy : undefined];
  },
};

/** Computes a + b for two f32 tensors of one shape. */
export function add(a: Tensor, b: Tensor): Tensor {
  return a.graph.apply(definition, [a, b])[0] as Tensor;
}
