import { MbokError } from '../base/errors';
import type { Tensor } from '../graph/graph';
import { type AttentionOptions, attention, cachedAttention } from '../graph/operations/attention';
import { rope } from '../graph/operations/rope';
import type { Matrix } from '../native/matrix';
import type { Builder } from './builder';
import { linearLayer } from './linear';

/** Queries, keys and values, each [rows, heads · headDimension]. Keys and values may have fewer heads. */
export type Heads = readonly [q: Tensor, k: Tensor, v: Tensor];

/** Applies the layers q_proj, k_proj and v_proj of `module` to x. */
export function projectHeads(builder: Builder, module: string, x: Tensor): Heads {
  return [
    linearLayer(builder, `${module}.q_proj`, x),
    linearLayer(builder, `${module}.k_proj`, x),
    linearLayer(builder, `${module}.v_proj`, x),
  ];
}

/** Applies rotary position embedding to every head of x, with a table from ./rotary. */
export function rotate(builder: Builder, x: Tensor, table: Matrix, headDimension: number): Tensor {
  return rope(x, builder.graph.bind(table), { headDimension, positions: builder.places?.positions });
}

/**
 * Applies causal attention in the layer `module`, over the sequences of the run or over the key-value cache. Throws
 * MBOK_INTERNAL if the cache lacks the module.
 */
export function attend(builder: Builder, module: string, [q, k, v]: Heads, options: AttentionOptions): Tensor {
  builder.carried.push(q, k, v);
  if (builder.cache === undefined) return attention(q, k, v, options);
  const entry = builder.cache.get(module);
  if (entry === undefined) throw new MbokError('MBOK_INTERNAL', `the key-value cache lacks '${module}'`);
  const cache = [builder.graph.bind(entry.keys, 'state'), builder.graph.bind(entry.values, 'state')] as const;
  return cachedAttention([q, k, v], cache, options, builder.places);
}
