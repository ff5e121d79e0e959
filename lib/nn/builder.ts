/** Builds a model's graph layer by layer over the matrices of its checkpoint. */

import { MbokError } from '../base/errors';
import type { Graph, MemoryRole, Tensor } from '../graph/graph';
import type { Places } from '../graph/operations/attention';
import type { RmsNorm } from '../graph/operations/rms_norm';
import type { Matrix } from '../native/matrix';
import { ALL_DENSE } from '../structures/dense';
import type { Formats } from '../structures/structure';

/** The matrices of a model by the names of its checkpoint, e.g. 'model.norm.weight'. */
export type Parameters = ReadonlyMap<string, Matrix>;

/** Key and value caches: per attention layer a matrix [sequences · context, key-value columns] each. */
export type KeyValueCache = ReadonlyMap<string, { readonly keys: Matrix; readonly values: Matrix }>;

export interface BuilderOptions {
  /** What the parameters' memory is accounted under. Default 'weights'. */
  readonly role?: MemoryRole;
  /** Of the weights among the parameters; those without one are dense. Default: all are. */
  readonly formats?: Formats;
  /** Present for inference that goes on from call to call; attention then reads and extends it. */
  readonly cache?: KeyValueCache;
  /** Present where the rows of a run belong to several sequences, with a cache of as many slots. */
  readonly places?: Places;
}

/** An addition to the hidden states: sum = x + branch or, where there is a norm, x + norm(branch). */
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
  /** The latest addition to the hidden states before it. */
  readonly after: Residual | undefined;
}

/**
 * What layers need while they are built: the graph, the parameters, and how the model is being used. What layers declare of
 * the model's structure is kept here, so that nobody has to guess it from operations.
 */
export class Builder {
  readonly cache: KeyValueCache | undefined;
  readonly places: Places | undefined;
  /** Linear layers, in order. */
  readonly linears: LinearCall[] = [];
  /** Additions to the hidden states, in order. */
  readonly residuals: Residual[] = [];
  /** What attention carries to other tokens. */
  readonly carried: Tensor[] = [];
  /** Inputs of layers and what is left of them in fewer bits. */
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

  /** The tensor of a parameter. Throws MBOK_SHAPE where the checkpoint lacks it. */
  parameter(name: string): Tensor {
    const matrix = this.parameters.get(name);
    if (matrix === undefined) throw new MbokError('MBOK_SHAPE', `the model has no parameter '${name}'`);
    return this.#bind(matrix);
  }

  /**
   * The tensors of a module by what they are called in it: the parts of its weight, and its bias if it has one. Throws
   * MBOK_SHAPE where the checkpoint lacks it.
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
