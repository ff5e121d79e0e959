/** Weights after their conversion to another structure. */

import { isWeight, moduleOf } from '../models/parts';
import type { PartMatrix } from '../models/stored_matrix';
import type { Formats, LayerFormat } from '../structures/structure';
import type { DenseSource } from './dense_source';

/** A converted weight. Whoever receives one owns its matrices. */
export interface ConvertedWeight {
  readonly format: LayerFormat;
  /** One matrix per part, in the order of the structure. */
  readonly matrices: readonly PartMatrix[];
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly residual: number;
}

/** Converted weights by module. */
export type ConvertedWeights = Map<string, ConvertedWeight>;

/** Frees the matrices of all weights. */
export function disposeConverted(weights: ConvertedWeights): void {
  for (const { matrices } of weights.values()) for (const { matrix } of matrices) matrix.dispose();
}

/** Collects the weights that `convert` adds; frees them if it throws. */
export async function collected(convert: (weights: ConvertedWeights) => Promise<void>): Promise<ConvertedWeights> {
  const weights: ConvertedWeights = new Map();
  try {
    await convert(weights);
    return weights;
  } catch (error) {
    disposeConverted(weights);
    throw error;
  }
}

/** Returns `formats` updated by the formats of the converted weights. */
export function formatsWith(formats: Formats, weights: ConvertedWeights): Formats {
  return new Map([...formats, ...[...weights].map(([module, { format }]) => [module, format] as const)]);
}

/**
 * Lists the formats of all weights of an output, in the order of the model: those in `chosen`, otherwise the source's.
 */
export function outputFormats({ specifications, formats }: DenseSource, chosen: Formats): Formats {
  const output = new Map<string, LayerFormat>();
  for (const { name } of specifications.filter(isWeight)) {
    const module = moduleOf(name);
    const format = chosen.get(module) ?? formats.get(module);
    if (format !== undefined) output.set(module, format);
  }
  return output;
}

/** Maps modules to their ‖W − Ŵ‖ / ‖W‖. */
export function residualsOf(weights: ConvertedWeights): ReadonlyMap<string, number> {
  return new Map([...weights].map(([module, { residual }]) => [module, residual]));
}
