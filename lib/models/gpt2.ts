/** GPT-2: layer norms, learned positions, q, k and v in one matrix, weights stored as [inputs, outputs] (Conv1D). */

import { MbokError } from '../base/errors';
import type { Tensor } from '../graph/graph';
import type { ActivationKind } from '../graph/operations/activation';
import { split } from '../graph/operations/split';
import { attend } from '../nn/attention';
import { addPositions, embeddingLayer, headLayer } from '../nn/embedding';
import { linearLayer } from '../nn/linear';
import { plainMlp } from '../nn/mlp';
import { layerNormLayer } from '../nn/norm';
import { residual } from '../nn/residual';
import { readActivation } from './decoder_settings';
import type { DecoderConfig, Family, ParameterSpecification } from './family';
import { blocks, linears, vector } from './specifications';

interface Gpt2Config extends DecoderConfig {
  readonly innerSize: number;
  readonly epsilon: number;
  readonly activation: ActivationKind;
  /** Factor of the attention scores, by layer. */
  readonly scoreScales: readonly number[];
}

const PREFIX = 'transformer.';
const path = (layer: number) => `${PREFIX}h.${layer}`;

export const gpt2: Family<Gpt2Config> = {
  name: 'gpt2',
  architectures: ['GPT2LMHeadModel'],
  modelType: 'gpt2',
  prefix: PREFIX,

  config(json) {
    const hiddenSize = json.count('n_embd');
    const heads = json.count('n_head');
    const layers = json.layers('n_layer');
    const headDimension = hiddenSize / heads;
    if (!Number.isInteger(headDimension) || headDimension % 2 !== 0) {
      throw new MbokError(
        'MBOK_FORMAT',
        `${json.place}: ${hiddenSize} does not divide into ${heads} heads of even size`,
      );
    }
    const scale = json.boolean('scale_attn_weights', true) ? 1 / Math.sqrt(headDimension) : 1;
    const byLayer = json.boolean('scale_attn_by_inverse_layer_idx', false);
    return {
      vocabularySize: json.count('vocab_size'),
      hiddenSize,
      innerSize: json.count('n_inner', 4 * hiddenSize),
      layers,
      maxPositions: json.count('n_positions', 1024),
      headDimension,
      keyValueHeads: heads,
      epsilon: json.number('layer_norm_epsilon', 1e-5),
      activation: readActivation(json, 'activation_function', 'gelu_new'),
      tied: json.boolean('tie_word_embeddings', true),
      scoreScales: Array.from({ length: layers }, (_, layer) => (byLayer ? scale / (layer + 1) : scale)),
    };
  },

  parameters(c) {
    const { hiddenSize, innerSize } = c;
    const table = { rows: c.vocabularySize, cols: hiddenSize };
    const norm = (name: string) => [
      vector(`${name}.weight`, hiddenSize, 'norm'),
      vector(`${name}.bias`, hiddenSize, 'bias'),
    ];
    const block = (layer: number): ParameterSpecification[] => [
      ...norm(`${path(layer)}.ln_1`),
      ...linears(
        `${path(layer)}.attn.`,
        { c_attn: [3 * hiddenSize, hiddenSize], c_proj: [hiddenSize, hiddenSize] },
        { bias: true, transposed: true },
      ),
      ...norm(`${path(layer)}.ln_2`),
      ...linears(
        `${path(layer)}.mlp.`,
        { c_fc: [innerSize, hiddenSize], c_proj: [hiddenSize, innerSize] },
        { bias: true, transposed: true },
      ),
    ];
    return [
      { name: `${PREFIX}wte.weight`, ...table, role: 'embedding' },
      { name: `${PREFIX}wpe.weight`, rows: c.maxPositions, cols: hiddenSize, role: 'position' },
      ...blocks(c.layers, block),
      ...norm(`${PREFIX}ln_f`),
      ...(c.tied ? [] : [{ name: 'lm_head.weight', ...table, role: 'head' as const }]),
    ];
  },

  constants: () => ({}),

  attentionModules: ({ layers }) => Array.from({ length: layers }, (_, layer) => `${path(layer)}.attn`),

  embed: (builder, ids) => addPositions(builder, `${PREFIX}wpe`, embeddingLayer(builder, `${PREFIX}wte`, ids)),

  block(builder, layer, x, c) {
    const module = `${path(layer)}.attn`;
    const { hiddenSize, headDimension } = c;
    const normed = layerNormLayer(builder, `${path(layer)}.ln_1`, x, c.epsilon);
    const all = linearLayer(builder, `${module}.c_attn`, normed);
    const heads = split(all, [hiddenSize, hiddenSize, hiddenSize]) as [Tensor, Tensor, Tensor];
    const attended = attend(builder, module, heads, { headDimension, scale: c.scoreScales[layer] as number });
    const middle = residual(builder, x, linearLayer(builder, `${module}.c_proj`, attended));
    const inner = layerNormLayer(builder, `${path(layer)}.ln_2`, middle, c.epsilon);
    const mlp = [`${path(layer)}.mlp.c_fc`, `${path(layer)}.mlp.c_proj`] as const;
    return residual(builder, middle, plainMlp(builder, mlp, inner, c.activation));
  },

  finish: (builder, x, c) => layerNormLayer(builder, `${PREFIX}ln_f`, x, c.epsilon),

  head: (builder, x, { tied }) => headLayer(builder, tied ? `${PREFIX}wte` : 'lm_head', x),
};
