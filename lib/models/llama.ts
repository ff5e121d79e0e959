/** LLaMA 1, 2 and 3.x, SmolLM 1 and 2, and the many models published with LLaMA's architecture. */

import { readAttentionBiases, readGatedDecoder } from './decoder_settings';
import { gatedDecoder } from './gated_decoder';

export const llama = gatedDecoder({
  name: 'llama',
  architectures: ['LlamaForCausalLM'],
  modelType: 'llama',
  config: (json) => ({
    ...readGatedDecoder(json),
    biases: { ...readAttentionBiases(json), mlp: json.boolean('mlp_bias', false) },
  }),
});
