import { expectShape, type OperationDefinition } from '../operation';
import { matrixShape, type Rows, type Tensor } from '../tensor';

/** y[r] = table[offset + position of row r]. Attribute: offset. */
function definition(rows: Rows): OperationDefinition {
  return {
    name: 'position_embedding',
    outputs: ([table]) => [matrixShape(rows, expectShape('position_embedding', 'table', table, {}).cols)],
    gradient({ attributes, upstream, accumulator }) {
      const target = accumulator(0);
      target?.graph.emit('position_embedding_gradient', [upstream(0)], [target], attributes);
      return [];
    },
  };
}

/**
 * Rows of `table` [offset + positions, h] by the position of each of `rows` rows of the run; a run beyond the last
 * position fails with MBOK_INVALID_ARGUMENT.
 */
export function positionEmbedding(table: Tensor, rows: Rows, offset = 0): Tensor {
  return table.graph.apply(definition(rows), [table], [offset])[0] as Tensor;
}
