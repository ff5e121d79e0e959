/** Decoders with RMS norms, rotary attention and gated MLPs: LLaMA and its descendants. Families set the flags. */

import { MbokError } from '../base/errors';
import type { Tensor } from '../graph/graph';
import type { ActivationKind } from '../graph/operations/activation';
import type { RmsNorm } from '../graph/operations/rms_norm';
import { split } from '../graph/operations/split';
import { scale } from '../graph/operations/weighted_sum';
import { attend, type Heads, projectHeads, rotate } from '../nn/attention';
import type { Builder } from '../nn/builder';
import { embeddingLayer, headLayer } from '../nn/embedding';
import { linearLayer } from '../nn/linear';
import { fusedGatedMlp, gatedMlp } from '../nn/mlp';
import { rmsNormLayer, rmsNormOf } from '../nn/norm';
import { residual } from '../nn/residual';
import { type RotaryConfig, rotaryTable } from '../nn/rotary';
import type { Constants, DecoderConfig, Family } from './family';
import { blocks, linears, vector } from './specifications';

/** Settings that differ between the layers of a model. */
export interface LayerKind {
  /** Number of latest tokens that attention sees; 0: all. */
  readonly window: number;
  /** Name of the rotary table; undefined: no positions (NoPE). */
  readonly rotary: string | undefined;
}

export interface GatedDecoderConfig extends DecoderConfig {
  readonly intermediateSize: number;
  readonly heads: number;
  readonly epsilon: number;
  readonly activation: ActivationKind;
  /** Whether these linear layers have biases. */
  readonly biases: { readonly queryKeyValue: boolean; readonly output: boolean; readonly mlp: boolean };
  /** Whether q, k and v are one matrix, and gate and up are another. */
  readonly fused: boolean;
  /** Whether the query and key of every head are normalized before rotation. */
  readonly headNorm: boolean;
  /** Whether the outputs of attention and MLP are normalized too, not only their inputs. */
  readonly outerNorm: boolean;
  /** Number added to the weights of norms: 1 if checkpoints store them around 0. */
  readonly normOffset: number;
  /** Factor of the embeddings. */
  readonly embeddingScale: number;
  /** Factor of the attention scores. */
  readonly scoreScale: number;
  /** Soft caps of attention scores and logits; 0: none. */
  readonly scoreCap: number;
  readonly logitCap: number;
  readonly rotaries: Readonly<Record<string, RotaryConfig>>;
  readonly layerKinds: readonly LayerKind[];
}

const path = (layer: number) => `model.layers.${layer}`;
const attentionPath = (layer: number) => `${path(layer)}.self_attn`;

/** Defines a family of such decoders; families differ only in their configuration. */
export function gatedDecoder(
  family: Pick<Family<GatedDecoderConfig>, 'name' | 'architectures' | 'modelType' | 'config'>,
): Family<GatedDecoderConfig> {
  return {
    ...family,
    prefix: 'model.',
    config: (json) => checked(family.config(json), json.place),
    parameters,
    constants: ({ rotaries }, positions): Constants =>
      Object.fromEntries(
        Object.entries(rotaries).map(([name, rotary]) => [name, rotaryTable({ ...rotary, positions })]),
      ),
    attentionModules: ({ layers }) => Array.from({ length: layers }, (_, layer) => attentionPath(layer)),

    embed(builder, ids, { embeddingScale }) {
      const x = embeddingLayer(builder, 'model.embed_tokens', ids);
      return embeddingScale === 1 ? x : scale(x, embeddingScale);
    },

    block(builder, layer, x, c, constants) {
      const norm = (name: string) => normOf(builder, `${path(layer)}.${name}`, c);
      const normed = (name: string, t: Tensor) => rmsNormLayer(norm(name), t);
      const mlp = (t: Tensor) => (c.fused ? fusedGatedMlp : gatedMlp)(builder, `${path(layer)}.mlp`, t, c.activation);
      const attended = selfAttention(builder, layer, normed('input_layernorm', x), c, constants);
      if (!c.outerNorm) {
        const middle = residual(builder, x, attended);
        return residual(builder, middle, mlp(normed('post_attention_layernorm', middle)));
      }
      const middle = residual(builder, x, attended, norm('post_attention_layernorm'));
      const added = mlp(normed('pre_feedforward_layernorm', middle));
      return residual(builder, middle, added, norm('post_feedforward_layernorm'));
    },

    finish: (builder, x, c) => rmsNormLayer(normOf(builder, 'model.norm', c), x),

    head: (builder, x, { tied, logitCap }) => headLayer(builder, tied ? 'model.embed_tokens' : 'lm_head', x, logitCap),
  };
}

