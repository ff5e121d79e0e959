import type { Tensor } from '../graph/graph';
import { add } from '../graph/operations/add';
import type { RmsNorm } from '../graph/operations/rms_norm';
import type { Builder } from './builder';
import { rmsNormLayer } from './norm';

/** Adds the output of a branch to the residual stream: x + branch, or x + norm(branch). */
export function residual(builder: Builder, x: Tensor, branch: Tensor, norm?: RmsNorm): Tensor {
  const sum = add(x, norm === undefined ? branch : rmsNormLayer(norm, branch));
  builder.residuals.push({ x, branch, norm, sum });
  return sum;
}
