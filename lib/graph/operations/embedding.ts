import { expectShape, type OperationDefinition } from '../operation';
import { matrixShape, type Tensor } from '../tensor';

/** y[r] = table[ids[r]]. */
const definition: OperationDefinition = {
  name: 'embedding',
  outputs([table, ids]) {
    const { cols } = expectShape('embedding', 'table', table, {});
    return [matrixShape(expectShape('embedding', 'ids', ids, { cols: 1, type: 'i32' }).rows, cols)];
  },
  gradient({ inputs: [, ids], upstream, accumulator }) {
    const target = accumulator(0);
    target?.graph.emit('embedding_gradient', [upstream(0), ids], [target]);
    return [];
  },
};

/** Rows of `table` [V, h] chosen by `ids` i32 [rows, 1]; an id outside [0, V) fails the run with MBOK_INVALID_ARGUMENT. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  return table.graph.apply(definition, [table, ids])[0] as Tensor;
}
