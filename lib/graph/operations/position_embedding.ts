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
 * Gathers the rows of `table` [offset + positions, h] for `rows` rows of the run. `positions` i32 [rows, 1] gives the
 * position of each row. By default rows have successive positions in the run's sequences. A run throws
 * MBOK_INVALID_ARGUMENT beyond the last position.
 */
export function positionEmbedding(table: Tensor, rows: Rows, offset = 0, positions?: Tensor): Tensor {
  const inputs = positions ? [table, positions] : [table];
  return table.graph.apply(definition(rows), inputs, [offset])[0] as Tensor;
}
