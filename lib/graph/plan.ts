/** A graph ready to run: memory laid out, operations encoded, one native call per run. */

import { MbokError } from '../base/errors';
import { reused } from '../base/reused';
import { abortedError, finiteNumber, integerInRange, invalid, object, options, throwIfAborted } from '../base/validate';
import {
  addon,
  guarded,
  type NativeBuffer,
  type NativePlan,
  type NativeTensor,
  PHASES,
  rethrow,
  SCALARS,
  type ScalarName,
  TENSOR_TYPES,
} from '../native/addon';
import { elementsOf, type Matrix } from '../native/matrix';
import { describeShape, expectGraph, type Graph, type MemoryRole, type Tensor } from './graph';
import { alignUp, layOutArena, tensorBytes } from './planner';

/** Bytes that a plan uses, by purpose. */
export type MemoryReport = Record<MemoryRole, number> & {
  /** intermediate results: the arena, and the tensors that the caller writes or reads */
  readonly activations: number;
  /** working memory inside operations */
  readonly scratch: number;
  /** sum of all */
  readonly total: number;
};

/** Computes the bytes that a plan of the graph uses, without scratch, which only the plan knows. */
export function graphBytes(graph: Graph, maxRows: number): number {
  const ports = graph.tensors.filter(({ binding }) => binding.kind === 'port');
  const roles = Object.values(roleBytes(graph)).reduce((sum, bytes) => sum + bytes, 0);
  return (
    ports.reduce((sum, tensor) => sum + alignUp(tensorBytes(tensor, maxRows)), roles) +
    layOutArena(graph, maxRows).bytes
  );
}

/** Lists the bound matrices of a graph with their roles. */
function boundMatrices(graph: Graph): ReadonlyMap<Matrix, MemoryRole> {
  const bound = new Map<Matrix, MemoryRole>();
  for (const { binding } of graph.tensors) if (binding.kind === 'bound') bound.set(binding.matrix, binding.role);
  return bound;
}

/** Sums the bytes of a graph's bound matrices by role. */
function roleBytes(graph: Graph): Record<MemoryRole, number> {
  const roles: Record<MemoryRole, number> = { weights: 0, teacher: 0, gradients: 0, state: 0 };
  for (const [matrix, role] of boundMatrices(graph)) roles[role] += matrix.byteLength;
  return roles;
}

/** Options of {@link Plan.run}. */
export interface RunOptions {
  /** All inputs of the graph, row-major: token ids as Int32Array, others as Float32Array. */
  readonly inputs?: Readonly<Record<string, Float32Array | Int32Array>>;
  /** Scalars of the run; see native/runtime/operation.h. Defaults: one row, one sequence of all rows, position 0. */
  readonly scalars?: Partial<Record<ScalarName, number>>;
  /** Names of the outputs to copy. Default: all. */
  readonly outputs?: readonly string[];
  /** Arrays to reuse for outputs, by name of the output. */
  readonly into?: Readonly<Record<string, Float32Array | undefined>>;
  /** Stops the run before its next operation, unless it has begun to update state. */
  readonly signal?: AbortSignal | undefined;
}

const RUN_KEYS = ['inputs', 'scalars', 'outputs', 'into', 'signal'] as const;

const DEFAULTS: Record<ScalarName, number> = {
  rows: 1,
  sequenceLength: 1,
  position: 0,
  lossScale: 1,
  flipRate: 0,
  learningRate: 0,
  step: 1,
  microBatches: 1,
  first: 1,
  last: 1,
  pathRows: 0,
};

/**
 * A graph prepared to run natively, in one asynchronous call per run. A plan has its activations to itself, so it runs
 * once at a time. Two plans may run concurrently on the same weights. Dispose it.
 */
export class Plan {
  /** Maximum tokens of a run. */
  readonly maxRows: number;
  /** Memory use, known before the first run. */
  readonly memory: MemoryReport;
  readonly #graph: Graph;
  readonly #native: NativePlan;
  readonly #ports: NativeBuffer;
  readonly #portOffsets: ReadonlyMap<Tensor, number>;
  readonly #bound: readonly Matrix[];
  #running: Promise<unknown> | undefined;
  #disposed = false;

