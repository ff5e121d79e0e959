/**
 * Mapping of GGUF architectures to Hugging Face: config.json and names of tensors. It is a separate table, because
 * families and GGUF architectures differ: Mistral's files are of architecture 'llama'.
 */

import type { JsonObject } from '../../io/json';
import type { ArchitectureReader } from './metadata';
import { ROPE_TENSORS } from './rope_factors';

/** A change by llama.cpp's conversion that has to be undone. */
export type Change =
  /** rows of each head were reordered: pairs (j, j + d/2) became neighbors */
  | { readonly kind: 'interleaved'; readonly heads: number }
  /** 1 was added (Gemma's norms multiply by 1 + w) */
  | { readonly kind: 'plusOne' }
  /** the file has [outputs, inputs], the checkpoint [inputs, outputs] (GPT-2) */
  | { readonly kind: 'transposed' };

/** A GGUF architecture. */
export interface Architecture {
  /** Returns the configuration, as in config.json. */
  config(reader: ArchitectureReader): JsonObject;
  /** Hugging Face's names of modules outside blocks. Their tensors are MODULE.weight and MODULE.bias. */
  readonly modules: Readonly<Record<string, string>>;
  /** Prefix of the names in blocks, before the block's number. */
  readonly blocks: string;
  /** Hugging Face's names of the modules in a block. */
  readonly block: Readonly<Record<string, string>>;
  /**
   * Returns the change to undo for a tensor. `name` is that in the file without the number of the block:
   * 'attn_q.weight'.
   */
  change?(name: string, config: JsonObject): Change | undefined;
}

/** Returns the settings that all decoders with rotary embeddings and RMS norms share. */
function decoderConfig(reader: ArchitectureReader): JsonObject {
  const heads = reader.integer('attention.head_count');
  const hidden = reader.integer('embedding_length');
  return {
    vocab_size: reader.shape('token_embd.weight')[0],
    hidden_size: hidden,
    intermediate_size: reader.integer('feed_forward_length'),
    num_hidden_layers: blockCount(reader),
    num_attention_heads: heads,
    num_key_value_heads: reader.has('attention.head_count_kv') ? reader.integer('attention.head_count_kv') : heads,
    head_dim: reader.headDimension,
    max_position_embeddings: reader.integer('context_length'),
    rms_norm_eps: reader.number('attention.layer_norm_rms_epsilon'),
    rope_theta: reader.has('rope.freq_base') ? reader.number('rope.freq_base') : 10000,
    ...ropeScaling(reader),
    tie_word_embeddings: !reader.hasTensor('output.weight'),
  };
}

/** Returns the number of blocks; checks that the last one exists. */
function blockCount(reader: ArchitectureReader): number {
  const count = reader.layers('block_count');
  // every architecture has it; norms differ
  reader.shape(`blk.${count - 1}.attn_output.weight`);
  return count;
}

/**
 * Reads the scaling of rotary embeddings as llama.cpp does: the default type is linear, and a factor of 0 means none.
 * `rope.scale_linear` is the older name of the factor.
 */
function ropeScaling(reader: ArchitectureReader): JsonObject {
  const type = reader.has('rope.scaling.type') ? reader.string('rope.scaling.type') : 'linear';
  const key = reader.has('rope.scaling.factor') ? 'rope.scaling.factor' : 'rope.scale_linear';
  const factor = (reader.has(key) && reader.number(key)) || 1;
  if (type === 'none' || (type === 'linear' && factor === 1)) return {};
  return { rope_scaling: { rope_type: type, ...(factor !== 1 && { factor }) } };
}

/** Reads LongRoPE's factor of all cosines and sines. */
function attentionFactor(reader: ArchitectureReader): JsonObject {
  const key = 'rope.scaling.attn_factor';
  return reader.has(key) ? { attention_factor: reader.number(key) } : {};
}

function slidingWindow(reader: ArchitectureReader): number | null {
  const window = reader.has('attention.sliding_window') ? reader.integer('attention.sliding_window', 0) : 0;
  return window > 0 ? window : null;
}

