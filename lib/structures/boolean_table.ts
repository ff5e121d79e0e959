/**
 * A table of ±1 kernels for embedding and head, in which the rows of the most frequent tokens can have 8 bits. The few
 * tokens that make up a text then have almost no error, and the others take a few bits per number.
 */

import { type Table, tableInto } from '../graph/operations/table';
import { int8 } from './int8';
import { kernels, kernelsFormat, MAX_KERNELS } from './kernels';
import type { LayerFormat, Part, Structure, WeightShape, WeightTensors } from './structure';

/** Multiple of the number of rows in 8 bits: rows that products pack together have the same class. */
export const FREQUENT_MULTIPLE = 64;

export interface BooleanTableFormat extends LayerFormat {
  readonly kind: 'boolean_table';
  /** K of the other rows, 1 to {@link MAX_KERNELS}. */
  readonly kernels: number;
  /** Number of rows in 8 bits, a multiple of {@link FREQUENT_MULTIPLE}; 0 for none. */
  readonly frequent: number;
}

export function booleanTableFormat(count: number, frequent = 0): BooleanTableFormat {
  return { kind: 'boolean_table', kernels: count, frequent };
}

export function isBooleanTable(format: LayerFormat | undefined): format is BooleanTableFormat {
  return format?.kind === 'boolean_table';
}

/** Parts of rows in 8 bits, of rows of kernels, and of both. */
type Int8Name = 'weight' | 'weight_scale';
type KernelName = 'boolean_kernels' | 's_out' | 's_in';
type Name = Int8Name | KernelName | 'marks';

export const booleanTable: Structure<BooleanTableFormat, Name> = {
  kind: 'boolean_table',
  parts(shape, { kernels: count, frequent }) {
    const ofKernels = kernels.parts({ rows: shape.rows - frequent, cols: shape.cols }, kernelsFormat(count));
    return frequent === 0 ? ofKernels : [...frequentParts(shape, frequent), ...ofKernels];
  },
  fits: ({ rows }, { kernels: count, frequent }) =>
    count >= 1 && count <= MAX_KERNELS && frequent % FREQUENT_MULTIPLE === 0 && frequent < rows,
  table: tableOf,
  multiplyOut(weight, dense) {
    tableInto(dense, tableOf(weight));
  },
  parse: (settings) =>
    booleanTableFormat(settings.count('kernels'), settings.has('frequent') ? settings.count('frequent') : 0),
  write: ({ kernels: count, frequent }) => ({ kernels: count, ...(frequent > 0 && { frequent }) }),
  describe: ({ kernels: count, frequent }) => (frequent === 0 ? `K = ${count}` : `K = ${count}, int8 × ${frequent}`),
};

function frequentParts({ rows, cols }: WeightShape, frequent: number): readonly Part[] {
  const marks: Part = { name: 'marks', rows: 1, cols: rows, role: 'marks', type: 'bits' };
  // trained with the kernels they would need f32
  const ofRows = int8
    .parts({ rows: frequent, cols }, { kind: 'int8' })
    .map((part) => ({ ...part, frozen: true }) as const);
  return [marks, ...ofRows];
}

/** The parts that a format without frequent rows lacks are undefined. */
function tableOf(parts: WeightTensors<Name>): Table {
  const {
    weight,
    weight_scale,
    boolean_kernels,
    s_out,
    s_in,
    marks,
  }: Partial<WeightTensors<Name>> & WeightTensors<KernelName> = parts;
  return {
    weights: weight,
    scales: weight_scale,
    boolean: { kernels: boolean_kernels, sOut: s_out, sIn: s_in },
    marks,
  };
}
