/** What the weight of a layer can consist of: one file a structure beside this, and a row in registry.ts. */

import type { Tensor } from '../graph/graph';
import type { FloatType } from '../io/half';

/** What a weight [rows, cols] is made up of: `kind` names the structure, everything else is the structure's own. */
export interface LayerFormat {
  readonly kind: string;
}

/** Formats of the weights that are not dense, by module. */
export type Formats = ReadonlyMap<string, LayerFormat>;

/** m outputs, n inputs. */
export interface WeightShape {
  readonly rows: number;
  readonly cols: number;
  /** Files hold real numbers as [cols, rows] (GPT-2's Conv1D); memory always holds [rows, cols]. */
  readonly transposed?: true | undefined;
}

/**
 * What a part is for. 'bits': ±1, changed by the Boolean optimizer; 'scale': a few real numbers, trained by AdamW with the
 * other f32 parameters; 'int8': whole numbers; 'real': the weight itself.
 */
export type PartRole = 'bits' | 'scale' | 'int8' | 'real';

/** Element type of a part in files: packed bits, whole numbers, the rows of a 'q8' matrix, or real numbers. */
export type PartType = 'bits' | 'I8' | 'Q8' | FloatType;

/** One of the matrices that a weight consists of. */
export interface Part {
  /** Of the part within its module: `${module}.${name}` in files and in memory. */
  readonly name: string;
  /** In memory; bits as they are trained: row by row, plane below plane. */
  readonly rows: number;
  readonly cols: number;
  readonly role: PartRole;
  /** How it is saved; undefined: in whichever type of real numbers it has been read. */
  readonly type?: PartType | undefined;
  /** Of bits: how many ±1 matrices of equal shape lie one below the other. */
  readonly planes?: number | undefined;
  readonly transposed?: true | undefined;
  /** Set for scales without a gradient. */
  readonly frozen?: true | undefined;
  /** Set for what only a prefix of the weight reads. */
  readonly ofPrefix?: true | undefined;
}

/** A weight's parts in a graph, by name. */
export type WeightTensors<Name extends string = string> = Readonly<Record<Name, Tensor>>;

/** Numbers [vocabulary, hidden size], those of i8 with a scale a row. */
export interface Table {
  readonly weights: Tensor;
  readonly scales: Tensor | undefined;
}

/** What a layer has besides its weight. */
export interface LayerOptions {
  /** [1, m]. */
  readonly bias?: Tensor | undefined;
  /** What a product with ±1 reads of its input: the input itself, or rounded where a graph asks for that. */
  readonly rounded: (x: Tensor) => Tensor;
}

/** Where the part of a loaded weight comes from: the first `part.rows` rows of `from`, which a file holds. */
export interface PartSlice {
  readonly part: Part;
  readonly from: Part;
}

/** Smaller weights that a larger one contains. */
export interface Prefixes<Format extends LayerFormat> {
  /** The largest, which is the weight itself. */
  most(format: Format): number;
  /** Of size `count`, at most `most`: its format and parts. */
  take(
    shape: WeightShape,
    format: Format,
    count: number,
  ): { readonly format: Format; readonly slices: readonly PartSlice[] };
}

/** Values of a format's JSON. Each throws MBOK_FORMAT where the value is of another type. */
export interface FormatReader {
  count(key: string): number;
  boolean(key: string, fallback: boolean): boolean;
}

/**
 * A structure. Its parts are listed in one place: files, byte counts, memory plans, training, checkpoints, allocation,
 * inspection and export go by {@link Structure.parts} and by the roles of the parts.
 */
export interface Structure<Format extends LayerFormat = LayerFormat, Name extends string = string> {
  readonly kind: Format['kind'];
  /** Every matrix of a weight of this shape, in the order of files. */
  parts(shape: WeightShape, format: Format): readonly Part[];
  /** Whether a weight of this shape can have the format. Default: any. */
  fits?(shape: WeightShape, format: Format): boolean;
  /** The forward graph: x [rows, n] → [rows, m]. */
  layer(weight: WeightTensors<Name>, x: Tensor, options: LayerOptions): Tensor;
  /** The table that embedding and head read, where the weight can be one. */
  table?(weight: WeightTensors<Name>): Table;
  /** Emits the dense weight, f32 [m, n]. */
  multiplyOut(weight: WeightTensors<Name>, dense: Tensor): void;
  readonly prefixes?: Prefixes<Format>;
  /** The format's settings as config.json has them beside its kind. Throws MBOK_FORMAT. */
  parse(settings: FormatReader): Format;
  write(format: Format): Readonly<Record<string, unknown>>;
  /** For tables: 'K = 2'. */
  describe(format: Format): string;
}
