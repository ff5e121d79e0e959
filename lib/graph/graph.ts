/**
 * Symbolic tensors (matrices that have not been computed yet), the operations between them, and the graph that holds both:
 * the list of operations that a plan will run, in order. They refer to each other, so they are in one file.
 */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, oneOf, options, string } from '../base/validate';
import type { Phase, TensorType } from '../native/addon';
import { Matrix } from '../native/matrix';
import { type Arithmetic, arithmeticOf } from './arithmetic';

/** A row count known when the graph is built, or 'tokens': as many rows as a run has tokens. */
export type Rows = number | 'tokens';

export interface Shape {
  readonly rows: Rows;
  readonly cols: number;
  readonly type: TensorType;
}

/** What memory a bound tensor is accounted under in a plan's report. */
export type MemoryRole = (typeof MEMORY_ROLES)[number];
export const MEMORY_ROLES = ['weights', 'teacher', 'gradients', 'state'] as const;

/** Where a tensor's memory comes from. */
export type Binding =
  /** computed by the graph; lives in the plan's arena only as long as it is needed */
  | { readonly kind: 'intermediate' }
  /** written by the caller before each run, or read after it */
  | { readonly kind: 'port'; readonly name: string }
  /** memory that outlives the plan */
  | { readonly kind: 'bound'; readonly matrix: Matrix; readonly role: MemoryRole };

/** One matrix of a graph. Created by {@link Graph}, never by hand. */
export class Tensor implements Shape {
  /** Tells tensors from what looks like one. */
  readonly #genuine = true;

  /** What {@link Graph} made: its graph and number in it, extent, element type and memory. */
  constructor(
    readonly graph: Graph,
    readonly id: number,
    readonly rows: Rows,
    readonly cols: number,
    readonly type: TensorType,
    public binding: Binding,
  ) {}

  /** Whether `value` is a tensor of this copy of mbok: no proxy, and nothing that only inherits from one. */
  static isTensor(value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #genuine in value && value.#genuine;
  }
}

/** Returns `value` if it is a tensor, else throws MBOK_INVALID_ARGUMENT. */
export function expectTensor(name: string, value: Tensor): Tensor {
  return Tensor.isTensor(value) ? value : invalid(name, 'a tensor of a graph', value);
}

/** f32 of the given extent. */
export function matrixShape(rows: Rows, cols: number): Shape {
  return { rows, cols, type: 'f32' };
}

export const SCALAR_SHAPE: Shape = matrixShape(1, 1);

export function describeShape(shape: Shape): string {
  return `${shape.type} [${shape.rows}, ${shape.cols}]`;
}

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
  /** rule, normalizer and decay as the native operations take them. */
  readonly settings: readonly [rule: number, normalizer: number, decay: number];
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

/** An operation in its place. */
export interface Node {
  readonly name: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly (Tensor | undefined)[];
  readonly attributes: readonly number[];
  readonly phase: Phase;
  /** Output 0 may reuse the memory of this input if it is not needed later. */
  readonly inPlace: number | undefined;
  /** Absent for operations that nothing is differentiated through. */
  readonly definition: OperationDefinition | undefined;
}

export interface EmitOptions {
  /** When the operation runs within an optimizer step. Default 'always'. */
  readonly phase?: Phase;
  readonly inPlace?: number;
  /** Where it is differentiated through, by its gradient rule. */
  readonly definition?: OperationDefinition;
}

/** Returns `value` if it is a graph, else throws MBOK_INVALID_ARGUMENT. */
export function expectGraph(name: string, value: Graph): Graph {
  return Graph.isGraph(value) ? value : invalid(name, 'a Graph', value);
}

/**
 * Builds a list of operations symbolically. Nothing is computed until a {@link Plan} is made of it.
 *
 * @example
 * const graph = new Graph();
 * const x = graph.input('x', { rows: 'tokens', cols: 64 });
 * graph.output('y', linear(x, graph.bind(weight)));
 * const plan = new Plan(graph, { maxRows: 16 });
 * const { y } = await plan.run({ inputs: { x: data } });
 */
export class Graph {
  readonly arithmetic: Arithmetic;
  /** The operations, in the order in which they run. */
  readonly nodes: Node[] = [];
  /** Every tensor, in the order in which they were made. */
  readonly tensors: Tensor[] = [];
  /** What a run has to be given, by name. */
  readonly inputs = new Map<string, Tensor>();
  /** What a run gives, by name. */
  readonly outputs = new Map<string, Tensor>();
  readonly #bound = new Map<Matrix, Tensor>();

