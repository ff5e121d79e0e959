/** Qwen 2 and 2.5 (arXiv 2407.10671) and Qwen 3 (arXiv 2505.09388), dense. */

import type { ConfigReader } from './config_reader';
import { readAttentionBiases, readGatedDecoder, readSliding, readSwitchedWindow } from './decoder_settings';
import { type GatedDecoderConfig, gatedDecoder } from './gated_decoder';

/** Reads the sliding windows: with `use_sliding_window`, layers from `max_window_layers` on have one. */
function withWindows(base: GatedDecoderConfig, json: ConfigReader): GatedDecoderConfig {
  const window = readSwitchedWindow(json, 4096);
  const full = json.has('max_window_layers') ? json.amount('max_window_layers') : 28;
  const sliding = readSliding(json, base.layers, (layer) => layer >= full);
  return {
    ...base,
    layerKinds: base.layerKinds.map((kind, layer) => ({ ...kind, window: sliding[layer] ? window : 0 })),
  };
}

export const qwen2 = gatedDecoder({
  name: 'qwen2',
  architectures: ['Qwen2ForCausalLM'],
  modelType: 'qwen2',
  config: (json) => ({
    ...withWindows(readGatedDecoder(json), json),
    biases: { queryKeyValue: true, output: false, mlp: false },
  }),
});

export const qwen3 = gatedDecoder({
  name: 'qwen3',
  architectures: ['Qwen3ForCausalLM'],
  modelType: 'qwen3',
  config: (json) => ({
    ...withWindows(readGatedDecoder(json, { headDimension: 128 }), json),
    biases: readAttentionBiases(json),
    headNorm: true,
  }),
});
