/** The formats that a budget can choose for a layer, and their bytes in a file. */

import type { ParameterSpecification } from '../../models/family';
import { partsOf } from '../../models/parts';
import { formatJson } from '../../models/quantization';
import { DENSE } from '../../structures/dense';
import { structureOf } from '../../structures/registry';
import type { Formats, LayerFormat, PartRole, WeightShape } from '../../structures/structure';
import type { BudgetFormats } from '../converter';
import { budgetedStructures, fits } from '../converters';
import { bytesOfParts, type DenseSource } from '../dense_source';
import type { Choice } from './layers';

/**
 * The formats that are considered.
 *
 * - 'all': those of every structure that a budget can choose, and the dense weight.
 * - 'usual': of these only the ones at sizes at which their structure is the best on usual weights.
 * - 'extracted': those of structures that are extracted from the weight kernel by kernel.
 */
export type ChoiceSet = 'all' | 'usual' | 'extracted';

/** A large shape, at which scales hardly add to the bits. The order of formats by size there defines their rungs. */
const REFERENCE: WeightShape = { rows: 4096, cols: 4096 };

/** What a budget knows about dense weights. */
const DENSE_FORMATS: BudgetFormats = { formats: () => [DENSE], usualBits: [0, Infinity] };

/**
 * Lists the formats for a weight with their bytes, in ascending order. Of formats with equal bytes only the first
 * remains.
 */
export function choicesOf(
  weight: ParameterSpecification,
  source: Pick<DenseSource, 'storage'>,
  set: ChoiceSet,
): readonly Choice[] {
  const structures = [...budgetedStructures(), DENSE_FORMATS];
  const considered = structures.filter(({ residuals }) => set !== 'extracted' || residuals !== undefined);
  const rungs = rungsOf(considered.flatMap(({ formats }) => formats(REFERENCE)));
  return considered
    .flatMap(({ formats, usualBits }) => formats(weight).map((format) => ({ format, usualBits })))
    .map(({ format, usualBits: [from, below] }, i) => {
      const bytes = bytesOfParts(partsOf(weight, format), source);
      const bits = (bytes * 8) / (weight.rows * weight.cols);
      return { format, bytes, rung: rungs[i] as number, isUsual: bits >= from && bits < below };
    })
    .filter(({ format, isUsual }) => (set !== 'usual' || isUsual) && fits(weight, format))
    .map(({ isUsual, ...choice }) => choice)
    .sort((a, b) => a.bytes - b.bytes)
    .filter(({ bytes }, i, sorted) => bytes !== sorted[i - 1]?.bytes);
}

/** Bits of a number in parts of each role; scales and dense weights have about 16. */
const ROLE_BITS: Partial<Record<PartRole, number>> = { bits: 1, int8: 8 };

/** Returns the place of each format in the order of their sizes for a weight of {@link REFERENCE}. */
function rungsOf(formats: readonly LayerFormat[]): readonly number[] {
  const sizes = formats.map((format) => {
    const parts = structureOf(format).parts(REFERENCE, format);
    return parts.reduce((sum, { rows, cols, role }) => sum + rows * cols * (ROLE_BITS[role] ?? 16), 0);
  });
  const order = [...sizes.keys()].sort((a, b) => (sizes[a] as number) - (sizes[b] as number));
  return sizes.map((_, i) => order.indexOf(i));
}

/** Converts formats by module to JSON. */
export function formatsJson(formats: Formats): Record<string, unknown> {
  return Object.fromEntries([...formats].map(([module, format]) => [module, formatJson(format)]));
}
