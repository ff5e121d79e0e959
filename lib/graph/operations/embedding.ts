import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, expectWeights, graphOf } from '../operation';

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
 * Looks up rows of a table. A run whose ids are not all in [0, V) fails with MBOK_INVALID_ARGUMENT.
 *
 * @param table - [V, h] in f32 (the only type with a gradient), f16, bf16, q8, or i8 with `scales`
 * @param ids - token ids, i32 [rows, 1]
 * @param scales - scale of every row of an i8 table, f32 [V, 1]
 * @returns rows of the table, f32 [rows, h]
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if types or shapes do not fit
 */
export function embedding(table: Tensor, ids: Tensor, scales?: Tensor): Tensor {
  return graphOf('table', table).apply(definition, [table, ids, scales])[0] as Tensor;
}
