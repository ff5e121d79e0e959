/** Phi-3, 3.5 and 4 mini (arXiv 2404.14219): LLaMA with q, k and v in one matrix, gate and up in another. */

import { readGatedDecoder, readWindow } from './decoder_settings';
import { gatedDecoder } from './gated_decoder';

export const phi3 = gatedDecoder({
  name: 'phi3',
  architectures: ['Phi3ForCausalLM'],
  modelType: 'phi3',
  config(json) {
    const base = readGatedDecoder(json, {
      epsilon: 1e-5,
      rotary: { partial: true, originalPositions: 4096 },
    });
    const window = readWindow(json);
    return { ...base, fused: true, layerKinds: base.layerKinds.map((kind) => ({ ...kind, window })) };
  },
});
