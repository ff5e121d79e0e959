import { matrixShape, type OperationDefinition, type Rows, type Tensor } from '../graph';
import { expectShape } from '../operation';

/** y[r] = table[offset + position of row r]. Attribute: offset. */
function definition(rows: Rows): OperationDefinition {
  return {
    name: 'position_embedding',
    outputs([table, positions]) {
      if (positions) expectShape('position_embedding', 'positions', positions, { rows, cols: 1, type: 'i32' });
      return [matrixShape(rows, expectShape('position_embedding', 'table', table, {}).cols)];
    },
    gradient({ inputs, attributes, upstream, accumulator }) {
      const target = accumulator(0);
      target?.graph.emit('position_embedding_gradient', [upstream(0), ...inputs.slice(1)], [target], attributes);
      return [];
    },
  };
}

/**
 * Rows of `table` [offset + positions, h] by the position of each of `rows` rows of the run; a run beyond the last
 * position fails with MBOK_INVALID_ARGUMENT. `positions` i32 [rows, 1] says where each row stands; by default rows stand
 * at successive positions of the run's sequences.
 */
export function positionEmbedding(table: Tensor, rows: Rows, offset = 0, positions?: Tensor): Tensor {
  const inputs = positions ? [table, positions] : [table];
  return table.graph.apply(definition(rows), inputs, [offset])[0] as Tensor;
}