function normOf(builder: Builder, module: string, { epsilon, normOffset }: GatedDecoderConfig): RmsNorm {
  return rmsNormOf(builder, module, epsilon, normOffset);
}

function selfAttention(builder: Builder, layer: number, x: Tensor, c: GatedDecoderConfig, tables: Constants): Tensor {
  const module = attentionPath(layer);
  const { headDimension } = c;
  const { window, rotary } = c.layerKinds[layer] as LayerKind;
  const table = rotary === undefined ? undefined : tables[rotary];
  const [q, k, v] = c.fused ? fusedHeads(builder, module, x, c) : projectHeads(builder, module, x);
  const normAndRotate = (t: Tensor, name: string) => {
    const normed = c.headNorm ? rmsNormLayer(normOf(builder, `${module}.${name}`, c), t) : t;
    return table === undefined ? normed : rotate(builder, normed, table, headDimension);
  };
  const heads = [normAndRotate(q, 'q_norm'), normAndRotate(k, 'k_norm'), v] as const;
  const options = { headDimension, window, scale: c.scoreScale, softcap: c.scoreCap };
  return linearLayer(builder, `${module}.o_proj`, attend(builder, module, heads, options));
}

function fusedHeads(builder: Builder, module: string, x: Tensor, c: GatedDecoderConfig): Heads {
  const keys = c.keyValueHeads * c.headDimension;
  const all = linearLayer(builder, `${module}.qkv_proj`, x);
  return split(all, [c.heads * c.headDimension, keys, keys]) as [Tensor, Tensor, Tensor];
}

function parameters(c: GatedDecoderConfig) {
  const { hiddenSize, intermediateSize, headDimension, biases } = c;
  const q = c.heads * headDimension;
  const kv = c.keyValueHeads * headDimension;
  const block = (layer: number) => [
    vector(`${path(layer)}.input_layernorm.weight`, hiddenSize, 'norm'),
    ...linears(
      `${attentionPath(layer)}.`,
      c.fused
        ? { qkv_proj: [q + 2 * kv, hiddenSize] }
        : { q_proj: [q, hiddenSize], k_proj: [kv, hiddenSize], v_proj: [kv, hiddenSize] },
      { bias: biases.queryKeyValue },
    ),
    ...linears(`${attentionPath(layer)}.`, { o_proj: [hiddenSize, q] }, { bias: biases.output }),
    ...['q_norm', 'k_norm']
      .filter(() => c.headNorm)
      .map((name) => vector(`${attentionPath(layer)}.${name}.weight`, headDimension, 'norm')),
    vector(`${path(layer)}.post_attention_layernorm.weight`, hiddenSize, 'norm'),
    ...['pre_feedforward_layernorm', 'post_feedforward_layernorm']
      .filter(() => c.outerNorm)
      .map((name) => vector(`${path(layer)}.${name}.weight`, hiddenSize, 'norm')),
    ...linears(
      `${path(layer)}.mlp.`,
      c.fused
        ? { gate_up_proj: [2 * intermediateSize, hiddenSize] }
        : { gate_proj: [intermediateSize, hiddenSize], up_proj: [intermediateSize, hiddenSize] },
      { bias: biases.mlp },
    ),
    ...linears(`${path(layer)}.mlp.`, { down_proj: [hiddenSize, intermediateSize] }, { bias: biases.mlp }),
  ];
  const table = { rows: c.vocabularySize, cols: hiddenSize };
  return [
    { name: 'model.embed_tokens.weight', ...table, role: 'embedding' as const },
    ...blocks(c.layers, block),
    vector('model.norm.weight', hiddenSize, 'norm'),
    ...(c.tied ? [] : [{ name: 'lm_head.weight', ...table, role: 'head' as const }]),
  ];
}

function checked(c: GatedDecoderConfig, place: string): GatedDecoderConfig {
  if (c.heads % c.keyValueHeads !== 0 || c.headDimension % 2 !== 0) {
    throw new MbokError(
      'MBOK_FORMAT',
      `${place}: ${c.heads} heads of dimension ${c.headDimension} do not group over ${c.keyValueHeads} key-value heads`,
    );
  }
  return c;
}
