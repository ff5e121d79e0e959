/** Configurations of published checkpoints, old and new, as families read them. */

import { ConfigReader } from '../../lib/models/config_reader';
import type { GatedDecoderConfig } from '../../lib/models/gated_decoder';
import { readDescription } from '../../lib/models/registry';
import { rotaryFrequencies, rotaryTable } from '../../lib/nn/rotary';

type Json = Record<string, unknown>;

const SIZES = {
  vocab_size: 160,
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};

const GPT2 = { n_embd: 64, n_head: 4, n_layer: 2 };

function read(architecture: string, json: Json): GatedDecoderConfig {
  const reader = new ConfigReader({ architectures: [architecture], ...SIZES, ...json }, 'config.json');
  return readDescription(reader).config as GatedDecoderConfig;
}

const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
const short = [1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35];

describe('older and newer names of the same setting', () => {
  const cases: [string, string, Json, Json][] = [
    [
      'a base of wavelengths',
      'LlamaForCausalLM',
      { rope_theta: 5e5 },
      { rope_parameters: { rope_theta: 5e5, rope_type: 'default' } },
    ],
    ['no base at all', 'LlamaForCausalLM', {}, { rope_parameters: { rope_theta: 10000, rope_type: 'default' } }],
    [
      'stretched wavelengths of LLaMA 3',
      'LlamaForCausalLM',
      { rope_theta: 5e5, rope_scaling: { type: 'llama3', ...llama3 } },
      { rope_parameters: { rope_theta: 5e5, rope_type: 'llama3', ...llama3 } },
    ],
    [
      'linear interpolation',
      'LlamaForCausalLM',
      { rope_scaling: { type: 'linear', factor: 4 } },
      { rope_parameters: { rope_theta: 10000, rope_type: 'linear', factor: 4 } },
    ],
    [
      'two tables and a pattern of layers',
      'Gemma3ForCausalLM',
      {
        rope_theta: 1e6,
        rope_local_base_freq: 20000,
        rope_scaling: { rope_type: 'linear', factor: 8 },
        sliding_window_pattern: 3,
      },
      {
        rope_parameters: {
          full_attention: { rope_theta: 1e6, rope_type: 'linear', factor: 8 },
          sliding_attention: { rope_theta: 20000, rope_type: 'default' },
        },
        layer_types: [0, 1, 2, 3, 4, 5].map((layer) => (layer % 3 === 2 ? 'full_attention' : 'sliding_attention')),
      },
    ],
    [
      'the layers that slide',
      'Qwen2ForCausalLM',
      { use_sliding_window: true, sliding_window: 16, max_window_layers: 4 },
      {
        use_sliding_window: true,
        sliding_window: 16,
        layer_types: [0, 1, 2, 3, 4, 5].map((layer) => (layer < 4 ? 'full_attention' : 'sliding_attention')),
      },
    ],
    [
      'layers without positions',
      'SmolLM3ForCausalLM',
      { no_rope_layer_interval: 3 },
      { no_rope_layers: [1, 1, 0, 1, 1, 0] },
    ],
    [
      'short and long stretches',
      'Phi3ForCausalLM',
      { original_max_position_embeddings: 32, rope_scaling: { type: 'su', short_factor: short, long_factor: short } },
      {
        original_max_position_embeddings: 32,
        rope_parameters: { rope_theta: 10000, rope_type: 'longrope', short_factor: short, long_factor: short },
      },
    ],
    // the following cases hold as transformers 5.24 standardizes them
    [
      'rope_scaling beside rope_parameters, which it replaces',
      'LlamaForCausalLM',
      {
        rope_parameters: { rope_theta: 10000, rope_type: 'default' },
        rope_scaling: { rope_type: 'linear', factor: 2 },
      },
      { rope_parameters: { rope_theta: 10000, rope_type: 'linear', factor: 2 } },
    ],
    [
      'rope_scaling and rope_parameters that agree',
      'Gemma2ForCausalLM',
      {
        rope_theta: 5e5,
        rope_parameters: { rope_theta: 5e5, rope_type: 'linear', factor: 2 },
        rope_scaling: { type: 'linear', factor: 2 },
      },
      { rope_parameters: { rope_theta: 5e5, rope_type: 'linear', factor: 2 } },
    ],
    [
      'an empty rope_scaling',
      'LlamaForCausalLM',
      { rope_parameters: { rope_theta: 5e5, rope_type: 'linear', factor: 2 }, rope_scaling: {} },
      { rope_theta: 5e5, rope_scaling: { type: 'linear', factor: 2 } },
    ],
    [
      'rope_scaling beside two tables, of which it changes the one for all tokens',
      'Gemma3ForCausalLM',
      {
        rope_parameters: {
          full_attention: { rope_theta: 1e6, rope_type: 'default' },
          sliding_attention: { rope_theta: 20000, rope_type: 'default' },
        },
        rope_scaling: { rope_type: 'linear', factor: 8 },
      },
      { rope_theta: 1e6, rope_local_base_freq: 20000, rope_scaling: { rope_type: 'linear', factor: 8 } },
    ],
    [
      "Llama 3's original context where it is absent",
      'LlamaForCausalLM',
      { rope_scaling: { type: 'llama3', ...llama3, original_max_position_embeddings: null } },
      { rope_scaling: { type: 'llama3', ...llama3, original_max_position_embeddings: 64 } },
    ],
    [
      "Llama 3's original context beside the settings",
      'LlamaForCausalLM',
      {
        original_max_position_embeddings: 16,
        rope_scaling: { type: 'llama3', ...llama3, original_max_position_embeddings: null },
      },
      { rope_scaling: { type: 'llama3', ...llama3, original_max_position_embeddings: 16 } },
    ],
    [
      "Phi-3's original context where it is absent",
      'Phi3ForCausalLM',
      { max_position_embeddings: 8192, rope_scaling: { type: 'longrope', short_factor: short, long_factor: short } },
      {
        max_position_embeddings: 8192,
        original_max_position_embeddings: 4096,
        rope_scaling: { type: 'longrope', short_factor: short, long_factor: short },
      },
    ],
    [
      'the factor of LongRoPE',
      'Phi3ForCausalLM',
      {
        original_max_position_embeddings: 32,
        rope_scaling: { type: 'longrope', short_factor: short, long_factor: short, factor: 4 },
      },
      {
        original_max_position_embeddings: 32,
        rope_scaling: {
          type: 'longrope',
          short_factor: short,
          long_factor: short,
          attention_factor: Math.sqrt(1 + Math.log(4) / Math.log(32)),
        },
      },
    ],
    [
      'a window that is switched off',
      'Qwen2ForCausalLM',
      { use_sliding_window: false, sliding_window: 16, max_window_layers: 0 },
      {},
    ],
    [
      'a window of null and none',
      'MistralForCausalLM',
      { sliding_window: null },
      { layer_types: null, sliding_window: null },
    ],
  ];
  test.each(cases)('%s', (_, architecture, older, newer) => {
    expect(read(architecture, older)).toEqual(read(architecture, newer));
  });
});

