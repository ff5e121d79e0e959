/** What families read from the configurations that published checkpoints have, old and new. */

import { ConfigReader } from '../lib/models/config_reader';
import type { GatedDecoderConfig } from '../lib/models/gated_decoder';
import { findFamily } from '../lib/models/registry';
import { rotaryFrequencies, rotaryTable } from '../lib/nn/rotary';

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

function read(architecture: string, json: Json): GatedDecoderConfig {
  const reader = new ConfigReader({ architectures: [architecture], ...SIZES, ...json }, 'config.json');
  return findFamily(reader).config(reader) as GatedDecoderConfig;
}

const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
const short = [1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35];

describe('older and newer words for the same', () => {
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

test('what a family takes for granted', () => {
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

test('LongRoPE takes the short stretches, up to the original context', () => {
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

test('a part of each head is turned where the configuration says so', () => {
  const { rotaries } = read('Phi3ForCausalLM', { partial_rotary_factor: 0.75 });
  expect(rotaries.rotary?.dimension).toBe(12);
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

test('a rotary table holds the cosines and sines of its angles, also far out', () => {
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