  /**
   * Prepares a graph for runs of up to `maxRows` tokens (default 1). Throws MBOK_SHAPE, MBOK_INVALID_ARGUMENT,
   * MBOK_OUT_OF_MEMORY.
   */
  constructor(graph: Graph, given: { maxRows?: number } = {}) {
    const { maxRows = 1 } = options('options', given, ['maxRows']);
    this.maxRows = integerInRange('maxRows', maxRows, 1, 2 ** 24);
    this.#graph = expectGraph('graph', graph);
    const arena = layOutArena(graph, maxRows);
    const ports = new Map<Tensor, number>();
    let portBytes = 0;
    for (const tensor of graph.tensors) {
      if (tensor.binding.kind !== 'port') continue;
      ports.set(tensor, portBytes);
      portBytes += alignUp(tensorBytes(tensor, maxRows));
    }
    this.#portOffsets = ports;
    this.#ports = guarded(() => new (addon().NativeBuffer)(portBytes));
    const used = graph.tensors.filter((tensor) => tensor.binding.kind !== 'intermediate' || arena.offsets.has(tensor));
    const index = new Map(used.map((tensor, i) => [tensor, i]));
    const indices = (tensors: readonly (Tensor | undefined)[]) =>
      tensors.map((tensor) => (tensor === undefined ? -1 : (index.get(tensor) as number)));
    this.#native = guarded(
      () =>
        new (addon().NativePlan)({
          arenaBytes: arena.bytes,
          maxRows,
          tensors: used.map((tensor) => this.#describe(tensor, arena.offsets)),
          operations: graph.nodes.map((node) => ({
            name: node.name,
            inputs: indices(node.inputs),
            outputs: indices(node.outputs),
            attributes: node.attributes,
            phase: PHASES[node.phase],
          })),
        }),
    );
    this.#bound = [...boundMatrices(graph).keys()];
    const roles = roleBytes(graph);
    const activations = arena.bytes + portBytes;
    const scratch = this.#native.scratchBytes;
    const total = Object.values(roles).reduce((sum, bytes) => sum + bytes, activations + scratch);
    this.memory = { ...roles, activations, scratch, total };
  }

