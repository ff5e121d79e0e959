/** Mistral (arXiv 2310.06825): LLaMA with an optional sliding window in all layers. */

import { readGatedDecoder, readWindow } from './decoder_settings';
import { gatedDecoder } from './gated_decoder';

export const mistral = gatedDecoder({
  name: 'mistral',
  architectures: ['MistralForCausalLM'],
  modelType: 'mistral',
  config(json) {
    const base = readGatedDecoder(json, { keyValueHeads: 8 });
    const window = readWindow(json, 4096);
    return { ...base, layerKinds: base.layerKinds.map((kind) => ({ ...kind, window })) };
  },
});
