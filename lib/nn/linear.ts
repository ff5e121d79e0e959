import { linear } from '../graph/operations/linear';
import { multiBooleanLinear } from '../graph/operations/multi_boolean_linear';
import { roundActivations } from '../graph/operations/round_activations';
import type { Tensor } from '../graph/tensor';
import type { Builder, Parameters } from './builder';

/** Names of a multi-Boolean module's matrices, in files and in memory. */
export const KERNELS = 'boolean_kernels';
export const OUTPUT_SCALES = 's_out';
export const INPUT_SCALES = 's_in';

/** Whether a linear module has been converted to ±1 kernels. */
export function isBoolean(parameters: Parameters, module: string): boolean {
  return parameters.has(`${module}.${KERNELS}`);
}

/** A linear layer, dense, in 8 bits or multi-Boolean as the checkpoint has it: x [rows, n] → [rows, m]. */
export function linearLayer(builder: Builder, module: string, x: Tensor): Tensor {
  const output = product(builder, module, x);
  builder.linears.push({ module, input: x, output, after: builder.residuals.at(-1) });
  return output;
}

function product(builder: Builder, module: string, x: Tensor): Tensor {
  const bias = builder.optional(`${module}.bias`);
  if (!isBoolean(builder.parameters, module)) {
    const [weight, scales] = builder.weight(`${module}.weight`);
    return linear(x, weight, bias, scales);
  }
  const [kernels, sOut, sIn] = [KERNELS, OUTPUT_SCALES, INPUT_SCALES].map((name) =>
    builder.parameter(`${module}.${name}`),
  ) as [Tensor, Tensor, Tensor];
  return multiBooleanLinear(layerInput(builder, x), kernels, sOut, sIn, bias);
}

/** What a Boolean layer reads: x, rounded where that is asked for, once for all layers that read it. */
function layerInput({ graph, rounded }: Builder, x: Tensor): Tensor {
  const bits = graph.arithmetic.activations;
  if (bits === undefined) return x;
  const known = rounded.get(x) ?? roundActivations(x, bits);
  rounded.set(x, known);
  return known;
}
