import { MbokError } from '../../errors';
import { expectShape, type OperationDefinition, required } from '../operation';
import type { Tensor } from '../tensor';

/**
 * Rotates pairs (j, j + h) of every head by the angle of the row's position, 2h being the table's columns; the rest of a
 * wider head stays as it is. Attributes: head dimension, direction.
 */
const definition: OperationDefinition = {
  name: 'rope',
  inPlace: 0,
  outputs([x, table], [headDimension = 0]) {
    const shape = expectShape('rope', 'x', x, {});
    const { cols } = expectShape('rope', 'table', table, {});
    if (shape.cols % headDimension !== 0 || cols > headDimension || cols % 2 !== 0) {
      throw new MbokError(
        'MBOK_SHAPE',
        `rope: ${shape.cols} columns do not form heads of ${headDimension} that a table of ${cols} columns turns`,
      );
    }
    return [shape];
  },
  gradient({ inputs, attributes, upstream }) {
    // the rotation is orthogonal: its gradient is the rotation back
    const dy = required('rope', 'dy', upstream(0));
    const [headDimension = 0, direction = 1] = attributes;
    return dy.graph.apply(definition, [dy, inputs[1]], [headDimension, -direction]);
  },
};

/**
 * Rotary position embedding of x [rows, heads · d]. `table` [positions, 2h], 2h ≤ d, holds in row p the cosines of h
 * angles and then their sines; a run beyond its last position fails with MBOK_INVALID_ARGUMENT.
 */
export function rope(x: Tensor, table: Tensor, headDimension: number): Tensor {
  return x.graph.apply(definition, [x, table], [headDimension, 1])[0] as Tensor;
}
