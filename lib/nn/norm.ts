import { rmsNorm } from '../graph/operations/rms_norm';
import type { Tensor } from '../graph/tensor';
import type { Builder } from './builder';

/** Root-mean-square normalisation with the weight of `module`. */
export function rmsNormLayer(builder: Builder, module: string, x: Tensor, epsilon: number): Tensor {
  return rmsNorm(x, builder.parameter(`${module}.weight`), epsilon);
}
