import { layerNorm } from '../graph/operations/layer_norm';
import { rmsNorm } from '../graph/operations/rms_norm';
import type { Tensor } from '../graph/tensor';
import type { Builder, RmsNorm } from './builder';

/** Root-mean-square normalisation of x. */
export function rmsNormLayer(builder: Builder, { module, epsilon, offset }: RmsNorm, x: Tensor): Tensor {
  return rmsNorm(x, builder.parameter(`${module}.weight`), epsilon, offset);
}

/** Layer normalisation with weight and bias of `module`. */
export function layerNormLayer(builder: Builder, module: string, x: Tensor, epsilon: number): Tensor {
  const { weight, bias } = builder.module(module);
  return layerNorm(x, weight as Tensor, bias, epsilon);
}
