/** A graph: the list of operations that a plan will run, in order. */

import { MbokError } from '../errors';
import type { Phase } from '../native/addon';
import { Matrix } from '../native/matrix';
import { integerInRange, invalid, oneOf, options, string } from '../validate';
import { type Arithmetic, arithmeticOf } from './arithmetic';
import type { OperationDefinition } from './operation';
import { type Binding, expectTensor, MEMORY_ROLES, type MemoryRole, type Shape, Tensor } from './tensor';

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
