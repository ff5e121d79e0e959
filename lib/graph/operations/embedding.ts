import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, expectWeights } from '../operation';

/** y[r] = table[ids[r]], multiplied by the row's scale for i8 tables. */
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
 * Gathers the rows of `table` [V, h] for `ids` i32 [rows, 1] as f32. The table is f32 (the only type with a gradient),
 * f16, bf16, q8, or i8 with `scales` [V, 1]. A run throws MBOK_INVALID_ARGUMENT if an id is outside [0, V).
 */
export function embedding(table: Tensor, ids: Tensor, scales?: Tensor): Tensor {
  return table.graph.apply(definition, [table, ids, scales])[0] as Tensor;
}
