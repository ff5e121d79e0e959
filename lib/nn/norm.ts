import { layerNorm } from '../graph/operations/layer_norm';
import { rmsNorm } from '../graph/operations/rms_norm';
import type { Tensor } from '../graph/tensor';
import type { Builder } from './builder';

/**
 * Root-mean-square normalisation with the weight of `module`, of whole rows or of groups as wide as the weight. `offset`
 * is added to the weight.
 */
export function rmsNormLayer(builder: Builder, module: string, x: Tensor, epsilon: number, offset = 0): Tensor {
  return rmsNorm(x, builder.parameter(`${module}.weight`), epsilon, offset);
}

/** Layer normalisation with weight and bias of `module`. */
export function layerNormLayer(builder: Builder, module: string, x: Tensor, epsilon: number): Tensor {
  return layerNorm(x, builder.parameter(`${module}.weight`), builder.optional(`${module}.bias`), epsilon);
}
