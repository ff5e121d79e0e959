import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, expectWeights } from '../operation';

/** y[r] = table[ids[r]], i8 tables times the scale of the row. */
const definition: OperationDefinition = {
  name: 'embedding',
  outputs([table, ids, scales]) {
    const { cols } = expectWeights('embedding', 'table', table, scales);
    return [matrixShape(expectShape('embedding', 'ids', ids, { cols: 1, type: 'i32' }).rows, cols)];
  },
  gradient({ inputs: [, ids], upstream, accumulator }) {
    const target = accumulator(0);
    target?.graph.emit('embedding_gradient', [upstream(0), ids], [target]);
    return [];
  },
};

/**
 * Rows of `table` [V, h] chosen by `ids` i32 [rows, 1]; an id outside [0, V) fails the run with MBOK_INVALID_ARGUMENT.
 * The table is f32 (the only type that has a gradient), f16, bf16, q8, or i8 with `scales` [V, 1]; the result is f32.
 */
export function embedding(table: Tensor, ids: Tensor, scales?: Tensor): Tensor {
  return table.graph.apply(definition, [table, ids, scales])[0] as Tensor;
}
