import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, graphOf } from '../operation';
import { booleanInputs, expectTable, type Table } from './table';

const [KERNELS, MARKS] = [3, 6];

/** y[r] = table[ids[r]]. Inputs: weights?, ids, scales?, kernels?, sOut?, sIn?, marks?. */
const definition: OperationDefinition = {
  name: 'embedding',
  outputs([weights, ids, scales, kernels, sOut, sIn, marks]) {
    const boolean = kernels && sOut && sIn && { kernels, sOut, sIn };
    const { cols } = expectTable('embedding', { weights, scales, boolean, marks });
    return [matrixShape(expectShape('embedding', 'ids', ids, { cols: 1, type: 'i32' }).rows, cols)];
  },
  gradient({ inputs, upstream, accumulator }) {
    const target = accumulator(0) ?? accumulator(KERNELS);
    target?.graph.emit('embedding_gradient', [upstream(0), inputs[1], inputs[MARKS]], [target]);
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

/** Looks up rows of a table of any structure, like {@link embedding}. */
export function tableRows(table: Table, ids: Tensor): Tensor {
  return ids.graph.apply(definition, [table.weights, ids, table.scales, ...booleanInputs(table)])[0] as Tensor;
}
