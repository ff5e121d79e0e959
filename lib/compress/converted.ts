/** Weights that a conversion has given another structure. */

import { isWeight, moduleOf } from '../models/parts';
import type { PlacedMatrix } from '../models/stored_matrix';
import type { Formats, LayerFormat } from '../structures/structure';
import type { DenseSource } from './dense_source';

/** Whoever receives one owns its matrices. */
export interface ConvertedWeight {
  readonly format: LayerFormat;
  /** One a part, in the order of the structure. */
  readonly matrices: readonly PlacedMatrix[];
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly residual: number;
}

/** By module. */
export type ConvertedWeights = Map<string, ConvertedWeight>;

/** Frees the matrices. */
export function disposeConverted(weights: ConvertedWeights): void {
  for (const { matrices } of weights.values()) for (const { matrix } of matrices) matrix.dispose();
}

/** Collects what `convert` makes; frees it where that fails. */
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

/** `formats` with those of what has been converted. */
export function formatsWith(formats: Formats, weights: ConvertedWeights): Formats {
  return new Map([...formats, ...[...weights].map(([module, { format }]) => [module, format] as const)]);
}

/** Formats of all weights of an output, in the order of the model: those of `chosen`, else as the source has them. */
export function outputFormats({ specifications, formats }: DenseSource, chosen: Formats): Formats {
  const output = new Map<string, LayerFormat>();
  for (const { name } of specifications.filter(isWeight)) {
    const module = moduleOf(name);
    const format = chosen.get(module) ?? formats.get(module);
    if (format !== undefined) output.set(module, format);
  }
  return output;
}

/** ‖W − Ŵ‖ / ‖W‖ by module. */
export function residualsOf(weights: ConvertedWeights): ReadonlyMap<string, number> {
  return new Map([...weights].map(([module, { residual }]) => [module, residual]));
}
