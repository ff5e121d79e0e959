import { MbokError } from '../../base/errors';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, required } from '../operation';

/**
 * Rotates the pairs (j, j + h) of every head by the angle of the row's position. The table has 2h columns; further
 * numbers of wider heads do not change. Attributes: head dimension, direction.
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
    // the rotation is orthogonal, so its gradient is the inverse rotation
    const dy = required('rope', 'dy', upstream(0));
    const [headDimension = 0, direction = 1] = attributes;
    return dy.graph.apply(definition, [dy, ...inputs.slice(1)], [headDimension, -direction]);
  },
};

/**
 * Applies rotary position embedding to x [rows, heads · d]. Row p of `table` [positions, 2h], 2h ≤ d, has the cosines
 * of h angles, then their sines. `positions` i32 [rows, 1] gives the position of each row. By default rows have
 * successive positions in the run's sequences. A run throws MBOK_INVALID_ARGUMENT beyond the last position.
 */
export function rope(x: Tensor, table: Tensor, headDimension: number, positions?: Tensor): Tensor {
  const inputs = positions ? [x, table, positions] : [x, table];
  return x.graph.apply(definition, inputs, [headDimension, 1])[0] as Tensor;
}
