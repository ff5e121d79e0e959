/** The rotary settings of a config.json. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { RotaryConfig } from '../nn/rotary';
import type { ConfigReader } from './config_reader';

/** What the settings apply to. */
export interface RotaryShape {
  readonly headDimension: number;
  readonly positions: number;
  /** Where neither place names one. */
  readonly theta?: number;
  /** Whether the family turns a part of each head where `partial_rotary_factor` says so. */
  readonly partial?: boolean;
  /** Of LongRoPE and Llama 3's scaling, where `original_max_position_embeddings` is absent. Default `positions`. */
  readonly originalPositions?: number;
}

/**
 * Recent configurations write `rope_parameters`, older ones `rope_theta` and `rope_scaling`. Where both are there,
 * transformers takes `rope_scaling` for the whole. Throws MBOK_FORMAT where that drops another base or part of the heads.
 */
export function readRotary(json: ConfigReader, shape: RotaryShape): RotaryConfig {
  const recent = json.object('rope_parameters');
  const older = json.object('rope_scaling');
  if (older === undefined || Object.keys(older.json).length === 0) return rotaryConfig(json, recent, shape);
  const { theta = 10000 } = shape;
  for (const [key, fallback] of Object.entries({ rope_theta: theta, partial_rotary_factor: 1 })) {
    const dropped = recent?.json[key] ?? undefined;
    const taken = older.json[key] ?? json.json[key] ?? fallback;
    if (dropped === undefined || dropped === taken) continue;
    throw new MbokError(
      'MBOK_FORMAT',
      `${json.place}: '${key}' is ${show(dropped)} in 'rope_parameters', but ${show(taken)} by 'rope_scaling', which replaces them`,
    );
  }
  return rotaryConfig(json, older, shape);
}

/**
 * The rotary table that one object of settings asks for. Throws MBOK_UNSUPPORTED for a type that changes the angles in
 * another way than default, linear, llama3 and longrope, and for settings that are not of the type.
 */
export function rotaryConfig(json: ConfigReader, settings: ConfigReader | undefined, shape: RotaryShape): RotaryConfig {
  const config = scaledConfig(json, settings, shape);
  settings?.expectUnderstood(isNeutralScaling);
  return config;
}

/** Whether a setting that its type does not have changes nothing. */
function isNeutralScaling(key: string, value: unknown): boolean {
  // settings by the type of a layer, in a family that has one table for all
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return false;
  if (/^(factor|attention_factor|partial_rotary_factor|mscale|mscale_all_dim|alpha)$/.test(key)) return value === 1;
  if (/^(short|long)_factor$/.test(key)) return Array.isArray(value) && value.every((factor) => factor === 1);
  return true;
}

function scaledConfig(json: ConfigReader, settings: ConfigReader | undefined, shape: RotaryShape): RotaryConfig {
  const { headDimension, positions, theta = 10000, partial = false } = shape;
  const of = (key: string) => (settings?.has(key) ? settings : json);
  const factor = partial ? of('partial_rotary_factor').number('partial_rotary_factor', 1) : 1;
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
  if (settings === undefined) return plain;
  const type = ropeType(settings);
  if (type === 'default') return plain;
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
        originalPositions: originalPositions(json, settings, shape),
      },
    };
  }
  // 'su' is what the first configurations of Phi-3 call it
  if (type === 'longrope' || type === 'su') return { ...plain, ...longRope(json, settings, plain, shape) };
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `${settings.place}: rope type ${show(type)} is not supported; default, linear, llama3 and longrope are`,
  );
}

/** `rope_type`, which older configurations call `type`. Throws MBOK_FORMAT where they differ. */
function ropeType(settings: ConfigReader): string {
  const older = settings.string('type', 'default');
  const type = settings.string('rope_type', older);
  if (!settings.has('type') || older === type) return type;
  throw new MbokError(
    'MBOK_FORMAT',
    `${settings.place}: 'rope_type' is ${show(type)}, but 'type', its older name, is ${show(older)}`,
  );
}

/**
 * The context before it was extended. transformers gives the configuration's own key priority over that of the settings, in
 * Phi-3 even its default. Throws MBOK_FORMAT where the two differ.
 */
function originalPositions(json: ConfigReader, settings: ConfigReader, shape: RotaryShape): number {
  const key = 'original_max_position_embeddings';
  const own = settings.has(key) ? settings.count(key) : undefined;
  const original = json.has(key) ? json.count(key) : (shape.originalPositions ?? own ?? shape.positions);
  if (own === undefined || own === original) return original;
  throw new MbokError('MBOK_FORMAT', `${settings.place}: '${key}' is ${own}, but ${original} by ${json.place}`);
}

/**
 * LongRoPE (arXiv 2402.13753) has two sets of stretches, for texts within the original context and for longer ones. A
 * text that grows past it would need all its keys anew: the short set serves, and the original context is the limit.
 */
function longRope(
  json: ConfigReader,
  settings: ConfigReader,
  { dimension, positions }: RotaryConfig,
  shape: RotaryShape,
): Pick<RotaryConfig, 'stretch' | 'magnitude' | 'positions'> {
  const original = originalPositions(json, settings, shape);
  const stretch = settings.numbers('short_factor');
  settings.numbers('long_factor');
  if (stretch?.length !== dimension / 2 || !stretch.every((value) => value > 0)) {
    throw new MbokError(
      'MBOK_FORMAT',
      `${settings.place}: 'short_factor' must be ${dimension / 2} positive numbers, got ${stretch?.length ?? 'none'}`,
    );
  }
  // the paper's correction of the softmax temperature for the extended context
  const growth = settings.number('factor', positions / original);
  const magnitude = growth <= 1 ? 1 : Math.sqrt(1 + Math.log(growth) / Math.log(original));
  return {
    stretch,
    magnitude: settings.number('attention_factor', magnitude),
    positions: Math.min(positions, original),
  };
}
