import { MbokError } from '../errors';
import { attention, cachedAttention } from '../graph/operations/attention';
import { rope } from '../graph/operations/rope';
import type { Tensor } from '../graph/tensor';
import type { Matrix } from '../native/matrix';
import type { Builder } from './builder';
import { linearLayer } from './linear';

export interface AttentionConfig {
  readonly headDimension: number;
  /** Rotary table [positions, headDimension]; see ./rotary. */
  readonly rotary: Matrix;
}

/** Self-attention with rotary positions and grouped heads: projections q, k, v and o of `module` around the product. */
export function attentionLayer(builder: Builder, module: string, x: Tensor, config: AttentionConfig): Tensor {
  const { headDimension } = config;
  const table = builder.graph.bind(config.rotary);
  const q = rope(linearLayer(builder, `${module}.q_proj`, x), table, headDimension);
  const k = rope(linearLayer(builder, `${module}.k_proj`, x), table, headDimension);
  const v = linearLayer(builder, `${module}.v_proj`, x);
  return linearLayer(builder, `${module}.o_proj`, attend(builder, module, [q, k, v], headDimension));
}

function attend(
  builder: Builder,
  module: string,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  headDimension: number,
): Tensor {
  if (builder.cache === undefined) return attention(q, k, v, { headDimension });
  const entry = builder.cache.get(module);
  if (entry === undefined) throw new MbokError('MBOK_INTERNAL', `the key-value cache lacks '${module}'`);
  const cache = [builder.graph.bind(entry.keys, 'state'), builder.graph.bind(entry.values, 'state')] as const;
  return cachedAttention([q, k, v], cache, { headDimension });
}
