/** Sizes of packed codes. Methods are compared on dense folders, whose size does not show them. */

import type { ParameterSpecification } from '../models/family';
import { moduleOf } from '../models/parts';
import type { BaselineSettings } from './quantize_options';

/** Bytes of the tensors of a packed file, without header, configuration and tokenizer. */
export interface PackedBytes {
  /** Linear layers: codes, scales, zero points, the group of each column, and biases. */
  readonly linearBytes: number;
  /** linearBytes · 8 / number of linear weights, as `mbok inspect` counts Boolean layers. */
  readonly bitsPerWeight: number;
  /**
   * All tensors. Those outside linear layers count as the original stores them; block formats of GGUF count 8.5 or 16
   * bits per element.
   */
  readonly bytes: number;
}

type CodeSettings = Omit<BaselineSettings, 'method'>;

/**
 * Computes the bytes of one matrix: codes of `bits` bits; per row and group a scale in F16 and a zero point of `bits`
 * bits. If groups are not of neighboring columns, it adds the group index of every column. Each part is packed without
 * gaps.
 */
export function packedMatrixBytes(
  { rows, cols }: { rows: number; cols: number },
  { bits, group, order }: CodeSettings,
): number {
  const groups = Math.ceil(cols / group);
  const packed = (numbers: number, width: number) => Math.ceil((numbers * width) / 8);
  const orderBytes = order === 'natural' ? 0 : packed(cols, Math.ceil(Math.log2(groups)));
  return packed(rows * cols, bits) + rows * groups * 2 + packed(rows * groups, bits) + orderBytes;
}

/** Computes the bytes of a whole model; `elementBytes` returns the stored bytes per element of a tensor. */
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
    const tensorBytes =
      role === 'linear' ? packedMatrixBytes(specification, settings) : rows * cols * elementBytes(name);
    if (role === 'linear' || biases.has(name)) linearBytes += tensorBytes;
    bytes += tensorBytes;
  }
  const weights = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  return { linearBytes, bitsPerWeight: (linearBytes * 8) / weights, bytes };
}
