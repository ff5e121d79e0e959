/** Gemma 2 (arXiv 2408.00118) and the text models of Gemma 3 (arXiv 2503.19786). */

import { ConfigReader } from './config_reader';
import {
  type Defaults,
  readActivation,
  readAttentionBiases,
  readGatedDecoder,
  readSliding,
  readWindow,
} from './decoder_settings';
import { type GatedDecoderConfig, gatedDecoder } from './gated_decoder';
import { type RotaryShape, rotaryConfig } from './rotary_settings';

/** Reads a soft cap: 0 (none) if it is null, `fallback` if it is absent. */
function readCap(json: ConfigReader, key: string, fallback: number): number {
  if (json.value(key) === undefined) return fallback;
  return json.has(key) ? json.number(key) : 0;
}

/**
 * Reads the settings that both share: four norms per block, norm weights stored around 0, embeddings scaled by √hidden
 * size.
 */
function readGemma(
  json: ConfigReader,
  caps: { score: number; logit: number },
  defaults: Defaults = {},
): GatedDecoderConfig {
  const base = readGatedDecoder(json, { headDimension: 256, tied: true, ...defaults });
  return {
    ...base,
    activation: readActivation(json, 'hidden_activation', 'gelu_pytorch_tanh'),
    biases: readAttentionBiases(json),
    outerNorm: true,
    normOffset: 1,
    embeddingScale: Math.sqrt(base.hiddenSize),
    scoreScale: 1 / Math.sqrt(json.number('query_pre_attn_scalar', 256)),
    scoreCap: readCap(json, 'attn_logit_softcapping', caps.score),
    logitCap: readCap(json, 'final_logit_softcapping', caps.logit),
  };
}

export const gemma2 = gatedDecoder({
  name: 'gemma2',
  architectures: ['Gemma2ForCausalLM'],
  modelType: 'gemma2',
  config(json) {
    const base = readGemma(json, { score: 50, logit: 30 });
    const window = readWindow(json, 4096);
    const sliding = readSliding(json, base.layers, (layer) => layer % 2 === 0);
    return {
      ...base,
      layerKinds: base.layerKinds.map((kind, layer) => ({ ...kind, window: sliding[layer] ? window : 0 })),
    };
  },
});

export const gemma3 = gatedDecoder({
  name: 'gemma3',
  architectures: ['Gemma3ForCausalLM'],
  modelType: 'gemma3_text',
  config(json) {
    const base = readGemma(json, { score: 0, logit: 0 }, { rotaries: readRotaries });
    const window = readWindow(json, 4096);
    const pattern = json.count('sliding_window_pattern', json.count('_sliding_window_pattern', 6));
    const sliding = readSliding(json, base.layers, (layer) => (layer + 1) % pattern !== 0);
    return {
      ...base,
      headNorm: true,
      layerKinds: sliding.map((slides) => ({
        window: slides ? window : 0,
        rotary: slides ? 'sliding_attention' : 'full_attention',
      })),
    };
  },
});

/**
 * Reads the two tables of Gemma 3. Layers with full attention have long, possibly scaled wavelengths; layers with a
 * window have short ones without scaling.
 */
function readRotaries(json: ConfigReader, shape: RotaryShape): GatedDecoderConfig['rotaries'] {
  const recent = json.object('rope_parameters');
  const kinds = { full: recent?.object('full_attention'), sliding: recent?.object('sliding_attention') };
  recent?.expectUnderstood(() => false);
  // as in transformers, `rope_scaling` replaces single settings
  const scaling = json.object('rope_scaling');
  const full = new ConfigReader(
    { ...(recent === undefined && { rope_type: 'default' }), ...kinds.full?.json, ...scaling?.json },
    `${json.place}: ${scaling === undefined ? 'rope_parameters: full_attention' : 'rope_scaling'}`,
  );
  const local = new ConfigReader(
    { rope_theta: json.number('rope_local_base_freq', 10000) },
    `${json.place}: rope_local_base_freq`,
  );
  return {
    full_attention: rotaryConfig(json, full, { ...shape, theta: 1e6 }),
    sliding_attention: rotaryConfig(local, kinds.sliding, shape),
  };
}
