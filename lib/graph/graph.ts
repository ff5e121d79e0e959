/**
 * Symbolic tensors (matrices to be computed), operations between them, and the graph: the list of operations that a
 * plan runs in order. They refer to each other, so they share a file.
 */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, oneOf, options, string } from '../base/validate';
import type { Phase, TensorType } from '../native/addon';
import { Matrix } from '../native/matrix';
import { type Arithmetic, arithmeticOf } from './arithmetic';

/** Number of rows: fixed when the graph is built, or 'tokens' for the number of tokens of a run. */
export type Rows = number | 'tokens';

/** Shape and element type of a tensor. */
export interface Shape {
  /** Number of rows. */
  readonly rows: Rows;
  /** Number of columns. */
  readonly cols: number;
  /** Element type. */
  readonly type: TensorType;
}

/** Category of a bound tensor's memory in a plan's report. */
export type MemoryRole = 'weights' | 'teacher' | 'gradients' | 'state';
export const MEMORY_ROLES: readonly MemoryRole[] = ['weights', 'teacher', 'gradients', 'state'];

/** The source of a tensor's memory. */
export type Binding =
  /** computed by the graph; occupies the plan's arena while it is needed */
  | { readonly kind: 'intermediate' }
  /** written by the caller before each run, or read after it */
  | { readonly kind: 'port'; readonly name: string }
  /** memory that outlives the plan */
  | { readonly kind: 'bound'; readonly matrix: Matrix; readonly role: MemoryRole };

/** A matrix of a graph. Only {@link Graph} creates tensors. */
export class Tensor implements Shape {
  /** Distinguishes tensors from objects of the same shape. */
  readonly #genuine = true;

  /** @internal */
  constructor(
    /** The graph that it belongs to. */
    readonly graph: Graph,
    /** Index of the tensor in its graph. */
    readonly id: number,
    /** Number of rows. */
    readonly rows: Rows,
    /** Number of columns. */
    readonly cols: number,
    /** Element type. */
    readonly type: TensorType,
    /** @internal Source of its memory. */
    public binding: Binding,
  ) {}

  /** Tells whether `value` is a tensor of this copy of mbok. Proxies and objects that only inherit from one are not. */
  static isTensor(value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #genuine in value && value.#genuine;
  }
}

/** Returns `value` if it is a tensor. Throws MBOK_INVALID_ARGUMENT otherwise. */
export function expectTensor(name: string, value: Tensor): Tensor {
  return Tensor.isTensor(value) ? value : invalid(name, 'a tensor of a graph', value);
}

/** Returns the f32 shape [rows, cols]. */
export function matrixShape(rows: Rows, cols: number): Shape {
  return { rows, cols, type: 'f32' };
}

export const SCALAR_SHAPE: Shape = matrixShape(1, 1);

export function describeShape(shape: Shape): string {
  return `${shape.type} [${shape.rows}, ${shape.cols}]`;
}

/** The context of a gradient rule; `i` is the index of an input or output of the operation. */
export interface GradientContext {
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly (Tensor | undefined)[];
  readonly attributes: readonly number[];
  /** Returns the gradient of output `i`; undefined if the loss does not depend on it. */
  upstream(i: number): Tensor | undefined;
  /** Tells whether the rule must return a gradient for input `i`. */
  needs(i: number): boolean;
  /** Returns the matrix to which the gradient of parameter `i` is added; undefined if it is not trained. */
  accumulator(i: number): Tensor | undefined;
  /** Returns the destination of the signal of ±1 parameter `i`; undefined if it is not trained. */
  booleanTarget(i: number): BooleanTarget | undefined;
}

/** Destination of the Boolean signal of a ±1 parameter. */
export type BooleanTarget = DenseSignal | BooleanOptimizerState;

/** A dense matrix as destination of a signal (latent weights, tests). */
export interface DenseSignal {
  /** Tells the destinations apart. */
  readonly kind: 'dense';
  /** The matrix [m, n]. */
  readonly signal: Tensor;
  /** Index of the kernel whose signal it is. */
  readonly kernel: number;
}

/** The Boolean optimizer as destination of a signal, which it consumes tile by tile; see {@link BooleanOptimizer}. */
export interface BooleanOptimizerState {
  /** Tells the destinations apart. */
  readonly kind: 'optimizer';
  /** Accumulator [m, n], 16 bits per weight (f32 for exact replays). */
  readonly accumulator: Tensor;
  /** Statistics of the rows, f32 [2, m]. */
  readonly rowStatistics: Tensor;
  /** Statistics of the columns, f32 [2, n]. */
  readonly columnStatistics: Tensor;
  /** Further state, f32 [1, 8]: first β, then the number of weights moved in the last step. */
  readonly state: Tensor;
  /** Settings as the native operations encode them. */
  readonly settings: readonly [rule: number, normalizer: number, decay: number, retained: number, rate: number];
}

