/** Shape checks that operations share. Each operation is one file in ./operations. */

import { MbokError } from '../base/errors';
import { describeShape, expectTensor, type Graph, type Rows, type Shape, type Tensor } from './graph';

/** Returns the tensor if it has this shape; an omitted dimension may have any value. Throws MBOK_SHAPE otherwise. */
export function expectShape(
  operation: string,
  name: string,
  tensor: Shape | undefined,
  expected: { rows?: Rows; cols?: number; type?: Shape['type'] },
): Shape {
  const type = expected.type ?? 'f32';
  if (
    tensor === undefined ||
    tensor.type !== type ||
    (expected.rows !== undefined && tensor.rows !== expected.rows) ||
    (expected.cols !== undefined && tensor.cols !== expected.cols)
  ) {
    const wanted = `${type} [${expected.rows ?? 'any'}, ${expected.cols ?? 'any'}]`;
    const got = tensor === undefined ? 'nothing' : describeShape(tensor);
    throw new MbokError('MBOK_SHAPE', `${operation}: '${name}' must be ${wanted}, got ${got}`);
  }
  return tensor;
}

/**
 * Returns the shape of weights that native operations read in their stored type: f32, f16, bf16, q8, or i8 with scales
 * f32 [rows, 1]. Throws MBOK_SHAPE otherwise.
 */
export function expectWeights(
  operation: string,
  name: string,
  w: Shape | undefined,
  scales: Shape | undefined,
  expected: { cols?: number } = {},
): Shape {
  const narrow = ['f16', 'bf16', 'i8', 'q8'] as const;
  const type = narrow.find((narrowType) => narrowType === w?.type) ?? 'f32';
  const shape = expectShape(operation, name, w, { ...expected, type });
  if ((scales !== undefined) !== (type === 'i8')) {
    throw new MbokError('MBOK_SHAPE', `${operation}: '${name}' has scales if and only if it is i8, got ${type}`);
  }
  if (scales !== undefined) expectShape(operation, 'scales', scales, { rows: shape.rows, cols: 1 });
  return shape;
}

/** Returns the graph of a tensor. Throws MBOK_INVALID_ARGUMENT if `operand` is not a tensor. */
export function graphOf(name: string, operand: Tensor): Graph {
  return expectTensor(name, operand).graph;
}

/** Returns the tensor. Throws MBOK_SHAPE if it is undefined. */
export function required(operation: string, name: string, tensor: Tensor | undefined): Tensor {
  if (tensor === undefined) throw new MbokError('MBOK_SHAPE', `${operation}: '${name}' is missing`);
  return tensor;
}
