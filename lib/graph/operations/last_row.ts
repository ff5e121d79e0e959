import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape } from '../operation';

/** y = the last row of the run. For inference; has no gradient. */
const definition: OperationDefinition = {
  name: 'last_row',
  outputs: ([x]) => [matrixShape(1, expectShape('last_row', 'x', x, { rows: 'tokens' }).cols)],
};

/** Returns the last row [1, h] of x [tokens, h]. */
export function lastRow(x: Tensor): Tensor {
  return x.graph.apply(definition, [x])[0] as Tensor;
}
