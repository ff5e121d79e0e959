/**
 * OPT (arXiv 2205.01068). Layer norms precede attention and MLP, but follow them in the 350M model. Positions are
 * learned. Embeddings may be narrower than the blocks.
 */

import { MbokError } from '../base/errors';
import type { Tensor } from '../graph/graph';
import type { ActivationKind } from '../graph/operations/activation';
import { attend, projectHeads } from '../nn/attention';
import { addPositions, embeddingLayer, headLayer, projectionLayer } from '../nn/embedding';
import { linearLayer } from '../nn/linear';
import { plainMlp } from '../nn/mlp';
import { layerNormLayer } from '../nn/norm';
import { residual } from '../nn/residual';
import { readActivation } from './decoder_settings';
import type { DecoderConfig, Family, ParameterSpecification } from './family';
import { blocks, linears, vector } from './specifications';

interface OptConfig extends DecoderConfig {
  readonly innerSize: number;
  /** Embedding size; if it is not the hidden size, projections lie between. */
  readonly embeddingSize: number;
  readonly activation: ActivationKind;
  readonly biases: boolean;
  /** Whether norms precede attention and MLP, instead of following the sum. */
  readonly normBefore: boolean;
  readonly finalNorm: boolean;
}

const ROOT = 'model.decoder';
const path = (layer: number) => `${ROOT}.layers.${layer}`;
/** Row of position 0 in the position table. */
const POSITION_OFFSET = 2;
/** Epsilon of the layer norms; OPT's configurations do not contain it. */
const EPSILON = 1e-5;

export const opt: Family<OptConfig> = {
  name: 'opt',
  architectures: ['OPTForCausalLM'],
  modelType: 'opt',
  prefix: 'model.',

  config(json) {
    const hiddenSize = json.count('hidden_size');
    const heads = json.count('num_attention_heads');
    const headDimension = hiddenSize / heads;
    if (!Number.isInteger(headDimension) || headDimension % 2 !== 0) {
      throw new MbokError(
        'MBOK_FORMAT',
        `${json.place}: ${hiddenSize} does not divide into ${heads} heads of even size`,
      );
    }
    if (!json.boolean('layer_norm_elementwise_affine', true)) {
      throw new MbokError('MBOK_UNSUPPORTED', `${json.place}: layer norms without weights are not supported`);
    }
    const normBefore = json.boolean('do_layer_norm_before', true);
    return {
      vocabularySize: json.count('vocab_size'),
      hiddenSize,
      innerSize: json.count('ffn_dim'),
      embeddingSize: json.count('word_embed_proj_dim', hiddenSize),
      layers: json.layers('num_hidden_layers'),
      maxPositions: json.count('max_position_embeddings', 2048),
      headDimension,
      keyValueHeads: heads,
      activation: readActivation(json, 'activation_function', 'relu'),
      biases: json.boolean('enable_bias', true),
      normBefore,
      finalNorm: normBefore && !json.boolean('_remove_final_layer_norm', false),
      tied: json.boolean('tie_word_embeddings', true),
    };
  },

  parameters(c) {
    const { hiddenSize, embeddingSize, innerSize } = c;
    const table = { rows: c.vocabularySize, cols: embeddingSize };
    const square = [hiddenSize, hiddenSize] as const;
    const norm = (name: string) => [
      vector(`${name}.weight`, hiddenSize, 'norm'),
      vector(`${name}.bias`, hiddenSize, 'bias'),
    ];
    const projection = (name: string, rows: number, cols: number): ParameterSpecification[] =>
      embeddingSize === hiddenSize ? [] : [{ name: `${ROOT}.${name}.weight`, rows, cols, role: 'projection' }];
    const block = (layer: number) => [
      ...linears(
        `${path(layer)}.self_attn.`,
        { q_proj: square, k_proj: square, v_proj: square, out_proj: square },
        { bias: c.biases },
      ),
      ...norm(`${path(layer)}.self_attn_layer_norm`),
      ...linears(`${path(layer)}.`, { fc1: [innerSize, hiddenSize], fc2: [hiddenSize, innerSize] }, { bias: c.biases }),
      ...norm(`${path(layer)}.final_layer_norm`),
    ];
    return [
      { name: `${ROOT}.embed_tokens.weight`, ...table, role: 'embedding' },
      {
        name: `${ROOT}.embed_positions.weight`,
        rows: c.maxPositions + POSITION_OFFSET,
        cols: hiddenSize,
        role: 'position',
      },
      ...projection('project_in', hiddenSize, embeddingSize),
      ...blocks(c.layers, block),
      ...(c.finalNorm ? norm(`${ROOT}.final_layer_norm`) : []),
      ...projection('project_out', embeddingSize, hiddenSize),
      ...(c.tied ? [] : [{ name: 'lm_head.weight', ...table, role: 'head' as const }]),
    ];
  },

  constants: () => ({}),

  attentionModules: ({ layers }) => Array.from({ length: layers }, (_, layer) => `${path(layer)}.self_attn`),

  embed(builder, ids, { embeddingSize, hiddenSize }) {
    const narrow = embeddingLayer(builder, `${ROOT}.embed_tokens`, ids);
    const x = embeddingSize === hiddenSize ? narrow : projectionLayer(builder, `${ROOT}.project_in`, narrow);
    return addPositions(builder, `${ROOT}.embed_positions`, x, POSITION_OFFSET);
  },

  block(builder, layer, x, { headDimension, activation, normBefore }) {
    /** Adds half of a block: x + inner(x), normalized before or after. */
    const subBlock = (t: Tensor, name: string, inner: (t: Tensor) => Tensor) => {
      const norm = (value: Tensor) => layerNormLayer(builder, `${path(layer)}.${name}`, value, EPSILON);
      return normBefore ? residual(builder, t, inner(norm(t))) : norm(residual(builder, t, inner(t)));
    };
    const module = `${path(layer)}.self_attn`;
    const attended = subBlock(x, 'self_attn_layer_norm', (t) =>
      linearLayer(
        builder,
        `${module}.out_proj`,
        attend(builder, module, projectHeads(builder, module, t), { headDimension }),
      ),
    );
    const mlp = [`${path(layer)}.fc1`, `${path(layer)}.fc2`] as const;
    return subBlock(attended, 'final_layer_norm', (t) => plainMlp(builder, mlp, t, activation));
  },

  finish(builder, x, { finalNorm, embeddingSize, hiddenSize }) {
    const normed = finalNorm ? layerNormLayer(builder, `${ROOT}.final_layer_norm`, x, EPSILON) : x;
    return embeddingSize === hiddenSize ? normed : projectionLayer(builder, `${ROOT}.project_out`, normed);
  },

  head: (builder, x, { tied }) => headLayer(builder, tied ? `${ROOT}.embed_tokens` : 'lm_head', x),
};
