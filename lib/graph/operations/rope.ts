import { MbokError } from '../../base/errors';
import { integerInRange, options } from '../../base/validate';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/**
 * Rotates the pairs (j, j + h) of every head by the angle of the row's position. The table has 2h columns; further
 * numbers of wider heads do not change. Attributes: head dimension, direction.
 */
const definition: OperationDefinition = {
  name: 'rope',
  inPlace: 0,
  outputs([x, table, positions], [headDimension = 0]) {
    const shape = expectShape('rope', 'x', x, {});
    if (positions) expectShape('rope', 'positions', positions, { rows: shape.rows, cols: 1, type: 'i32' });
    const { cols } = expectShape('rope', 'table', table, {});
    if (shape.cols % headDimension !== 0 || cols > headDimension || cols % 2 !== 0) {
      throw new MbokError(
        'MBOK_SHAPE',
        `rope: ${shape.cols} columns do not form heads of ${headDimension} that a table of ${cols} columns turns`,
      );
    }
    return [shape];
  },
  gradient({ inputs, attributes, upstream }) {
    // the rotation is orthogonal, so its gradient is the inverse rotation
    const dy = required('rope', 'dy', upstream(0));
    const [headDimension = 0, direction = 1] = attributes;
    return dy.graph.apply(definition, [dy, ...inputs.slice(1)], [headDimension, -direction]);
  },
};

/** Options of {@link rope}. */
export interface RopeOptions {
  /** Columns of one head. */
  readonly headDimension: number;
  /**
   * Position of each row, i32 [rows, 1]. Default: rows have successive positions in the sequences of the run, which start
   * at its scalar `position`.
   */
  readonly positions?: Tensor | undefined;
}

/**
 * Rotates the heads of queries or keys by their positions: rotary position embedding (arXiv 2104.09864), with the pairs
 * (j, j + h) of GPT-NeoX and Llama. A run that reaches a position beyond the table fails with MBOK_INVALID_ARGUMENT.
 *
 * @param x - [rows, heads · headDimension], f32
 * @param table - [positions, 2h], 2h ≤ headDimension, of {@link rotaryTable}: cosines of h angles, then their sines.
 *   Further columns of a head are not rotated
 * @returns a tensor of the shape of x
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if table and heads do not fit
 */
export function rope(x: Tensor, table: Tensor, given: RopeOptions): Tensor {
  const { headDimension, positions } = options('options', given, ['headDimension', 'positions']);
  integerInRange('headDimension', headDimension, 1);
  const inputs = positions === undefined ? [x, table] : [x, table, positions];
  return graphOf('x', x).apply(definition, inputs, [headDimension, 1])[0] as Tensor;
}
