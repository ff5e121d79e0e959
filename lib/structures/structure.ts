/**
 * The interface of structures: what a layer's weight can consist of. Each structure is one file here and a row in
 * registry.ts.
 */

import type { Tensor } from '../graph/graph';
import type { Table } from '../graph/operations/table';
import type { FloatType } from '../io/half';

/**
 * The structure of a weight [rows, cols] with its settings. `kind` names the structure, which defines all other fields.
 */
export interface LayerFormat {
  /** Name of the structure, such as 'kernels' or 'int8'. */
  readonly kind: string;
}

/** Formats of the weights that are not dense, by module. */
export type Formats = ReadonlyMap<string, LayerFormat>;

/** The shape of a weight: m rows (outputs), n columns (inputs). */
export interface WeightShape {
  readonly rows: number;
  readonly cols: number;
  /** Whether files store real numbers as [cols, rows] (GPT-2's Conv1D). Memory always has [rows, cols]. */
  readonly transposed?: true | undefined;
}

/**
 * Purpose of a part.
 *
 * - 'bits': ±1, changed by the Boolean optimizer
 * - 'scale': few real numbers, trained by AdamW together with the other f32 parameters
 * - 'int8': integers
 * - 'real': the weight itself
 * - 'marks': a bit per row of the weight, which no training changes
 */
export type PartRole = 'bits' | 'scale' | 'int8' | 'real' | 'marks';

/** Element type of a part in files: packed bits, integers, rows of a 'q8' matrix, or real numbers. */
export type PartType = 'bits' | 'I8' | 'Q8' | FloatType;

/** One of the matrices that a weight consists of. */
export interface Part {
  /** Name within the module; files and memory use `${module}.${name}`. */
  readonly name: string;
  /** Rows in memory. Bits have the layout for training: row by row, one plane after the other. */
  readonly rows: number;
  readonly cols: number;
  readonly role: PartRole;
  /** Type in which the part is saved. If undefined, real numbers keep the type in which they were read. */
  readonly type?: PartType | undefined;
  /** Number of ±1 matrices of equal shape stacked in a part of bits. Default 1. */
  readonly planes?: number | undefined;
  /** Whether files store the part as [cols, rows]; of bits only one plane. Memory always has [rows, cols]. */
  readonly transposed?: true | undefined;
  /** Whether the scales have no gradient. */
  readonly frozen?: true | undefined;
  /** Whether only a prefix of the weight uses the part. */
  readonly ofPrefix?: true | undefined;
}

/** The parts of a weight in a graph, by name. */
export type WeightTensors<Name extends string = string> = Readonly<Record<Name, Tensor>>;

/** Arguments of a layer besides its weight. */
export interface LayerOptions {
  /** Bias [1, m]. */
  readonly bias?: Tensor | undefined;
  /** Returns the input for products with ±1: x, or x rounded to fewer bits if the graph rounds activations. */
  readonly rounded: (x: Tensor) => Tensor;
}

/**
 * The source of a loaded part in a file: the first `part.rows` rows of `from`; of transposed bits the first `part.cols`
 * columns.
 */
export interface PartSlice {
  readonly part: Part;
  readonly from: Part;
}

/** The smaller weights that a weight contains. */
export interface Prefixes<Format extends LayerFormat> {
  /** Returns the largest size, which is the weight itself. */
  largest(format: Format): number;
  /** Returns format and parts of the prefix of size `count`, at most `largest`. */
  take(
    shape: WeightShape,
    format: Format,
    count: number,
  ): { readonly format: Format; readonly slices: readonly PartSlice[] };
}

/** A reader for the settings of a format in JSON. Each method throws MBOK_FORMAT if the value has another type. */
export interface FormatReader {
  has(key: string): boolean;
  count(key: string): number;
  boolean(key: string, fallback: boolean): boolean;
  /** Returns a list of finite numbers; undefined if absent or null. */
  numbers(key: string): readonly number[] | undefined;
}

/**
 * A structure. It lists its parts in one place. Files, byte counts, memory plans, training, checkpoints, allocation,
 * inspection and export use {@link Structure.parts} and the roles of the parts.
 */
export interface Structure<Format extends LayerFormat = LayerFormat, Name extends string = string> {
  readonly kind: Format['kind'];
  /** Lists all matrices of a weight of this shape, in the order of files. */
  parts(shape: WeightShape, format: Format): readonly Part[];
  /** Tells whether a weight of this shape can have the format. Default: any shape can. */
  fits?(shape: WeightShape, format: Format): boolean;
  /** Adds the layer to the graph: x [rows, n] → [rows, m]; absent if the structure is only for tables. */
  layer?(weight: WeightTensors<Name>, x: Tensor, options: LayerOptions): Tensor;
  /** Returns the table for embedding or head; absent if the structure cannot be one. */
  table?(weight: WeightTensors<Name>): Table;
  /** Emits operations that write the dense weight, f32 [m, n], to `dense`. */
  multiplyOut(weight: WeightTensors<Name>, dense: Tensor): void;
  readonly prefixes?: Prefixes<Format>;
  /** Reads the format's settings from config.json, where they lie next to `kind`. Throws MBOK_FORMAT. */
  parse(settings: FormatReader): Format;
  /** Returns the settings that `parse` reads. */
  write(format: Format): Readonly<Record<string, unknown>>;
  /** Returns a label for tables, such as 'K = 2'. */
  describe(format: Format): string;
}