  /**
   * Runs the graph once. Resolves to the requested outputs, each with the rows of this run. Rejects with
   *
   * - MBOK_INVALID_ARGUMENT if inputs, scalars or outputs are missing, unknown or of another type;
   * - MBOK_SHAPE if an input has the wrong size;
   * - MBOK_BUSY if the plan is running, MBOK_ABORTED;
   * - MBOK_DISPOSED if the plan, or a matrix bound to it, was disposed before the run;
   * - the error of an operation.
   */
  async run(given: RunOptions = {}): Promise<Record<string, Float32Array>> {
    const { inputs = {}, scalars = {}, into = {}, signal, ...chosen } = options('options', given, RUN_KEYS);
    const names = chosen.outputs ?? [...this.#graph.outputs.keys()];
    if (this.#disposed) throw new MbokError('MBOK_DISPOSED', 'this plan has been disposed');
    this.#expectBound();
    // before inputs are copied and the signal is registered: a refused run must not affect the one in flight
    if (this.#running !== undefined) throw new MbokError('MBOK_BUSY', 'this plan is already running');
    throwIfAborted(signal);
    const values = checkedScalars(scalars);
    integerInRange('rows', values.rows, 1, this.maxRows);
    this.#checkOutputs(names, into);
    this.#writeInputs(inputs, values.rows);
    const abort = () => this.#native.abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const run = guarded(() => this.#native.run(Float64Array.from(SCALARS, (name) => values[name])));
      this.#running = run.catch(() => undefined);
      const completed = await run.catch(rethrow);
      if (!completed) {
        throw signal?.aborted ? abortedError(signal) : new MbokError('MBOK_DISPOSED', 'the plan was disposed');
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#running = undefined;
    }
    return this.#readOutputs(names, values.rows, into);
  }

  /** Sums the seconds of all runs by name of operation. Throws MBOK_BUSY during a run, MBOK_DISPOSED. */
  profile(): Map<string, number> {
    const seconds = guarded(() => this.#native.seconds());
    const sums = new Map<string, number>();
    this.#graph.nodes.forEach(({ name }, i) => {
      sums.set(name, (sums.get(name) ?? 0) + (seconds[i] as number));
    });
    return sums;
  }

  /** Frees the plan's memory. A run in flight is aborted and ends first. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#native.dispose();
    void Promise.resolve(this.#running).then(() => this.#ports.dispose());
  }

  /** Disposes the plan and waits for the end of a run in flight. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    await this.#running;
  }

  /**
   * Throws MBOK_DISPOSED if a bound matrix is disposed. The plan still holds its native memory, but its contents may be
   * out of date.
   */
  #expectBound(): void {
    const disposedMatrix = this.#bound.find(({ disposed }) => disposed);
    if (disposedMatrix === undefined) return;
    const what = `${describeShape(disposedMatrix)} (${boundMatrices(this.#graph).get(disposedMatrix)})`;
    throw new MbokError('MBOK_DISPOSED', `a matrix that this plan was made for has been disposed: ${what}`);
  }

  #describe(tensor: Tensor, offsets: ReadonlyMap<Tensor, number>): NativeTensor {
    const { binding } = tensor;
    const rows = tensor.rows === 'tokens' ? -1 : tensor.rows;
    const shape = { rows, cols: tensor.cols, type: TENSOR_TYPES[tensor.type] };
    if (binding.kind === 'bound') return { buffer: binding.matrix.buffer, offset: 0, ...shape };
    if (binding.kind === 'port')
      return { buffer: this.#ports, offset: this.#portOffsets.get(tensor) as number, ...shape };
    return { buffer: null, offset: offsets.get(tensor) as number, ...shape };
  }

  #writeInputs(inputs: Readonly<Record<string, Float32Array | Int32Array>>, rows: number): void {
    const expected = this.#graph.inputs;
    for (const name of Object.keys(object('inputs', inputs))) {
      if (!expected.has(name)) throw new MbokError('MBOK_INVALID_ARGUMENT', `the graph has no input '${name}'`);
    }
    for (const [name, tensor] of expected) {
      const data = inputs[name];
      const kind = tensor.type === 'i32' ? 'an Int32Array' : 'a Float32Array';
      if (elementsOf(data) !== tensor.type) invalid(`inputs.${name}`, kind, data);
      if (data?.byteLength !== tensorBytes(tensor, rows)) {
        const wanted = `${describeShape(tensor)} for ${rows} tokens`;
        throw new MbokError('MBOK_SHAPE', `input '${name}' must be ${wanted}, got ${data?.length} elements`);
      }
    }
    for (const [name, tensor] of expected) {
      const data = inputs[name] as Float32Array | Int32Array;
      guarded(() => this.#ports.write(data, this.#portOffsets.get(tensor) as number));
    }
  }

  #checkOutputs(names: readonly string[], into: RunOptions['into']): void {
    if (!Array.isArray(names)) invalid('outputs', 'an array of names', names);
    for (const name of names) {
      if (!this.#graph.outputs.has(name)) invalid('outputs', 'names of outputs of the graph', name);
    }
    for (const [name, array] of Object.entries(object('into', into as object))) {
      if (array !== undefined && elementsOf(array) !== 'f32') invalid(`into.${name}`, 'a Float32Array', array);
    }
  }

  #readOutputs(
    names: readonly string[],
    rows: number,
    into: Readonly<Record<string, Float32Array | undefined>>,
  ): Record<string, Float32Array> {
    const results: Record<string, Float32Array> = {};
    for (const name of names) {
      const tensor = this.#graph.outputs.get(name) as Tensor;
      const data = reused(into[name], tensorBytes(tensor, rows) / 4);
      const { binding } = tensor;
      const buffer = binding.kind === 'bound' ? binding.matrix.buffer : this.#ports;
      guarded(() => buffer.read(data, this.#portOffsets.get(tensor) ?? 0));
      results[name] = data;
    }
    return results;
  }
}

/** Checks the scalars of a run and adds defaults. Throws MBOK_INVALID_ARGUMENT if one is unknown or not finite. */
function checkedScalars(given: Partial<Record<ScalarName, number>>): Record<ScalarName, number> {
  const values = { ...DEFAULTS };
  for (const [name, value] of Object.entries(options('scalars', given, SCALARS))) {
    if (value !== undefined) values[name as ScalarName] = finiteNumber(`scalars.${name}`, value);
  }
  return { ...values, sequenceLength: given.sequenceLength ?? values.rows };
}

/**
 * Runs a graph without inputs once, frees its plan and returns the outputs. Throws as the constructor of {@link Plan} and
 * {@link Plan.run}.
 */
export async function runOnce(graph: Graph, signal: AbortSignal | undefined): Promise<Record<string, Float32Array>> {
  await using plan = new Plan(graph);
  return await plan.run({ signal });
}
