/** The rotary settings of a config.json. */

import { MbokError } from '../errors';
import type { RotaryConfig } from '../nn/rotary';
import { show } from '../validate';
import type { ConfigReader } from './config_reader';

/** What the settings apply to. */
export interface RotaryShape {
  readonly headDimension: number;
  readonly positions: number;
  /** Where neither place names one. */
  readonly theta?: number;
}

/** Recent configurations write `rope_parameters`, older ones `rope_theta` and `rope_scaling`. */
export function readRotary(json: ConfigReader, shape: RotaryShape): RotaryConfig {
  return rotaryConfig(json, json.object('rope_parameters') ?? json.object('rope_scaling'), shape);
}

/**
 * The rotary table that one object of settings asks for. Throws MBOK_UNSUPPORTED for a type that changes the angles in
 * another way than default, linear, llama3 and longrope.
 */
export function rotaryConfig(
  json: ConfigReader,
  settings: ConfigReader | undefined,
  { headDimension, positions, theta = 10000 }: RotaryShape,
): RotaryConfig {
  const of = (key: string) => (settings?.has(key) ? settings : json);
  const factor = of('partial_rotary_factor').number('partial_rotary_factor', 1);
  const plain = {
    theta: of('rope_theta').number('rope_theta', theta),
    dimension: Math.floor(headDimension * factor),
    positions,
  };
  if (plain.dimension % 2 !== 0 || plain.dimension < 2 || plain.dimension > headDimension) {
    throw new MbokError(
      'MBOK_FORMAT',
      `${json.place}: ${plain.dimension} of ${headDimension} numbers of a head cannot be turned in pairs`,
    );
  }
  const type = settings?.string('rope_type', settings.has('type') ? settings.string('type') : 'default');
  if (settings === undefined || type === 'default') return plain;
  if (type === 'linear') {
    return { ...plain, stretch: Array<number>(plain.dimension / 2).fill(settings.number('factor')) };
  }
  if (type === 'llama3') {
    return {
      ...plain,
      llama3: {
        factor: settings.number('factor'),
        lowFrequencyFactor: settings.number('low_freq_factor'),
        highFrequencyFactor: settings.number('high_freq_factor'),
        originalPositions: settings.count('original_max_position_embeddings'),
      },
    };
  }
  // 'su' is what the first configurations of Phi-3 call it
  if (type === 'longrope' || type === 'su') return { ...plain, ...longRope(json, settings, plain) };
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `${settings.place}: rope type ${show(type)} is not supported; default, linear, llama3 and longrope are`,
  );
}

/**
 * LongRoPE (arXiv 2402.13753) has two sets of stretches, for texts within the original context and for longer ones. A
 * text that grows past it would need all its keys anew: the short set serves, and the original context is the limit.
 */
function longRope(
  json: ConfigReader,
  settings: ConfigReader,
  { dimension, positions }: RotaryConfig,
): Pick<RotaryConfig, 'stretch' | 'magnitude' | 'positions'> {
  const key = 'original_max_position_embeddings';
  const original = (settings.has(key) ? settings : json).count(key, positions);
  const stretch = settings.numbers('short_factor');
  if (stretch?.length !== dimension / 2 || !stretch.every((value) => value > 0)) {
    throw new MbokError(
      'MBOK_FORMAT',
      `${settings.place}: 'short_factor' must be ${dimension / 2} positive numbers, got ${stretch?.length ?? 'none'}`,
    );
  }
  // the paper's correction of the softmax temperature for the extended context
  const growth = positions / original;
  const magnitude = growth <= 1 ? 1 : Math.sqrt(1 + Math.log(growth) / Math.log(original));
  return {
    stretch,
    magnitude: settings.number('attention_factor', magnitude),
    positions: Math.min(positions, original),
  };
}
