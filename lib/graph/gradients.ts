/** Reverse-mode differentiation as a transformation of the graph. */

import { MbokError } from '../errors';
import type { Node } from './graph';
import type { BooleanTarget } from './operation';
import { add } from './operations/add';
import type { Tensor } from './tensor';

/** Where gradients go. */
export interface GradientTargets {
  /** Trained f32 parameters, each with the matrix of its shape that its gradient is added to. */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>;
  /** Trained ±1 parameters and where their Boolean signals go. */
  readonly booleans?: ReadonlyMap<Tensor, BooleanTarget>;
  /** Further tensors (inputs of the graph, say) whose gradients are wanted as results. */
  readonly wanted?: readonly Tensor[];
}

/**
 * Appends to the graph the operations that compute the gradient of `loss` [1, 1], starting from `seed` [1, 1].
 *
 * @param loss - [1, 1], made by operations of the graph
 * @param seed - its own gradient [1, 1]; {@link lossSeed} makes it the run's scalar `lossScale`
 * @returns the gradients of the tensors in `wanted`, in order; undefined where the loss does not depend on one
 * @throws MbokError MBOK_UNSUPPORTED for an operation that has no gradient
 */
export function appendGradients(
  loss: Tensor,
  seed: Tensor,
  { accumulators = new Map(), booleans = new Map(), wanted = [] }: GradientTargets,
): (Tensor | undefined)[] {
  const { graph } = loss;
  const forward = [...graph.nodes];
  const reached = new Set<Tensor>([...accumulators.keys(), ...booleans.keys(), ...wanted]);
  const carriers: Node[] = [];
  for (const node of forward) {
    if (!node.inputs.some((input) => input !== undefined && reached.has(input))) continue;
    for (const output of node.outputs) if (output !== undefined) reached.add(output);
    carriers.push(node);
  }
  const gradients = new Map<Tensor, Tensor>([[loss, seed]]);
  for (const node of carriers.reverse()) {
    if (!node.outputs.some((output) => output !== undefined && gradients.has(output))) continue;
    const rule = node.definition?.gradient;
    if (rule === undefined) throw new MbokError('MBOK_UNSUPPORTED', `operation '${node.name}' has no gradient`);
    const trained = (tensor: Tensor) => accumulators.has(tensor) || booleans.has(tensor);
    const at = <T>(i: number, look: (tensor: Tensor) => T): T | undefined => {
      const tensor = node.inputs[i];
      return tensor === undefined ? undefined : look(tensor);
    };
    const results = rule({
      inputs: node.inputs,
      outputs: node.outputs,
      attributes: node.attributes,
      upstream: (i) => {
        const output = node.outputs[i];
        return output === undefined ? undefined : gradients.get(output);
      },
      needs: (i) => at(i, (tensor) => reached.has(tensor) && !trained(tensor)) ?? false,
      accumulator: (i) => at(i, (tensor) => accumulators.get(tensor)),
      booleanTarget: (i) => at(i, (tensor) => booleans.get(tensor)),
    });
    results.forEach((gradient, i) => {
      const input = node.inputs[i];
      if (gradient === undefined || input === undefined) return;
      const earlier = gradients.get(input);
      gradients.set(input, earlier === undefined ? gradient : add(earlier, gradient));
    });
  }
  return wanted.map((tensor) => gradients.get(tensor));
}
