import type { Tensor } from '../graph/graph';
import { roundActivations } from '../graph/operations/round_activations';
import { structureOf } from '../structures/registry';
import type { Builder } from './builder';

/** Adds the linear layer `module` in the structure of its weight: x [rows, n] → [rows, m]. */
export function linearLayer(builder: Builder, module: string, x: Tensor): Tensor {
  const { bias, ...weight } = builder.module(module);
  const options = { bias, rounded: (t: Tensor) => rounded(builder, t) };
  const { layer } = structureOf(builder.formats.get(module));
  const output = (layer as NonNullable<typeof layer>)(weight, x, options);
  builder.linears.push({ module, input: x, output, after: builder.residuals.at(-1) });
  return output;
}

/** Rounds x if the graph rounds activations, once for all layers that read it. */
function rounded({ graph, rounded: roundedInputs }: Builder, x: Tensor): Tensor {
  const bits = graph.arithmetic.activations;
  if (bits === undefined) return x;
  const result = roundedInputs.get(x) ?? roundActivations(x, bits);
  roundedInputs.set(x, result);
  return result;
}
