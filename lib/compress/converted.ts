/** Weights that a conversion has given another structure. */

import type { PlacedMatrix } from '../models/checkpoint';
import { isWeight, moduleOf } from '../models/parts';
import { INT8 } from '../structures/int8';
import { kernelsFormat } from '../structures/kernels';
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

/** Formats of all weights of an output: kernels and 8 bits where these are asked for, else as the source has them. */
export function outputFormats(
  { specifications, formats }: DenseSource,
  kernels: ReadonlyMap<string, number>,
  int8: ReadonlySet<string>,
): Formats {
  const chosen = new Map<string, LayerFormat>();
  for (const { name } of specifications.filter(isWeight)) {
    const module = moduleOf(name);
    const count = kernels.get(module);
    const format = int8.has(name) ? INT8 : count === undefined ? formats.get(module) : kernelsFormat(count);
    if (format !== undefined) chosen.set(module, format);
  }
  return chosen;
}

/** ‖W − Ŵ‖ / ‖W‖ by module. */
export function residualsOf(weights: ConvertedWeights): ReadonlyMap<string, number> {
  return new Map([...weights].map(([module, { residual }]) => [module, residual]));
}
