import { MbokError } from '../../base/errors';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, required } from '../operation';

/**
 * Rotates pairs (j, j + h) of every head by the angle of the row's position, 2h being the table's columns; the rest of a
 * wider head stays as it is. Attributes: head dimension, direction.
 */
const definition: OperationDefinition = {
  name: 'rope',
  inPlace: 0,
  outputs([x, table, positions], [headDimension = 0]) {
    const shape = expectShape('rope', 'x', x, {});
    if (positions) expectShape('rope', 'positions', positions, { rows: shape.rows, cols: 1, type: 'i32' });
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
    return dy.graph.apply(definition, [dy, ...inputs.slice(1)], [headDimension, -direction]);
  },
};

/**
 * Rotary position embedding of x [rows, heads · d]. `table` [positions, 2h], 2h ≤ d, holds in row p the cosines of h
 * angles and then their sines; a run beyond its last position fails with MBOK_INVALID_ARGUMENT. `positions` i32 [rows, 1]
 * says where each row stands; by default rows stand at successive positions of the run's sequences.
 */
export function rope(x: Tensor, table: Tensor, headDimension: number, positions?: Tensor): Tensor {
  const inputs = positions ? [x, table, positions] : [x, table];
  return x.graph.apply(definition, inputs, [headDimension, 1])[0] as Tensor;
}
