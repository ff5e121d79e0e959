import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, graphOf } from '../operation';

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

/**
 * Adds two tensors element by element: the residual connection of a block.
 *
 * @param a - [rows, cols], f32
 * @param b - of the same shape
 * @returns a + b
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if shapes differ
 */
export function add(a: Tensor, b: Tensor): Tensor {
  return graphOf('a', a).apply(definition, [a, b])[0] as Tensor;
}
