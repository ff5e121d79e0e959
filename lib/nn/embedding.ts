import type { Tensor } from '../graph/graph';
import { add } from '../graph/operations/add';
import { tableRows } from '../graph/operations/embedding';
import type { Head } from '../graph/operations/head';
import { linear } from '../graph/operations/linear';
import { positionEmbedding } from '../graph/operations/position_embedding';
import type { Table } from '../graph/operations/table';
import { structureOf } from '../structures/registry';
import type { Builder } from './builder';

/** Looks up token ids i32 [rows, 1] in the embedding table of `module`. */
export function embeddingLayer(builder: Builder, module: string, ids: Tensor): Tensor {
  return tableRows(tableOf(builder, module), ids);
}

/** Adds the learned position embeddings of `module` to x. Position 0 is row `offset` of its table. */
export function addPositions(builder: Builder, module: string, x: Tensor, offset = 0): Tensor {
  const positions = builder.places?.positions;
  return add(x, positionEmbedding(builder.parameter(`${module}.weight`), x.rows, offset, positions));
}

/** Projects x between the embedding size and the hidden size, with a matrix that is always dense. */
export function projectionLayer(builder: Builder, module: string, x: Tensor): Tensor {
  return linear(x, builder.parameter(`${module}.weight`));
}

/**
 * Returns the head for final hidden states x. Its table is that of `module`: an untied head or the embedding. `cap` is
 * the soft cap of the logits; 0 disables it.
 */
export function headLayer(builder: Builder, module: string, x: Tensor, cap = 0): Head {
  return { states: x, table: tableOf(builder, module), cap };
}

/** Returns the table of `module`, whose structure must support tables. */
export function tableOf(builder: Builder, module: string): Table {
  const structure = structureOf(builder.formats.get(module));
  return (structure.table as NonNullable<typeof structure.table>)(builder.module(module));
}
