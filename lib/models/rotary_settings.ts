/** The rotary settings of config.json. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { RotaryConfig } from '../nn/rotary';
import type { ConfigReader } from './config_reader';

/** The shape that the settings apply to, and defaults of the family. */
export interface RotaryShape {
  readonly headDimension: number;
  readonly positions: number;
  /** Default of `rope_theta`; 10000 if undefined. */
  readonly theta?: number;
  /** Whether the family rotates only a part of each head if `partial_rotary_factor` says so. */
  readonly partial?: boolean;
  /** Default of `original_max_position_embeddings` in LongRoPE and Llama 3's scaling; `positions` if undefined. */
  readonly originalPositions?: number;
}

/**
 * Reads the rotary settings. Recent configurations have `rope_parameters`, older ones `rope_theta` and `rope_scaling`.
 * If both are present, transformers uses `rope_scaling` alone. Throws MBOK_FORMAT if that would drop a different base
 * or part of the heads.
 */
export function readRotary(json: ConfigReader, shape: RotaryShape): RotaryConfig {
  const recent = json.object('rope_parameters');
  const older = json.object('rope_scaling');
  if (older === undefined || Object.keys(older.json).length === 0) return rotaryConfig(json, recent, shape);
  const { theta = 10000 } = shape;
  for (const [key, fallback] of Object.entries({ rope_theta: theta, partial_rotary_factor: 1 })) {
    const dropped = recent?.json[key] ?? undefined;
    const applied = older.json[key] ?? json.json[key] ?? fallback;
    if (dropped === undefined || dropped === applied) continue;
    throw new MbokError(
      'MBOK_FORMAT',
      `${json.place}: '${key}' is ${show(dropped)} in 'rope_parameters', but ${show(applied)} by 'rope_scaling', which replaces them`,
    );
  }
  return rotaryConfig(json, older, shape);
}

/**
 * Reads the rotary table of one settings object. Throws MBOK_UNSUPPORTED for types other than default, linear, llama3
 * and longrope, and for settings that the type does not have.
 */
export function rotaryConfig(json: ConfigReader, settings: ConfigReader | undefined, shape: RotaryShape): RotaryConfig {
  const config = scaledConfig(json, settings, shape);
  settings?.expectUnderstood(isNeutralScaling);
  return config;
}

/** Tells whether a setting that the type does not have is neutral. */
function isNeutralScaling(key: string, value: unknown): boolean {
  // settings per layer type, in a family with one table for all layers
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
  // the first configurations of Phi-3 call it 'su'
  if (type === 'longrope' || type === 'su') return { ...plain, ...longRope(json, settings, plain, shape) };
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `${settings.place}: rope type ${show(type)} is not supported; default, linear, llama3 and longrope are`,
  );
}

/** Reads `rope_type`, or its older name `type`. Throws MBOK_FORMAT if they differ. */
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
 * Reads the context length before extension. transformers prefers the key in config.json to that of the settings, in
 * Phi-3 even its default. Throws MBOK_FORMAT if the two differ.
 */
function originalPositions(json: ConfigReader, settings: ConfigReader, shape: RotaryShape): number {
  const key = 'original_max_position_embeddings';
  const inSettings = settings.has(key) ? settings.count(key) : undefined;
  const original = json.has(key) ? json.count(key) : (shape.originalPositions ?? inSettings ?? shape.positions);
  if (inSettings === undefined || inSettings === original) return original;
  throw new MbokError('MBOK_FORMAT', `${settings.place}: '${key}' is ${inSettings}, but ${original} by ${json.place}`);
}

/**
 * Reads LongRoPE (arXiv 2402.13753). It has two sets of divisors: for texts within the original context, and for longer
 * ones. A text that grows beyond it would need all its keys recomputed. Therefore only the short set is used, and the
 * original context is the limit.
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