const llamaModules = { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' };
const llamaBlock = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const headNorms = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' };
const llamaNames = { modules: llamaModules, blocks: 'model.layers.', block: llamaBlock };

/**
 * Undoes the order of rows for architectures where llama.cpp rotates neighboring numbers of a head. Hugging Face
 * rotates numbers half a head apart.
 */
function interleaved(name: string, config: JsonObject): Change | undefined {
  if (name.startsWith('attn_q.')) return { kind: 'interleaved', heads: config.num_attention_heads as number };
  if (name.startsWith('attn_k.')) return { kind: 'interleaved', heads: config.num_key_value_heads as number };
  return undefined;
}

const llama: Architecture = {
  ...llamaNames,
  config: (reader) => ({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    ...decoderConfig(reader),
    attention_bias: reader.hasTensor('blk.0.attn_q.bias'),
    mlp_bias: reader.hasTensor('blk.0.ffn_up.bias'),
  }),
  change: interleaved,
};

const smollm3: Architecture = {
  ...llamaNames,
  config: (reader) => ({
    architectures: ['SmolLM3ForCausalLM'],
    model_type: 'smollm3',
    hidden_act: 'silu',
    ...decoderConfig(reader),
    attention_bias: false,
    mlp_bias: false,
    use_sliding_window: false,
    // every fourth layer has no positions; the file does not contain this
    no_rope_layers: Array.from({ length: blockCount(reader) }, (_, layer) => ((layer + 1) % 4 === 0 ? 0 : 1)),
    no_rope_layer_interval: 4,
  }),
  change: interleaved,
};

const qwen2: Architecture = {
  ...llamaNames,
  config: (reader) => ({
    architectures: ['Qwen2ForCausalLM'],
    model_type: 'qwen2',
    hidden_act: 'silu',
    ...decoderConfig(reader),
    use_sliding_window: false,
  }),
};

const qwen3: Architecture = {
  ...llamaNames,
  block: { ...llamaBlock, ...headNorms },
  config: (reader) => ({
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    hidden_act: 'silu',
    ...decoderConfig(reader),
    attention_bias: false,
    use_sliding_window: false,
  }),
};

const gemmaNames = {
  ...llamaNames,
  block: {
    ...llamaBlock,
    ...headNorms,
    post_attention_norm: 'post_attention_layernorm',
    ffn_norm: 'pre_feedforward_layernorm',
    post_ffw_norm: 'post_feedforward_layernorm',
  },
  change: (name: string): Change | undefined => (name.endsWith('norm.weight') ? { kind: 'plusOne' } : undefined),
};

/**
 * Returns Gemma's settings. Of each `every` layers all but the last have a sliding window. `largest` is the number of
 * layers of the 27 B model. Its queries are scaled by hidden size / heads instead of the head dimension; files do not
 * contain this, and llama.cpp decides in the same way.
 */
function gemmaConfig(reader: ArchitectureReader, every: number, largest: number): JsonObject {
  const decoder = decoderConfig(reader);
  const layers = decoder.num_hidden_layers as number;
  const perHead = (decoder.hidden_size as number) / (decoder.num_attention_heads as number);
  const pattern = 'attention.sliding_window_pattern';
  const period = reader.has(pattern) ? reader.integer(pattern) : every;
  const cap = (key: string) => (reader.has(key) ? { [key]: reader.number(key) || null } : {});
  return {
    ...decoder,
    hidden_activation: 'gelu_pytorch_tanh',
    attention_bias: false,
    query_pre_attn_scalar: layers === largest ? perHead : decoder.head_dim,
    ...cap('attn_logit_softcapping'),
    ...cap('final_logit_softcapping'),
    sliding_window: slidingWindow(reader),
    layer_types: Array.from({ length: layers }, (_, layer) =>
      (layer + 1) % period === 0 ? 'full_attention' : 'sliding_attention',
    ),
  };
}

const gemma2: Architecture = {
  ...gemmaNames,
  config: (reader) => ({
    architectures: ['Gemma2ForCausalLM'],
    model_type: 'gemma2',
    ...gemmaConfig(reader, 2, 46),
  }),
};

const gemma3: Architecture = {
  ...gemmaNames,
  config: (reader) => ({
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    ...gemmaConfig(reader, 6, 62),
    rope_local_base_freq: reader.has('rope.freq_base_swa') ? reader.number('rope.freq_base_swa') : 10000,
  }),
};

const phi3: Architecture = {
  ...llamaNames,
  block: { ...llamaBlock, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' },
  config: (reader) => {
    const decoder = decoderConfig(reader);
    const rotated = reader.has('rope.dimension_count') ? reader.integer('rope.dimension_count') : decoder.head_dim;
    const original = 'rope.scaling.original_context_length';
    const isLong = reader.hasTensor(ROPE_TENSORS.long);
    return {
      architectures: ['Phi3ForCausalLM'],
      model_type: 'phi3',
      hidden_act: 'silu',
      ...decoder,
      partial_rotary_factor: (rotated as number) / (decoder.head_dim as number),
      ...(isLong && {
        rope_scaling: { rope_type: 'longrope', ...(decoder.rope_scaling as JsonObject), ...attentionFactor(reader) },
      }),
      ...(reader.has(original) && { original_max_position_embeddings: reader.integer(original) }),
      sliding_window: slidingWindow(reader),
    };
  },
};

const gpt2: Architecture = {
  modules: {
    token_embd: 'transformer.wte',
    position_embd: 'transformer.wpe',
    output_norm: 'transformer.ln_f',
    output: 'lm_head',
  },
  blocks: 'transformer.h.',
  block: {
    attn_norm: 'ln_1',
    attn_qkv: 'attn.c_attn',
    attn_output: 'attn.c_proj',
    ffn_norm: 'ln_2',
    ffn_up: 'mlp.c_fc',
    ffn_down: 'mlp.c_proj',
  },
  config: (reader) => ({
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    activation_function: 'gelu_new',
    vocab_size: reader.shape('token_embd.weight')[0],
    n_embd: reader.integer('embedding_length'),
    n_inner: reader.integer('feed_forward_length'),
    n_layer: blockCount(reader),
    n_head: reader.integer('attention.head_count'),
    n_positions: reader.integer('context_length'),
    layer_norm_epsilon: reader.number('attention.layer_norm_epsilon'),
    tie_word_embeddings: !reader.hasTensor('output.weight'),
  }),
  change: (name) =>
    /^(attn_qkv|attn_output|ffn_up|ffn_down)\.weight$/.test(name) ? { kind: 'transposed' } : undefined,
};

/** Architectures by `general.architecture`. */
export const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama,
  smollm3,
  qwen2,
  qwen3,
  gemma2,
  gemma3,
  phi3,
  gpt2,
};
