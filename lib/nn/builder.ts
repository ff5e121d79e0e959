/** The builder of a model's graph, layer by layer, from the matrices of its checkpoint. */

import { MbokError } from '../base/errors';
import type { Graph, MemoryRole, Tensor } from '../graph/graph';
import type { Places } from '../graph/operations/attention';
import type { RmsNorm } from '../graph/operations/rms_norm';
import type { Matrix } from '../native/matrix';
import { ALL_DENSE } from '../structures/dense';
import type { Formats } from '../structures/structure';

/** The matrices of a model by their names in the checkpoint, such as 'model.norm.weight'. */
export type Parameters = ReadonlyMap<string, Matrix>;

/** Key and value caches. Each attention layer has two matrices [sequences · context, key-value columns]. */
export type KeyValueCache = ReadonlyMap<string, { readonly keys: Matrix; readonly values: Matrix }>;

export interface BuilderOptions {
  /** Category of the parameters' memory in reports. Default 'weights'. */
  readonly role?: MemoryRole;
  /** Formats of the weights by module; weights without one are dense. Default: all are dense. */
  readonly formats?: Formats;
  /** Cache for inference across calls; attention reads and extends it. */
  readonly cache?: KeyValueCache;
  /** Slots and positions of the rows, if they belong to several sequences of the cache. */
  readonly places?: Places;
}

/** An addition to the residual stream: sum = x + branch, or x + norm(branch) if there is a norm. */
export interface Residual {
  readonly x: Tensor;
  readonly branch: Tensor;
  readonly norm: RmsNorm | undefined;
  readonly sum: Tensor;
}

/** A linear layer in the graph. */
export interface LinearCall {
  readonly module: string;
  readonly input: Tensor;
  readonly output: Tensor;
  /** Latest addition to the residual stream before the layer. */
  readonly after: Residual | undefined;
}

/**
 * The context in which layers are built: graph, parameters and usage of the model. It also records the structure that
 * layers declare, so that later steps need not infer it from operations.
 */
export class Builder {
  readonly cache: KeyValueCache | undefined;
  readonly places: Places | undefined;
  /** Linear layers, in order. */
  readonly linears: LinearCall[] = [];
  /** Additions to the residual stream, in order. */
  readonly residuals: Residual[] = [];
  /** Tensors that attention carries to other tokens. */
  readonly carried: Tensor[] = [];
  /** Inputs of layers, mapped to their rounded versions. */
  readonly rounded = new Map<Tensor, Tensor>();
  readonly formats: Formats;
  readonly #role: MemoryRole;
  #modules: ReadonlyMap<string, readonly (readonly [part: string, matrix: Matrix])[]> | undefined;

  constructor(
    readonly graph: Graph,
    readonly parameters: Parameters,
    { role = 'weights', formats = ALL_DENSE, cache, places }: BuilderOptions = {},
  ) {
    this.#role = role;
    this.formats = formats;
    this.cache = cache;
    this.places = places;
  }

  /** Returns the tensor of a parameter. Throws MBOK_SHAPE if the checkpoint lacks it. */
  parameter(name: string): Tensor {
    const matrix = this.parameters.get(name);
    if (matrix === undefined) throw new MbokError('MBOK_SHAPE', `the model has no parameter '${name}'`);
    return this.#bind(matrix);
  }

  /**
   * Returns the tensors of a module by their names in it: the parts of its weight, and its bias if there is one. Throws
   * MBOK_SHAPE if the checkpoint lacks the module.
   */
  module(name: string): Readonly<Record<string, Tensor>> {
    this.#modules ??= byModule(this.parameters);
    const parts = this.#modules.get(name);
    if (parts === undefined) throw new MbokError('MBOK_SHAPE', `the model has no module '${name}'`);
    return Object.fromEntries(parts.map(([part, matrix]) => [part, this.#bind(matrix)]));
  }

  #bind(matrix: Matrix): Tensor {
    return this.graph.bind(matrix, this.#role);
  }
}

function byModule(parameters: Parameters): Map<string, [part: string, matrix: Matrix][]> {
  const modules = new Map<string, [string, Matrix][]>();
  for (const [name, matrix] of parameters) {
    const end = name.lastIndexOf('.');
    const module = name.slice(0, Math.max(0, end));
    const parts = modules.get(module) ?? [];
    parts.push([name.slice(end + 1), matrix]);
    modules.set(module, parts);
  }
  return modules;
}
