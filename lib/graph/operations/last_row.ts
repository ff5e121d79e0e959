import { matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape } from '../operation';

/** y = the last of the run's rows. For inference; has no gradient. */
const definition: OperationDefinition = {
  name: 'last_row',
  outputs: ([x]) => [matrixShape(1, expectShape('last_row', 'x', x, { rows: 'tokens' }).cols)],
};

/** The last row of x [tokens, h]: [1, h]. */
export function lastRow(x: Tensor): Tensor {
  return x.graph.apply(definition, [x])[0] as Tensor;
}