test('implied settings of a family', () => {
  const windows = (config: GatedDecoderConfig) => config.layerKinds.map(({ window }) => window);
  expect(windows(read('MistralForCausalLM', {}))).toEqual([4096, 4096, 4096, 4096, 4096, 4096]);
  expect(windows(read('Gemma2ForCausalLM', {}))).toEqual([4096, 0, 4096, 0, 4096, 0]);
  expect(windows(read('Gemma3ForCausalLM', { sliding_window: 8 }))).toEqual([8, 8, 8, 8, 8, 0]);
  expect(windows(read('Qwen2ForCausalLM', { sliding_window: 8, max_window_layers: 0 }))).toEqual([0, 0, 0, 0, 0, 0]);
  expect(read('Gemma2ForCausalLM', {})).toMatchObject({ scoreCap: 50, logitCap: 30, headDimension: 256, tied: true });
  expect(read('Gemma2ForCausalLM', { final_logit_softcapping: null }).logitCap).toBe(0);
  expect(read('Gemma3ForCausalLM', {})).toMatchObject({ scoreCap: 0, logitCap: 0, scoreScale: 1 / 16 });
  expect(read('Qwen3ForCausalLM', {}).headDimension).toBe(128);
  expect(read('SmolLM3ForCausalLM', {}).rotaries.rotary?.theta).toBe(2e6);
});

test('LongRoPE uses the short factors up to the original context', () => {
  const rope_scaling = { type: 'longrope', short_factor: short, long_factor: short.map((value) => 2 * value) };
  const { maxPositions, rotaries } = read('Phi3ForCausalLM', {
    max_position_embeddings: 128,
    original_max_position_embeddings: 32,
    rope_scaling,
  });
  const rotary = rotaries.rotary as NonNullable<typeof rotaries.rotary>;
  expect(maxPositions).toBe(32);
  // √(1 + ln 4 / ln 32)
  expect(rotary.magnitude).toBeCloseTo(Math.sqrt(1.4), 12);
  expect(rotaryFrequencies(rotary)[1]).toBeCloseTo(10000 ** (-1 / 8) / 1.05, 12);
});

test('partial rotation of heads follows the configuration', () => {
  const { rotaries } = read('Phi3ForCausalLM', { partial_rotary_factor: 0.75 });
  expect(rotaries.rotary?.dimension).toBe(12);
});

