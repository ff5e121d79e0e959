/**
 * The Boolean factor pair: W ≈ diag(s_out) · A · diag(s_mid) · B · diag(s_in) with A ∈ {−1, +1}^{m×r} and B ∈ {−1,
 * +1}^{r×n} (double binary factorization, arXiv 2505.11076). The rank r sets the size, which can be below one bit per
 * weight.
 *
 * A nested pair contains smaller ones: the first r' columns of A and rows of B, with separate scales. Files store its A
 * transposed, so that the bits of a prefix are the first bytes of both tensors. In memory a pair is never nested.
 */

import { constantOnes } from '../graph/constants';
import { matrixShape } from '../graph/graph';
import { rowsOfBits } from '../graph/operations/arrange_bits';
import { reconstruct } from '../graph/operations/kernel_fit';
import { multiBooleanLinear, multiplyByKernels } from '../graph/operations/multi_boolean_linear';
import type { LayerFormat, Part, Structure, WeightShape } from './structure';

/**
 * Bits per weight up to which a pair is more accurate than kernels of equal size (SmolLM2 at 2.09 bits: perplexity 40.5
 * instead of 52.7; a small model at 2.28: 6.18 instead of 5.97).
 */
export const MOST_PAIR_BITS = 2.15;

/** Smallest rank that {@link rankForBits} returns. */
export const MIN_RANK = 8;

export interface FactorsFormat extends LayerFormat {
  readonly kind: 'factors';
  /** r, the columns of A and rows of B. */
  readonly rank: number;
  /** Ranks of the smaller pairs in the file, ascending; undefined if it is not nested. */
  readonly prefixes?: readonly number[] | undefined;
}

/** Creates the format of a pair, which contains pairs of the ranks `prefixes`. */
export function factorsFormat(rank: number, prefixes: readonly number[] = []): FactorsFormat {
  return { kind: 'factors', rank, ...(prefixes.length > 0 && { prefixes }) };
}

export function isFactors(format: LayerFormat | undefined): format is FactorsFormat {
  return format?.kind === 'factors';
}

/**
 * Returns the largest rank whose pair takes at most `bits` bits per weight, scales in F16 included and padding of rows
 * to bytes excluded; at least {@link MIN_RANK}.
 */
export function rankForBits({ rows, cols }: WeightShape, bits: number): number {
  const ends = rows + cols;
  return Math.max(MIN_RANK, Math.floor((bits * rows * cols - 16 * ends) / (ends + 16)));
}

type Name = 'boolean_a' | 'boolean_b' | 's_out' | 's_mid' | 's_in';

export const factors: Structure<FactorsFormat, Name> = {
  kind: 'factors',
  parts: (shape, { rank, prefixes = [] }) => [
    ...bitsOf(shape, rank, prefixes.length > 0),
    ...scalesOf(shape, rank),
    ...prefixes.flatMap((prefix, i) => prefixScalesOf(shape, prefix, i + 1)),
  ],
  fits: (_, { rank, prefixes = [] }) =>
    [...prefixes, rank].every((each, i) => Number.isSafeInteger(each) && each > (prefixes[i - 1] ?? 0)),
  layer({ boolean_a, boolean_b, s_out, s_mid, s_in }, x, { bias, rounded }) {
    const inner = multiBooleanLinear(rounded(x), boolean_b, s_mid, s_in);
    return multiBooleanLinear(rounded(inner), boolean_a, s_out, constantOnes(x.graph, s_mid.cols), bias);
  },
  multiplyOut({ boolean_a, boolean_b, s_out, s_mid, s_in }, dense) {
    const { graph } = dense;
    const [rows, rank] = [s_out.cols, s_mid.cols];
    const left = graph.create(matrixShape(rows, rank));
    const ones = constantOnes(graph, rank);
    reconstruct({ kernels: rowsOfBits(boolean_a, 1, rows), sOut: s_out, sIn: ones }, left);
    multiplyByKernels(left, { kernels: rowsOfBits(boolean_b, 1, rank), sOut: s_mid, sIn: s_in }, dense);
  },
  prefixes: {
    largest: ({ prefixes = [] }) => prefixes.length + 1,
    take(shape, { rank, prefixes = [] }, count) {
      const taken = prefixes[count - 1] ?? rank;
      const sources = count <= prefixes.length ? prefixScalesOf(shape, taken, count) : scalesOf(shape, rank);
      const from = [...bitsOf(shape, rank, prefixes.length > 0), ...sources];
      const parts = [...bitsOf(shape, taken), ...scalesOf(shape, taken)];
      return { format: factorsFormat(taken), slices: parts.map((part, i) => ({ part, from: from[i] as Part })) };
    },
  },
  parse: (settings) => factorsFormat(settings.count('rank'), settings.numbers('prefixes')),
  write: ({ rank, prefixes }) => ({ rank, ...(prefixes && { prefixes }) }),
  describe: ({ rank }) => `rank ${rank}`,
};

function bitsOf({ rows, cols }: WeightShape, rank: number, nested = false): readonly Part[] {
  return [
    { name: 'boolean_a', rows, cols: rank, role: 'bits', type: 'bits', ...(nested && { transposed: true }) },
    { name: 'boolean_b', rows: rank, cols, role: 'bits', type: 'bits' },
  ];
}

function scalesOf({ rows, cols }: WeightShape, rank: number): readonly Part[] {
  return [
    { name: 's_out', rows: 1, cols: rows, role: 'scale', type: 'F16' },
    { name: 's_mid', rows: 1, cols: rank, role: 'scale', type: 'F16' },
    { name: 's_in', rows: 1, cols, role: 'scale', type: 'F16' },
  ];
}

/** Lists the scales of the prefix of this rank, the `count`-th of a nested pair. */
function prefixScalesOf(shape: WeightShape, rank: number, count: number): readonly Part[] {
  return scalesOf(shape, rank).map((part) => ({ ...part, name: `${part.name}_prefix_${count}`, ofPrefix: true }));
}
