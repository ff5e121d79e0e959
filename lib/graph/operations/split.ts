import { MbokError } from '../../base/errors';
import { matrixShape, type OperationDefinition, type Shape, type Tensor } from '../graph';
import { expectShape, required } from '../operation';

/** y = x₀, x₁, … side by side. */
const concatenation: OperationDefinition = {
  name: 'concatenate',
  outputs(parts) {
    const { rows } = expectShape('concatenate', 'x', parts[0], {});
    const cols = parts.reduce((sum, part) => sum + expectShape('concatenate', 'x', part, { rows }).cols, 0);
    return [matrixShape(rows, cols)];
  },
  gradient({ inputs, upstream }) {
    const dy = required('concatenate', 'dy', upstream(0));
    return split(
      dy,
      inputs.map((input) => required('concatenate', 'x', input).cols),
    );
  },
};

/** y₀, y₁, … = consecutive columns of x, of these widths. */
function splitting(widths: readonly number[]): OperationDefinition {
  return {
    name: 'split',
    outputs([x]) {
      const shape = expectShape('split', 'x', x, {});
      const sum = widths.reduce((total, width) => total + width, 0);
      if (sum !== shape.cols) {
        throw new MbokError('MBOK_SHAPE', `split: widths ${widths.join(' + ')} do not make up ${shape.cols} columns`);
      }
      return widths.map((width): Shape => matrixShape(shape.rows, width));
    },
    gradient: ({ upstream }) => [
      concatenate(widths.map((_, i) => required('split', 'the gradient of a part', upstream(i)))),
    ],
  };
}

/**
 * Splits x [rows, n₀ + n₁ + …] into [rows, n₀], [rows, n₁], … A gradient requires that the loss depends on every part.
 */
export function split(x: Tensor, widths: readonly number[]): Tensor[] {
  return x.graph.apply(splitting(widths), [x]);
}

/** Joins matrices with equal rows side by side. */
export function concatenate(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  return required('concatenate', 'x', first).graph.apply(concatenation, parts)[0] as Tensor;
}
