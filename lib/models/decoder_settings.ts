/** Settings that the configurations of several families share. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { ActivationKind } from '../graph/operations/activation';
import type { ConfigReader } from './config_reader';
import type { GatedDecoderConfig } from './gated_decoder';
import { type RotaryShape, readRotary } from './rotary_settings';

const ACTIVATIONS: ReadonlyMap<string, ActivationKind> = new Map([
  ['silu', 'silu'],
  ['swish', 'silu'],
  ['gelu', 'gelu'],
  ['gelu_new', 'geluTanh'],
  ['gelu_pytorch_tanh', 'geluTanh'],
  ['relu', 'relu'],
]);

/** Returns the activation function that `key` names. Throws MBOK_UNSUPPORTED. */
export function readActivation(json: ConfigReader, key: string, fallback: string): ActivationKind {
  const name = json.string(key, fallback);
  const kind = ACTIVATIONS.get(name);
  if (kind === undefined) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: '${key}' is ${show(name)}; supported: ${[...ACTIVATIONS.keys()].join(', ')}`,
    );
  }
  return kind;
}

/** Maximum head dimension; the native attention lays out its scratch for it. */
export const MOST_HEAD_DIMENSION = 256;

/** Defaults of a family for keys that a configuration lacks. */
export interface Defaults {
  readonly headDimension?: number;
  readonly keyValueHeads?: number;
  readonly tied?: boolean;
  readonly theta?: number;
  readonly epsilon?: number;
  /** Defaults of the rotary embedding. */
  readonly rotary?: Pick<RotaryShape, 'partial' | 'originalPositions'>;
  /** Reads the rotary tables, by name. Default: one table 'rotary' for all layers. */
  readonly rotaries?: (json: ConfigReader, shape: RotaryShape) => GatedDecoderConfig['rotaries'];
}

/**
 * Reads the configuration of a decoder like LLaMA, without biases. Families override what differs. Throws MBOK_FORMAT,
 * MBOK_SHAPE, MBOK_UNSUPPORTED.
 */
export function readGatedDecoder(json: ConfigReader, defaults: Defaults = {}): GatedDecoderConfig {
  const hiddenSize = json.count('hidden_size');
  const heads = json.count('num_attention_heads');
  const layers = json.layers('num_hidden_layers');
  const headDimension = json.count('head_dim', defaults.headDimension ?? Math.floor(hiddenSize / heads));
  if (headDimension > MOST_HEAD_DIMENSION) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: heads of dimension ${headDimension} are not supported; ${MOST_HEAD_DIMENSION} are`,
    );
  }
  const positions = json.count('max_position_embeddings', 2048);
  const theta = defaults.theta && { theta: defaults.theta };
  const read = defaults.rotaries ?? ((_, shape) => ({ rotary: readRotary(json, shape) }));
  const rotaries = read(json, { headDimension, positions, ...theta, ...defaults.rotary });
  return {
    vocabularySize: json.count('vocab_size'),
    hiddenSize,
    intermediateSize: json.count('intermediate_size'),
    layers,
    heads,
    keyValueHeads: json.count('num_key_value_heads', defaults.keyValueHeads ?? heads),
    headDimension,
    maxPositions: Math.min(...Object.values(rotaries).map((rotary) => rotary.positions)),
    epsilon: json.number('rms_norm_eps', defaults.epsilon ?? 1e-6),
    activation: readActivation(json, 'hidden_act', 'silu'),
    biases: { queryKeyValue: false, output: false, mlp: false },
    tied: json.boolean('tie_word_embeddings', defaults.tied ?? false),
    fused: false,
    headNorm: false,
    outerNorm: false,
    normOffset: 0,
    embeddingScale: 1,
    scoreScale: 1 / Math.sqrt(headDimension),
    scoreCap: 0,
    logitCap: 0,
    rotaries,
    layerKinds: Array.from({ length: layers }, () => ({ window: 0, rotary: 'rotary' })),
  };
}

/** Reads `attention_bias`, which applies to q, k, v and the output. */
export function readAttentionBiases(json: ConfigReader, fallback = false): GatedDecoderConfig['biases'] {
  const attention = json.boolean('attention_bias', fallback);
  return { queryKeyValue: attention, output: attention, mlp: false };
}

/** Reads `sliding_window`: 0 (no window) if it is null, `absent` if it is absent. */
export function readWindow(json: ConfigReader, absent = 0): number {
  if (json.value('sliding_window') === undefined) return absent;
  return json.has('sliding_window') ? json.count('sliding_window') : 0;
}

/** Reads `sliding_window` of a family with the switch `use_sliding_window`: 0 if that is off. */
export function readSwitchedWindow(json: ConfigReader, absent = 0): number {
  const isOn = json.boolean('use_sliding_window', false);
  // mark the key as read, although its value has no effect then
  json.value('sliding_window');
  return isOn ? readWindow(json, absent) : 0;
}

/** Layer types, and whether their attention has a sliding window. */
const LAYER_TYPES: ReadonlyMap<string, boolean> = new Map([
  ['full_attention', false],
  ['sliding_attention', true],
]);

/**
 * Returns for every layer whether it has a sliding window: by `layer_types`, or by `fallback` if that is absent. Throws
 * MBOK_FORMAT, MBOK_UNSUPPORTED.
 */
export function readSliding(json: ConfigReader, layers: number, fallback: (layer: number) => boolean): boolean[] {
  const types = json.strings('layer_types');
  if (types === undefined) return Array.from({ length: layers }, (_, layer) => fallback(layer));
  if (types.length !== layers) {
    throw new MbokError('MBOK_FORMAT', `${json.place}: 'layer_types' must name ${layers} layers, got ${types.length}`);
  }
  return types.map((type) => {
    const sliding = LAYER_TYPES.get(type);
    if (sliding === undefined) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `${json.place}: layer type ${show(type)} is not supported; ${[...LAYER_TYPES.keys()].join(' and ')} are`,
      );
    }
    return sliding;
  });
}