describe('settings that a family does not read', () => {
  test.each<[string, Json]>([
    ['LlamaForCausalLM', { pretraining_tp: 2, rope_interleaved: false, use_qk_norm: null, layer_types: null }],
    ['LlamaForCausalLM', { layer_types: Array(6).fill('full_attention'), no_rope_layers: Array(6).fill(1) }],
    ['LlamaForCausalLM', { sliding_window: 64, query_pre_attn_scalar: 16, attention_multiplier: 0.25 }],
    ['LlamaForCausalLM', { sliding_window: 16, use_sliding_window: false, is_causal: true, partial_rotary_factor: 1 }],
    ['LlamaForCausalLM', { num_local_experts: 0, logits_scaling: 1, residual_multiplier: 1.0 }],
    ['Gemma3ForCausalLM', { hidden_act: 'gelu_pytorch_tanh', use_bidirectional_attention: false }],
    ['GPT2LMHeadModel', { n_embd: 64, n_head: 4, n_layer: 2, position_embedding_type: 'absolute', rope_scaling: null }],
  ])('do not matter where they change nothing: %s %j', (architecture, json) => {
    const silent = Object.keys(json).filter((key) => !(key in GPT2));
    expect(read(architecture, json)).toEqual(
      read(architecture, { ...json, ...Object.fromEntries(silent.map((key) => [key, null])) }),
    );
  });

  test.each<[string, string, unknown]>([
    ['LlamaForCausalLM', 'attention_multiplier', 0.0078125],
    ['LlamaForCausalLM', 'embedding_multiplier', 12],
    ['LlamaForCausalLM', 'residual_multiplier', 0.22],
    ['LlamaForCausalLM', 'logits_scaling', 8],
    ['LlamaForCausalLM', 'logit_scale', 0.0625],
    ['LlamaForCausalLM', 'partial_rotary_factor', 0.5],
    ['LlamaForCausalLM', 'sliding_window', 16],
    ['LlamaForCausalLM', 'sliding_window', { toString: 1, valueOf: null }],
    ['LlamaForCausalLM', 'attention_multiplier', { toString: 1, valueOf: null }],
    ['LlamaForCausalLM', 'layer_types', ['sliding_attention', ...Array(5).fill('full_attention')]],
    ['LlamaForCausalLM', 'query_pre_attn_scalar', 144],
    ['LlamaForCausalLM', 'final_logit_softcapping', 30],
    ['LlamaForCausalLM', 'clip_qkv', 8],
    ['LlamaForCausalLM', 'rope_interleaved', true],
    ['LlamaForCausalLM', 'is_causal', false],
    ['LlamaForCausalLM', 'position_embedding_type', 'alibi'],
    ['MistralForCausalLM', 'attn_logit_softcapping', 50],
    ['MistralForCausalLM', 'num_local_experts', 8],
    ['Qwen2ForCausalLM', 'use_qk_norm', true],
    ['Qwen3ForCausalLM', 'no_rope_layers', [1, 1, 1, 0, 1, 1]],
    ['Gemma3ForCausalLM', 'use_bidirectional_attention', true],
    ['Phi3ForCausalLM', 'qk_layernorm', true],
    ['SmolLM3ForCausalLM', 'attention_chunk_size', 8192],
  ])('are refused by name where they would change numbers: %s %s', (architecture, key, value) => {
    expect(() => read(architecture, { [key]: value })).toThrow(
      expect.objectContaining({
        code: 'MBOK_UNSUPPORTED',
        message: expect.stringMatching(new RegExp(`^config.json: '${key}' is .*, which is not read here although`)),
      }),
    );
  });
});