/** The definition of an operation: its shape rule and, if it is differentiable, its gradient rule. */
export interface OperationDefinition {
  /** Name in the native table of operations. */
  readonly name: string;
  /** Returns the shapes of the outputs. Throws MBOK_SHAPE if the inputs do not fit together. */
  outputs(inputs: readonly (Shape | undefined)[], attributes: readonly number[]): readonly Shape[];
  /** Index of the input whose memory output 0 may overwrite, if nothing reads the input later. */
  readonly inPlace?: number;
  /**
   * Emits the operations that compute input gradients from output gradients. Returns the gradient of every input that
   * `needs` one, undefined for others. Gradients of parameters are added to their accumulators.
   */
  gradient?(context: GradientContext): readonly (Tensor | undefined)[];
}

/** An operation in a graph. */
export interface Node {
  /** Name in the native table of operations. */
  readonly name: string;
  /** Tensors that it reads; undefined for optional inputs that are absent. */
  readonly inputs: readonly (Tensor | undefined)[];
  /** Tensors that it writes. */
  readonly outputs: readonly (Tensor | undefined)[];
  /** @internal */
  readonly attributes: readonly number[];
  /** @internal */
  readonly phase: Phase;
  /** @internal Index of the input whose memory output 0 may overwrite, if nothing reads the input later. */
  readonly inPlace: number | undefined;
  /** @internal Undefined for operations that were emitted without one; they have no gradient. */
  readonly definition: OperationDefinition | undefined;
}

export interface EmitOptions {
  /** When the operation runs within an optimizer step. Default 'always'. */
  readonly phase?: Phase;
  readonly inPlace?: number;
  /** The definition with the gradient rule, if the operation is differentiable. */
  readonly definition?: OperationDefinition;
}

/** Returns `value` if it is a graph. Throws MBOK_INVALID_ARGUMENT otherwise. */
export function expectGraph(name: string, value: Graph): Graph {
  return Graph.isGraph(value) ? value : invalid(name, 'a Graph', value);
}

/**
 * A list of operations, built symbolically. A {@link Plan} of the graph computes them.
 *
 * @example
 * const graph = new Graph();
 * const x = graph.input('x', { rows: 'tokens', cols: 64 });
 * graph.output('y', linear(x, graph.bind(weight)));
 * const plan = new Plan(graph, { maxRows: 16 });
 * const { y } = await plan.run({ inputs: { x: data } });
 */
export class Graph {
  /** Precision of products, and rounding of activations. */
  readonly arithmetic: Arithmetic;
  /** Operations in the order in which they run. */
  readonly nodes: Node[] = [];
  /** @internal All tensors in the order of their creation. */
  readonly tensors: Tensor[] = [];
  /** Inputs of a run, by name. */
  readonly inputs = new Map<string, Tensor>();
  /** Results of a run, by name. */
  readonly outputs = new Map<string, Tensor>();
  readonly #bound = new Map<Matrix, Tensor>();

  /** Creates an empty graph. Default: precision 'f32', activations not rounded. Throws MBOK_INVALID_ARGUMENT. */
  constructor(arithmetic: Partial<Arithmetic> = {}) {
    this.arithmetic = arithmeticOf(options('options', arithmetic, ['precision', 'activations']));
  }

  /** Tells whether `value` is a graph of this copy of mbok. Proxies and objects that only inherit from one are not. */
  static isGraph(value: unknown): value is Graph {
    return typeof value === 'object' && value !== null && #bound in value;
  }

  /** Adds an input that the caller passes to every run: f32, or i32 for token ids. Throws MBOK_INVALID_ARGUMENT. */
  input(name: string, shape: { rows: Shape['rows']; cols: number; type?: 'f32' | 'i32' }): Tensor {
    string('name', name);
    const { rows, cols, type = 'f32' } = options('shape', shape, ['rows', 'cols', 'type']);
    if (rows !== 'tokens') integerInRange('rows', rows, 1, 2 ** 31);
    integerInRange('cols', cols, 1, 2 ** 31);
    oneOf('type', type, ['f32', 'i32']);
    if (this.inputs.has(name)) throw new MbokError('MBOK_INVALID_ARGUMENT', `the graph already has an input '${name}'`);
    const tensor = this.#create({ rows, cols, type }, { kind: 'port', name });
    this.inputs.set(name, tensor);
    return tensor;
  }

