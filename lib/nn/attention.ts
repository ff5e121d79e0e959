import { MbokError } from '../base/errors';
import type { Tensor } from '../graph/graph';
import { type AttentionOptions, attention, cachedAttention } from '../graph/operations/attention';
import { rope } from '../graph/operations/rope';
import type { Matrix } from '../native/matrix';
import type { Builder } from './builder';
import { linearLayer } from './linear';

/** Queries, keys and values: [rows, heads · headDimension], the latter two perhaps of fewer heads. */
export type Heads = readonly [q: Tensor, k: Tensor, v: Tensor];

/** The products of x with the matrices q_proj, k_proj and v_proj of `module`. */
export function projectHeads(builder: Builder, module: string, x: Tensor): Heads {
  return [
    linearLayer(builder, `${module}.q_proj`, x),
    linearLayer(builder, `${module}.k_proj`, x),
    linearLayer(builder, `${module}.v_proj`, x),
  ];
}

/** Rotary positions of every head of x, by a table of ./rotary. */
export function rotate(builder: Builder, x: Tensor, table: Matrix, headDimension: number): Tensor {
  return rope(x, builder.graph.bind(table), headDimension, builder.places?.positions);
}

/** Causal attention of the layer `module`, over the run's own sequences or over what its key-value cache holds. */
export function attend(builder: Builder, module: string, [q, k, v]: Heads, options: AttentionOptions): Tensor {
  builder.carried.push(q, k, v);
  if (builder.cache === undefined) return attention(q, k, v, options);
  const entry = builder.cache.get(module);
  if (entry === undefined) throw new MbokError('MBOK_INTERNAL', `the key-value cache lacks '${module}'`);
  const cache = [builder.graph.bind(entry.keys, 'state'), builder.graph.bind(entry.values, 'state')] as const;
  return cachedAttention([q, k, v], cache, options, builder.places);
}
