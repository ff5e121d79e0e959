import type { Tensor } from '../graph/graph';
import { type ActivationKind, activation, gatedActivation } from '../graph/operations/activation';
import { split } from '../graph/operations/split';
import type { Builder } from './builder';
import { linearLayer } from './linear';

/** Computes down(f(gate(x)) ⊙ up(x)). */
export function gatedMlp(builder: Builder, module: string, x: Tensor, kind: ActivationKind): Tensor {
  const gate = linearLayer(builder, `${module}.gate_proj`, x);
  const up = linearLayer(builder, `${module}.up_proj`, x);
  return linearLayer(builder, `${module}.down_proj`, gatedActivation(gate, up, kind));
}

/** Computes {@link gatedMlp} with one matrix that stacks gate and up, gate first. */
export function fusedGatedMlp(builder: Builder, module: string, x: Tensor, kind: ActivationKind): Tensor {
  const both = linearLayer(builder, `${module}.gate_up_proj`, x);
  const [gate, up] = split(both, [both.cols / 2, both.cols / 2]) as [Tensor, Tensor];
  return linearLayer(builder, `${module}.down_proj`, gatedActivation(gate, up, kind));
}

/** Computes down(f(up(x))) with these two modules. */
export function plainMlp(
  builder: Builder,
  [up, down]: readonly [string, string],
  x: Tensor,
  kind: ActivationKind,
): Tensor {
  return linearLayer(builder, down, activation(linearLayer(builder, up, x), kind));
}
