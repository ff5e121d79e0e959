import type { Tensor } from '../graph/graph';
import { add } from '../graph/operations/add';
import { embedding } from '../graph/operations/embedding';
import type { Head } from '../graph/operations/head';
import { linear } from '../graph/operations/linear';
import { positionEmbedding } from '../graph/operations/position_embedding';
import { structureOf } from '../structures/registry';
import type { Table } from '../structures/structure';
import type { Builder } from './builder';

/** Rows of the embedding table of `module` for token ids i32 [rows, 1]. */
export function embeddingLayer(builder: Builder, module: string, ids: Tensor): Tensor {
  const { weights, scales } = tableOf(builder, module);
  return embedding(weights, ids, scales);
}

/** x plus the learned positions of `module`, whose table has `offset` rows before that of position 0. */
export function addPositions(builder: Builder, module: string, x: Tensor, offset = 0): Tensor {
  const positions = builder.places?.positions;
  return add(x, positionEmbedding(builder.parameter(`${module}.weight`), x.rows, offset, positions));
}

/** x between the embeddings' width and the hidden size, by a matrix that stays dense. */
export function projectionLayer(builder: Builder, module: string, x: Tensor): Tensor {
  return linear(x, builder.parameter(`${module}.weight`));
}

/** The head of finished hidden states x: the table of `module`, an untied head's or the embedding's, and a soft cap or 0. */
export function headLayer(builder: Builder, module: string, x: Tensor, cap = 0): Head {
  return { states: x, ...tableOf(builder, module), cap };
}

/** The table of `module`, whose structure one can be. */
function tableOf(builder: Builder, module: string): Table {
  const structure = structureOf(builder.formats.get(module));
  return (structure.table as NonNullable<typeof structure.table>)(builder.module(module));
}
