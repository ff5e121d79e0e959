/** LLaMA 1, 2 and 3.x, and the many models that publish their weights under its architecture. */

import { MbokError } from '../errors';
import type { ActivationKind } from '../graph/operations/activation';
import { add } from '../graph/operations/add';
import { linear } from '../graph/operations/linear';
import { attentionLayer } from '../nn/attention';
import { embeddingLayer } from '../nn/embedding';
import { gatedMlp } from '../nn/mlp';
import { rmsNormLayer } from '../nn/norm';
import type { RotaryConfig } from '../nn/rotary';
import type { ConfigReader } from './config_reader';
import type { DecoderConfig, Family, ParameterSpecification } from './family';

interface LlamaConfig extends DecoderConfig {
  readonly intermediateSize: number;
  readonly heads: number;
  readonly epsilon: number;
  readonly activation: ActivationKind;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
}

const ACTIVATIONS: Readonly<Record<string, ActivationKind>> = {
  silu: 'silu',
  gelu: 'gelu',
  gelu_pytorch_tanh: 'geluTanh',
  relu: 'relu',
};

function readActivation(json: ConfigReader): ActivationKind {
  const name = json.string('hidden_act', 'silu');
  const kind = ACTIVATIONS[name];
  if (kind === undefined) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: 'hidden_act' is '${name}'; supported: ${Object.keys(ACTIVATIONS).join(', ')}`,
    );
  }
  return kind;
}

/** Recent configurations write `rope_parameters`, older ones `rope_theta` and `rope_scaling`. */
function readRotary(json: ConfigReader, headDimension: number, positions: number): RotaryConfig {
  const settings = json.object('rope_parameters') ?? json.object('rope_scaling');
  const theta = settings?.has('rope_theta') ? settings.number('rope_theta') : json.number('rope_theta', 10000);
  const plain = { theta, headDimension, positions };
  const type = settings?.string('rope_type', settings.has('type') ? settings.string('type') : 'default') ?? 'default';
  if (settings === undefined || type === 'default') return plain;
  if (type !== 'llama3') {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${settings.place}: rope type '${type}' is not supported; default and llama3 are`,
    );
  }
  return {
    ...plain,
    llama3: {
      factor: settings.number('factor'),
      lowFrequencyFactor: settings.number('low_freq_factor'),
      highFrequencyFactor: settings.number('high_freq_factor'),
      originalPositions: settings.count('original_max_position_embeddings'),
    },
  };
}

const layerPath = (layer: number) => `model.layers.${layer}`;

export const llama: Family<LlamaConfig> = {
  name: 'llama',
  architectures: ['LlamaForCausalLM'],

  config(json) {
    const hiddenSize = json.count('hidden_size');
    const heads = json.count('num_attention_heads');
    const keyValueHeads = json.count('num_key_value_heads', heads);
    const headDimension = json.count('head_dim', Math.floor(hiddenSize / heads));
    const maxPositions = json.count('max_position_embeddings', 2048);
    if (heads % keyValueHeads !== 0 || headDimension % 2 !== 0) {
      throw new MbokError(
        'MBOK_FORMAT',
        `${json.place}: ${heads} heads of dimension ${headDimension} do not group over ${keyValueHeads} key-value heads`,
      );
    }
    return {
      vocabularySize: json.count('vocab_size'),
      hiddenSize,
      intermediateSize: json.count('intermediate_size'),
      layers: json.count('num_hidden_layers'),
      heads,
      keyValueHeads,
      headDimension,
      maxPositions,
      epsilon: json.number('rms_norm_eps', 1e-6),
      activation: readActivation(json),
      attentionBias: json.boolean('attention_bias', false),
      mlpBias: json.boolean('mlp_bias', false),
      tied: json.boolean('tie_word_embeddings', false),
      rotary: readRotary(json, headDimension, maxPositions),
    };
  },

  parameters(c) {
    const q = c.heads * c.headDimension;
    const kv = c.keyValueHeads * c.headDimension;
    const linears = (path: string, bias: boolean, shapes: readonly [string, number, number][]) =>
      shapes.flatMap(([name, rows, cols]): ParameterSpecification[] => [
        { name: `${path}.${name}.weight`, rows, cols, role: 'linear' },
        ...(bias ? [{ name: `${path}.${name}.bias`, rows: 1, cols: rows, role: 'bias' as const }] : []),
      ]);
    const norm = (name: string): ParameterSpecification => ({ name, rows: 1, cols: c.hiddenSize, role: 'norm' });
    const blocks = Array.from({ length: c.layers }, (_, layer) => [
      norm(`${layerPath(layer)}.input_layernorm.weight`),
      ...linears(`${layerPath(layer)}.self_attn`, c.attentionBias, [
        ['q_proj', q, c.hiddenSize],
        ['k_proj', kv, c.hiddenSize],
        ['v_proj', kv, c.hiddenSize],
        ['o_proj', c.hiddenSize, q],
      ]),
      norm(`${layerPath(layer)}.post_attention_layernorm.weight`),
      ...linears(`${layerPath(layer)}.mlp`, c.mlpBias, [
        ['gate_proj', c.intermediateSize, c.hiddenSize],
        ['up_proj', c.intermediateSize, c.hiddenSize],
        ['down_proj', c.hiddenSize, c.intermediateSize],
      ]),
    ]);
    const table = { rows: c.vocabularySize, cols: c.hiddenSize };
    return [
      { name: 'model.embed_tokens.weight', ...table, role: 'embedding' },
      ...blocks.flat(),
      norm('model.norm.weight'),
      ...(c.tied ? [] : [{ name: 'lm_head.weight', ...table, role: 'head' as const }]),
    ];
  },

  attentionModules: (c) => Array.from({ length: c.layers }, (_, layer) => `${layerPath(layer)}.self_attn`),

  embed: (builder, ids) => embeddingLayer(builder, 'model.embed_tokens', ids),

  block(builder, layer, x, c, { rotary }) {
    const path = layerPath(layer);
    const normed = rmsNormLayer(builder, `${path}.input_layernorm`, x, c.epsilon);
    const attended = attentionLayer(builder, `${path}.self_attn`, normed, { headDimension: c.headDimension, rotary });
    const middle = add(x, attended);
    const inner = rmsNormLayer(builder, `${path}.post_attention_layernorm`, middle, c.epsilon);
    return add(middle, gatedMlp(builder, `${path}.mlp`, inner, c.activation));
  },

  finish: (builder, x, c) => rmsNormLayer(builder, 'model.norm', x, c.epsilon),

  head: (builder, x, c) => linear(x, builder.parameter(c.tied ? 'model.embed_tokens.weight' : 'lm_head.weight')),
};