  /** Default: precision 'f32', activations not rounded. */
  constructor(arithmetic: Partial<Arithmetic> = {}) {
    this.arithmetic = arithmeticOf(options('options', arithmetic, ['precision', 'activations']));
  }

  /** Whether `value` is a graph of this copy of mbok: no proxy, and nothing that only inherits from one. */
  static isGraph(value: unknown): value is Graph {
    return typeof value === 'object' && value !== null && #bound in value;
  }

  /** A matrix that the caller gives at every run: f32, or i32 for token ids. */
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

  /** Lets the caller read an f32 tensor after a run. The tensor's memory is then never reused. */
  output(name: string, tensor: Tensor): void {
    string('name', name);
    this.#own([expectTensor('tensor', tensor)]);
    if (this.outputs.has(name))
      throw new MbokError('MBOK_INVALID_ARGUMENT', `the graph already has an output '${name}'`);
    if (tensor.type !== 'f32') throw new MbokError('MBOK_SHAPE', `output '${name}' must be f32, got ${tensor.type}`);
    this.outputs.set(name, tensor);
    if (tensor.binding.kind === 'intermediate') tensor.binding = { kind: 'port', name };
  }

  /** A tensor whose memory is `matrix`; binding the same matrix twice gives the same tensor. */
  bind(matrix: Matrix, role: MemoryRole = 'weights'): Tensor {
    if (!Matrix.isMatrix(matrix)) invalid('matrix', 'a Matrix', matrix);
    oneOf('role', role, MEMORY_ROLES);
    const known = this.#bound.get(matrix);
    if (known !== undefined) return known;
    const tensor = this.#create(matrix, { kind: 'bound', matrix, role });
    this.#bound.set(matrix, tensor);
    return tensor;
  }

  /** Adds an operation that makes new tensors. */
  apply(
    definition: OperationDefinition,
    inputs: readonly (Tensor | undefined)[],
    attributes: readonly number[] = [],
  ): Tensor[] {
    this.#own(inputs);
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

  /** Adds an operation that nothing is differentiated through and that writes the given tensors. */
  emit(
    name: string,
    inputs: readonly (Tensor | undefined)[],
    outputs: readonly (Tensor | undefined)[],
    attributes: readonly number[] = [],
    { phase = 'always', inPlace, definition }: EmitOptions = {},
  ): void {
    this.#own(inputs);
    this.#own(outputs);
    this.nodes.push({ name, inputs, outputs, attributes, phase, inPlace, definition });
  }

  /** Takes operations out again. Nothing may read what they would have made. */
  remove(nodes: readonly Node[]): void {
    for (const node of nodes) this.nodes.splice(this.nodes.indexOf(node), 1);
    const lost = new Set(nodes.flatMap(({ outputs }) => outputs));
    if (this.nodes.some(({ inputs }) => inputs.some((input) => input !== undefined && lost.has(input)))) {
      throw new MbokError('MBOK_INTERNAL', 'an operation is still needed');
    }
  }

  /** Adds operations again that read and write other tensors instead of some. */
  repeat(nodes: readonly Node[], instead: ReadonlyMap<Tensor, Tensor>): Node[] {
    const swap = (tensors: Node['inputs']) => tensors.map((tensor) => tensor && (instead.get(tensor) ?? tensor));
    const copies = nodes.map((node) => ({ ...node, inputs: swap(node.inputs), outputs: swap(node.outputs) }));
    this.nodes.push(...copies);
    return copies;
  }

  /** A new intermediate tensor for {@link emit} to write. */
  create(shape: Shape): Tensor {
    return this.#create(shape, { kind: 'intermediate' });
  }

  #create({ rows, cols, type }: Shape, binding: Binding): Tensor {
    const tensor = new Tensor(this, this.tensors.length, rows, cols, type, binding);
    this.tensors.push(tensor);
    return tensor;
  }

  #own(tensors: readonly (Tensor | undefined)[]): void {
    for (const tensor of tensors) {
      if (tensor !== undefined && expectTensor('tensor', tensor).graph !== this) {
        throw new MbokError('MBOK_INVALID_ARGUMENT', 'a tensor belongs to another graph');
      }
    }
  }
}
