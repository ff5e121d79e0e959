/** SmolLM3: LLaMA in which every fourth layer has no positions (NoPE, arXiv 2501.18795). */

import { MbokError } from '../base/errors';
import { readAttentionBiases, readGatedDecoder, readSliding, readSwitchedWindow } from './decoder_settings';
import { gatedDecoder } from './gated_decoder';

export const smollm3 = gatedDecoder({
  name: 'smollm3',
  architectures: ['SmolLM3ForCausalLM'],
  modelType: 'smollm3',
  config(json) {
    const base = readGatedDecoder(json, { tied: true, theta: 2e6 });
    const interval = json.count('no_rope_layer_interval', 4);
    // despite its name, the list is 1 for layers with rotary positions
    const turned =
      json.numbers('no_rope_layers') ?? base.layerKinds.map((_, layer) => ((layer + 1) % interval === 0 ? 0 : 1));
    if (turned.length !== base.layers) {
      throw new MbokError('MBOK_FORMAT', `${json.place}: 'no_rope_layers' must have ${base.layers} entries`);
    }
    const window = readSwitchedWindow(json);
    const sliding = readSliding(json, base.layers, (layer) => turned[layer] === 0);
    return {
      ...base,
      biases: { ...readAttentionBiases(json), mlp: json.boolean('mlp_bias', false) },
      layerKinds: base.layerKinds.map((kind, layer) => ({
        window: sliding[layer] ? window : 0,
        rotary: turned[layer] === 0 ? undefined : kind.rotary,
      })),
    };
  },
});
