/** What an operation is to the graph: its shape rule and its gradient rule, one file each in ./operations. */

import { MbokError } from '../errors';
import type { Graph } from './graph';
import { describeShape, expectTensor, type Rows, type Shape, type Tensor } from './tensor';

/** What a gradient rule may ask for and use; `i` counts the operation's inputs. */
export interface GradientContext {
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly (Tensor | undefined)[];
  readonly attributes: readonly number[];
  /** Gradient of output `i`; undefined where the loss does not depend on it. */
  upstream(i: number): Tensor | undefined;
  /** Whether a gradient for input `i` has to be returned. */
  needs(i: number): boolean;
  /** The matrix that a parameter's gradient is added to; undefined where input `i` is not trained. */
  accumulator(i: number): Tensor | undefined;
  /** Where the Boolean signal of a ±1 parameter goes; undefined where it is not trained. */
  booleanTarget(i: number): BooleanTarget | undefined;
}

/** Where the Boolean signal of one ±1 parameter goes. */
export type BooleanTarget =
  /** into a dense matrix [m, n]: the signal of kernel `kernel` alone (latent weights, tests) */
  | { readonly kind: 'dense'; readonly signal: Tensor; readonly kernel: number }
  /** straight into the Boolean optimizer, tile by tile */
  | ({ readonly kind: 'optimizer' } & BooleanOptimizerState);

/** State and settings of the Boolean optimizer for one parameter; see {@link BooleanOptimizer}. */
export interface BooleanOptimizerState {
  /** [m, n], 16 bits a weight (f32 for exact replays). */
  readonly accumulator: Tensor;
  /** f32 [2, m]. */
  readonly rowStatistics: Tensor;
  /** f32 [2, n]. */
  readonly columnStatistics: Tensor;
  /** f32 [1, 8]: β first, then the number of weights moved in the last step. */
  readonly state: Tensor;
  /** rule, normaliser and decay as the native operations take them. */
  readonly settings: readonly [rule: number, normaliser: number, decay: number];
}

export interface OperationDefinition {
  /** Row of the native executor's table. */
  readonly name: string;
  /** Shapes of the outputs. Throws MBOK_SHAPE where the inputs do not fit together. */
  outputs(inputs: readonly (Shape | undefined)[], attributes: readonly number[]): readonly Shape[];
  /** Output 0 may be written over this input when nothing needs the input afterwards. */
  readonly inPlace?: number;
  /**
   * Emits the operations that carry gradients from the outputs to the inputs. Returns the gradient of every input
   * that `needs` one (undefined elsewhere); gradients of parameters are added to their accumulators instead.
   */
  gradient?(context: GradientContext): readonly (Tensor | undefined)[];
}

/** Throws MBOK_SHAPE unless the tensor has this shape ('any' leaves a dimension open). */
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
 * Throws MBOK_SHAPE unless `w` is f32, f16, bf16, q8 or, with scales f32 [rows, 1], i8: the weights that operations read
 * where they lie. Returns their shape.
 */
export function expectWeights(
  operation: string,
  name: string,
  w: Shape | undefined,
  scales: Shape | undefined,
  expected: { cols?: number } = {},
): Shape {
  const narrow = ['f16', 'bf16', 'i8', 'q8'] as const;
  const type = narrow.find((own) => own === w?.type) ?? 'f32';
  const shape = expectShape(operation, name, w, { ...expected, type });
  if ((scales !== undefined) !== (type === 'i8')) {
    throw new MbokError('MBOK_SHAPE', `${operation}: '${name}' has scales if and only if it is i8, got ${type}`);
  }
  if (scales !== undefined) expectShape(operation, 'scales', scales, { rows: shape.rows, cols: 1 });
  return shape;
}

/** The graph of an operand. Throws MBOK_INVALID_ARGUMENT for anything but a tensor. */
export function graphOf(name: string, operand: Tensor): Graph {
  return expectTensor(name, operand).graph;
}

/** The tensor, which the operation cannot do without. */
export function required(operation: string, name: string, tensor: Tensor | undefined): Tensor {
  if (tensor === undefined) throw new MbokError('MBOK_SHAPE', `${operation}: '${name}' is missing`);
  return tensor;
}
