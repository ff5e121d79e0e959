/** What a file of packed codes would take, which the dense folder that methods are compared on does not show. */

import type { ParameterSpecification } from '../models/family';
import { moduleOf } from '../models/parts';
import type { BaselineSettings } from './quantize_options';

/** Bytes of a packed file's tensors; headers, configuration and tokenizer are not counted. */
export interface PackedBytes {
  /** Linear layers: codes, scales, zero points, which group a column is in, and biases. */
  readonly linearBytes: number;
  /** linearBytes · 8 / their weights, as `mbok inspect` counts Boolean layers. */
  readonly bitsPerWeight: number;
  /** Of all tensors; those of no linear layer as the original stores them, block formats of GGUF in 8.5 or 16 bits. */
  readonly bytes: number;
}

type CodeSettings = Omit<BaselineSettings, 'method'>;

/**
 * Bytes of one matrix: codes of `bits` bits, for every row and group a scale in F16 and a zero point of `bits` bits and,
 * where groups are not of neighbors, the number of every column's group; each of these packed without gaps.
 */
export function packedMatrixBytes(
  { rows, cols }: { rows: number; cols: number },
  { bits, group, order }: CodeSettings,
): number {
  const groups = Math.ceil(cols / group);
  const packed = (numbers: number, width: number) => Math.ceil((numbers * width) / 8);
  const places = order === 'natural' ? 0 : packed(cols, Math.ceil(Math.log2(groups)));
  return packed(rows * cols, bits) + rows * groups * 2 + packed(rows * groups, bits) + places;
}

/** Bytes of a whole model; `elementBytes` are those that the original stores an element of a tensor in. */
export function packedBytes(
  specifications: readonly ParameterSpecification[],
  elementBytes: (name: string) => number,
  settings: CodeSettings,
): PackedBytes {
  const linears = specifications.filter(({ role }) => role === 'linear');
  const biases = new Set(linears.map(({ name }) => `${moduleOf(name)}.bias`));
  let [linearBytes, bytes] = [0, 0];
  for (const specification of specifications) {
    const { name, rows, cols, role } = specification;
    const own = role === 'linear' ? packedMatrixBytes(specification, settings) : rows * cols * elementBytes(name);
    if (role === 'linear' || biases.has(name)) linearBytes += own;
    bytes += own;
  }
  const weights = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  return { linearBytes, bitsPerWeight: (linearBytes * 8) / weights, bytes };
}
