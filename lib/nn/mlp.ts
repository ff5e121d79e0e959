import { type ActivationKind, gatedActivation } from '../graph/operations/activation';
import type { Tensor } from '../graph/tensor';
import type { Builder } from './builder';
import { linearLayer } from './linear';

/** down(f(gate(x)) ⊙ up(x)). */
export function gatedMlp(builder: Builder, module: string, x: Tensor, kind: ActivationKind): Tensor {
  const gate = linearLayer(builder, `${module}.gate_proj`, x);
  const up = linearLayer(builder, `${module}.up_proj`, x);
  return linearLayer(builder, `${module}.down_proj`, gatedActivation(gate, up, kind));
}
