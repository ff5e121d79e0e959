/** As many kernels everywhere as fit, and one more in layers that are spread evenly over the model. */

import { MAX_KERNELS } from '../../structures/kernels';
import { type AllocatableLayer, bytesOnce } from './layers';

/**
 * @param budget - bytes; at least one kernel everywhere
 * @returns kernels of every layer, which differ by one at most
 */
export function allocateUniformly(layers: readonly AllocatableLayer[], budget: number): number[] {
  const once = bytesOnce(layers);
  const everywhere = Math.min(MAX_KERNELS, Math.floor(budget / once));
  const rest = budget - everywhere * once;
  let [passed, spent] = [0, 0];
  // a layer takes a kernel when the bytes given so far fall behind the share of the model that has gone by
  return layers.map(({ kernelBytes }) => {
    passed += kernelBytes;
    if (everywhere === MAX_KERNELS || spent + kernelBytes > rest * (passed / once)) return everywhere;
    spent += kernelBytes;
    return everywhere + 1;
  });
}