  /** Makes an f32 tensor readable after a run. Its memory is not reused. Throws MBOK_INVALID_ARGUMENT, MBOK_SHAPE. */
  output(name: string, tensor: Tensor): void {
    string('name', name);
    this.#expectOwnTensors([expectTensor('tensor', tensor)]);
    if (this.outputs.has(name))
      throw new MbokError('MBOK_INVALID_ARGUMENT', `the graph already has an output '${name}'`);
    if (tensor.type !== 'f32') throw new MbokError('MBOK_SHAPE', `output '${name}' must be f32, got ${tensor.type}`);
    this.outputs.set(name, tensor);
    if (tensor.binding.kind === 'intermediate') tensor.binding = { kind: 'port', name };
  }

  /**
   * Returns the tensor whose memory is `matrix`; each matrix has one tensor per graph. Throws MBOK_INVALID_ARGUMENT.
   */
  bind(matrix: Matrix, role: MemoryRole = 'weights'): Tensor {
    if (!Matrix.isMatrix(matrix)) invalid('matrix', 'a Matrix', matrix);
    oneOf('role', role, MEMORY_ROLES);
    const existing = this.#bound.get(matrix);
    if (existing !== undefined) return existing;
    const tensor = this.#create(matrix, { kind: 'bound', matrix, role });
    this.#bound.set(matrix, tensor);
    return tensor;
  }

  /** @internal Adds an operation by its definition, and creates its outputs. Throws MBOK_SHAPE, MBOK_INVALID_ARGUMENT. */
  apply(
    definition: OperationDefinition,
    inputs: readonly (Tensor | undefined)[],
    attributes: readonly number[] = [],
  ): Tensor[] {
    this.#expectOwnTensors(inputs);
    const outputs = definition
      .outputs(inputs, attributes)
      .map((shape) => this.#create(shape, { kind: 'intermediate' }));
    this.nodes.push({
      name: definition.name,
      inputs,
      outputs,
      attributes,
      phase: 'always',
      inPlace: definition.inPlace,
      definition,
    });
    return outputs;
  }

  /** @internal Adds an operation that writes existing tensors. Gradients pass through it only with `definition`. */
  emit(
    name: string,
    inputs: readonly (Tensor | undefined)[],
    outputs: readonly (Tensor | undefined)[],
    attributes: readonly number[] = [],
    { phase = 'always', inPlace, definition }: EmitOptions = {},
  ): void {
    this.#expectOwnTensors(inputs);
    this.#expectOwnTensors(outputs);
    this.nodes.push({ name, inputs, outputs, attributes, phase, inPlace, definition });
  }

  /** @internal Removes operations. Throws MBOK_INTERNAL if another operation reads their results. */
  remove(nodes: readonly Node[]): void {
    for (const node of nodes) this.nodes.splice(this.nodes.indexOf(node), 1);
    const removed = new Set(nodes.flatMap(({ outputs }) => outputs));
    if (this.nodes.some(({ inputs }) => inputs.some((input) => input !== undefined && removed.has(input)))) {
      throw new MbokError('MBOK_INTERNAL', 'an operation is still needed');
    }
  }

  /** @internal Adds copies of operations in which tensors are replaced as `replacements` maps them. */
  repeat(nodes: readonly Node[], replacements: ReadonlyMap<Tensor, Tensor>): Node[] {
    const swap = (tensors: Node['inputs']) => tensors.map((tensor) => tensor && (replacements.get(tensor) ?? tensor));
    const copies = nodes.map((node) => ({ ...node, inputs: swap(node.inputs), outputs: swap(node.outputs) }));
    this.nodes.push(...copies);
    return copies;
  }

  /** @internal Creates an intermediate tensor that {@link emit} can write. */
  create(shape: Shape): Tensor {
    return this.#create(shape, { kind: 'intermediate' });
  }

  #create({ rows, cols, type }: Shape, binding: Binding): Tensor {
    const tensor = new Tensor(this, this.tensors.length, rows, cols, type, binding);
    this.tensors.push(tensor);
    return tensor;
  }

  #expectOwnTensors(tensors: readonly (Tensor | undefined)[]): void {
    for (const tensor of tensors) {
      if (tensor !== undefined && expectTensor('tensor', tensor).graph !== this) {
        throw new MbokError('MBOK_INVALID_ARGUMENT', 'a tensor belongs to another graph');
      }
    }
  }
}
