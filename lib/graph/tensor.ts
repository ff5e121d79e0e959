/** Symbolic tensors: matrices of a graph that has not run yet. */

import type { TensorType } from '../native/addon';
import type { Matrix } from '../native/matrix';
import { invalid } from '../validate';
import type { Graph } from './graph';

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
