/** Tensors of GGUF files with divisors of rotary angles, converted to the `rope_scaling` of config.json. */

import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import type { JsonObject } from '../../io/json';
import { rotaryFrequencies } from '../../nn/rotary';
import { asWritten } from './metadata';

/**
 * Divisors of the angle of each pair: for all lengths, or separately for texts within the original context and for
 * longer ones.
 */
export interface RopeFactors {
  readonly all?: Float32Array;
  readonly short?: Float32Array;
  readonly long?: Float32Array;
}

/** Names of the tensors. */
export const ROPE_TENSORS: Readonly<Record<keyof RopeFactors, string>> = {
  all: 'rope_freqs.weight',
  short: 'rope_factors_short.weight',
  long: 'rope_factors_long.weight',
};

/**
 * Adds the settings that correspond to the factors to config.json. Throws MBOK_UNSUPPORTED if there are none, or if the
 * metadata contains another scaling too.
 */
export function withRopeFactors(config: JsonObject, { all, short, long }: RopeFactors, path: string): JsonObject {
  if (all === undefined && short === undefined && long === undefined) return config;
  const { rope_type: type, factor, ...others } = (config.rope_scaling ?? {}) as JsonObject;
  const fits = factor === undefined && (type === undefined || (type === 'longrope' && all === undefined));
  if (!fits || (short === undefined) !== (long === undefined)) {
    const names = Object.entries({ all, short, long }).flatMap(([key, value]) =>
      value ? [`'${ROPE_TENSORS[key as keyof RopeFactors]}'`] : [],
    );
    const besides = fits ? 'alone' : `beside metadata of rope scaling ${show({ type, factor })}`;
    throw new MbokError('MBOK_UNSUPPORTED', `'${path}': tensor ${names.join(' and ')} ${besides} is not supported`);
  }
  if (all !== undefined) return { ...config, rope_scaling: llama3Scaling(config, all, path) };
  const scaling = {
    ...others,
    rope_type: 'longrope',
    short_factor: Array.from(short as Float32Array, asWritten),
    long_factor: Array.from(long as Float32Array, asWritten),
  };
  return { ...config, rope_scaling: scaling };
}

/** Candidates for the original context length: powers of two. */
const LENGTHS = Array.from({ length: 20 }, (_, i) => 2 ** (i + 1));
/** Relative tolerance: the factors are f32, computed in f32. */
const TOLERANCE = 1e-4;

/**
 * Derives Llama 3's settings from the factors that files contain instead. `factor` is the largest one. All models have
 * 1 and 4 as lowest and highest frequency factor. Then a single original length gives the factors in between.
 */
function llama3Scaling(config: JsonObject, factors: Float32Array, path: string): JsonObject {
  const shape = { theta: config.rope_theta as number, dimension: 2 * factors.length };
  const plain = rotaryFrequencies(shape);
  const factor = Number(Math.max(...factors).toPrecision(6));
  for (const originalPositions of LENGTHS) {
    const llama3 = { factor, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions };
    const stretched = rotaryFrequencies({ ...shape, llama3 });
    const fits = factors.every(
      (given, j) => Math.abs((plain[j] as number) / (stretched[j] as number) - given) <= TOLERANCE * given,
    );
    if (!fits) continue;
    return {
      rope_type: 'llama3',
      factor,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: originalPositions,
    };
  }
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `'${path}': the factors of tensor '${ROPE_TENSORS.all}' are not those of Llama 3's rotary embedding`,
  );
}
