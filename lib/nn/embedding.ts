import { embedding } from '../graph/operations/embedding';
import type { Tensor } from '../graph/tensor';
import type { Builder } from './builder';

/** Rows of the embedding table of `module` for token ids i32 [rows, 1]. */
export function embeddingLayer(builder: Builder, module: string, ids: Tensor): Tensor {
  return embedding(builder.parameter(`${module}.weight`), ids);
}
