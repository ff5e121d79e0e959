import type { Tensor } from '../graph/graph';
import { layerNorm } from '../graph/operations/layer_norm';
import { type RmsNorm, rmsNorm } from '../graph/operations/rms_norm';
import type { Builder } from './builder';

/** Returns the RMS norm of `module`; `offset` is added to its weight. */
export function rmsNormOf(builder: Builder, module: string, epsilon: number, offset: number): RmsNorm {
  return { weight: builder.parameter(`${module}.weight`), epsilon, offset };
}

/** Applies an RMS norm to the rows of x, or to groups as wide as the weight. */
export function rmsNormLayer({ weight, epsilon, offset }: RmsNorm, x: Tensor): Tensor {
  return rmsNorm(x, weight, { epsilon, offset });
}

/** Applies layer normalization with the weight and bias of `module`. */
export function layerNormLayer(builder: Builder, module: string, x: Tensor, epsilon: number): Tensor {
  const { weight, bias } = builder.module(module);
  return layerNorm(x, weight as Tensor, bias, { epsilon });
}