describe('refused', () => {
  const cases: [string, string, Json, string, RegExp][] = [
    [
      'an unknown architecture',
      'MambaForCausalLM',
      {},
      'MBOK_UNSUPPORTED',
      /MambaForCausalLM.*LlamaForCausalLM.*GPT2LMHeadModel/,
    ],
    [
      'a rope type',
      'LlamaForCausalLM',
      { rope_scaling: { type: 'yarn', factor: 4 } },
      'MBOK_UNSUPPORTED',
      /"yarn".*longrope/,
    ],
    [
      'another base under rope_scaling than under rope_parameters',
      'LlamaForCausalLM',
      { rope_parameters: { rope_theta: 5e5 }, rope_scaling: { rope_type: 'linear', factor: 2 } },
      'MBOK_FORMAT',
      /'rope_theta' is 500000 in 'rope_parameters', but 10000 by 'rope_scaling'/,
    ],
    [
      'two types in one',
      'LlamaForCausalLM',
      { rope_scaling: { type: 'linear', rope_type: 'default', factor: 4 } },
      'MBOK_FORMAT',
      /'rope_type' is "default", but 'type', its older name, is "linear"/,
    ],
    [
      'a factor without a type',
      'LlamaForCausalLM',
      { rope_scaling: { factor: 4 } },
      'MBOK_UNSUPPORTED',
      /rope_scaling: 'factor' is 4, which is not read here/,
    ],
    [
      'a factor of cosines that linear scaling does not have',
      'LlamaForCausalLM',
      { rope_scaling: { type: 'linear', factor: 4, attention_factor: 1.2 } },
      'MBOK_UNSUPPORTED',
      /'attention_factor' is 1.2/,
    ],
    [
      'a part of each head in a family that turns all',
      'LlamaForCausalLM',
      { rope_parameters: { partial_rotary_factor: 0.5 } },
      'MBOK_UNSUPPORTED',
      /rope_parameters: 'partial_rotary_factor' is 0.5/,
    ],
    [
      'tables by layer in a family of one',
      'Qwen3ForCausalLM',
      { rope_parameters: { full_attention: { rope_type: 'linear', factor: 2 } } },
      'MBOK_UNSUPPORTED',
      /rope_parameters: 'full_attention' is /,
    ],
    [
      'one table in a family of two',
      'Gemma3ForCausalLM',
      { rope_parameters: { rope_theta: 5e5 } },
      'MBOK_UNSUPPORTED',
      /rope_parameters: 'rope_theta' is 500000/,
    ],
    [
      'two original contexts',
      'Phi3ForCausalLM',
      {
        rope_scaling: {
          type: 'longrope',
          short_factor: short,
          long_factor: short,
          original_max_position_embeddings: 32,
        },
      },
      'MBOK_FORMAT',
      /'original_max_position_embeddings' is 32, but 4096 by config.json/,
    ],
    [
      'a layer type',
      'Qwen3ForCausalLM',
      { layer_types: Array(6).fill('chunked_attention') },
      'MBOK_UNSUPPORTED',
      /"chunked_attention"/,
    ],
    [
      'too few layer types',
      'Gemma2ForCausalLM',
      { layer_types: ['full_attention'] },
      'MBOK_FORMAT',
      /'layer_types' must name 6/,
    ],
    [
      'too few stretches',
      'Phi3ForCausalLM',
      { rope_scaling: { type: 'longrope', short_factor: [1] } },
      'MBOK_FORMAT',
      /'short_factor' must be 8/,
    ],
    [
      'a list of something else',
      'SmolLM3ForCausalLM',
      { no_rope_layers: ['a'] },
      'MBOK_FORMAT',
      /'no_rope_layers' must be a list of numbers/,
    ],
    ['an activation', 'LlamaForCausalLM', { hidden_act: 'relu2' }, 'MBOK_UNSUPPORTED', /'hidden_act' is "relu2"/],
    [
      'heads that do not group',
      'LlamaForCausalLM',
      { num_key_value_heads: 3 },
      'MBOK_FORMAT',
      /4 heads .* 3 key-value heads/,
    ],
    ['heads that are too large', 'LlamaForCausalLM', { head_dim: 512 }, 'MBOK_UNSUPPORTED', /512/],
    [
      'a window that is missing',
      'Qwen2ForCausalLM',
      { use_sliding_window: true, sliding_window: 0 },
      'MBOK_FORMAT',
      /'sliding_window'/,
    ],
    [
      'OPT without the weights of its norms',
      'OPTForCausalLM',
      { ffn_dim: 160, layer_norm_elementwise_affine: false },
      'MBOK_UNSUPPORTED',
      /norms/,
    ],
    [
      'GPT-2 with a width that heads do not divide',
      'GPT2LMHeadModel',
      { n_embd: 64, n_head: 3, n_layer: 2 },
      'MBOK_FORMAT',
      /64 .* 3 heads/,
    ],
  ];
  test.each(cases)('%s', (_, architecture, json, code, message) => {
    expect(() => read(architecture, json)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

test('a rotary table contains the cosines and sines of its angles, also at large positions', () => {
  const config = { theta: 10000, dimension: 8, positions: 5000, magnitude: 1.25 };
  const data = rotaryTable(config).toFloat32();
  const frequencies = rotaryFrequencies(config);
  for (const position of [0, 1, 63, 64, 65, 4095, 4999]) {
    const expected = [Math.cos, Math.sin].flatMap((f) =>
      [...frequencies].map((w) => Math.fround(1.25 * f(position * w))),
    );
    const row = [...data.subarray(8 * position, 8 * position + 8)];
    row.forEach((value, j) => {
      expect(Math.abs(value - (expected[j] as number))).toBeLessThan(1.3e-7);
    });
  }
});
