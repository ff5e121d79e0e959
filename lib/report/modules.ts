/** Position of a linear layer in a model, from its name. */

export interface Place {
  /** Index of its block; undefined for a layer outside all blocks. */
  readonly block: number | undefined;
  /** Name within the block. */
  readonly matrix: string;
}

/** Parses a module name: 'model.layers.3.mlp.down_proj' is 'mlp.down_proj' of block 3. */
export function placeOf(module: string): Place {
  const [, block, matrix] = /\.(\d+)\.(.+)$/.exec(module) ?? [];
  return block === undefined
    ? { block: undefined, matrix: module }
    : { block: Number(block), matrix: matrix as string };
}
