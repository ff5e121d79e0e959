/** Where a linear layer stands in a model, from its name. */

export interface Place {
  /** Its block's number; undefined for a layer outside of all blocks. */
  readonly block: number | undefined;
  /** Its name within the block. */
  readonly matrix: string;
}

/** 'model.layers.3.mlp.down_proj' is 'mlp.down_proj' of block 3. */
export function placeOf(module: string): Place {
  const [, block, matrix] = /\.(\d+)\.(.+)$/.exec(module) ?? [];
  return block === undefined
    ? { block: undefined, matrix: module }
    : { block: Number(block), matrix: matrix as string };
}
