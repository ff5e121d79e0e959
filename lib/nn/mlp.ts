import type { Tensor } from '../graph/graph';
import { type ActivationKind, activation, gatedActivation } from '../graph/operations/activation';
import { split } from '../graph/operations/split';
import type { Builder } from './builder';
import { linearLayer } from './linear';

/** down(f(gate(x)) ⊙ up(x)). */
export function gatedMlp(builder: Builder, module: string, x: Tensor, kind: ActivationKind): Tensor {
  const gate = linearLayer(builder, `${module}.gate_proj`, x);
  const up = linearLayer(builder, `${module}.up_proj`, x);
  return linearLayer(builder, `${module}.down_proj`, gatedActivation(gate, up, kind));
}

/** As {@link gatedMlp}, where one matrix holds gate and, below it, up. */
export function fusedGatedMlp(builder: Builder, module: string, x: Tensor, kind: ActivationKind): Tensor {
  const both = linearLayer(builder, `${module}.gate_up_proj`, x);
  const [gate, up] = split(both, [both.cols / 2, both.cols / 2]) as [Tensor, Tensor];
  return linearLayer(builder, `${module}.down_proj`, gatedActivation(gate, up, kind));
}

/** down(f(up(x))), the modules by name. */
export function plainMlp(
  builder: Builder,
  [up, down]: readonly [string, string],
  x: Tensor,
  kind: ActivationKind,
): Tensor {
  return linearLayer(builder, down, activation(linearLayer(builder, up, x), kind));
}
