/** Reverse-mode differentiation as a transformation of the graph. */

import { MbokError } from '../base/errors';
import { invalid, object, options } from '../base/validate';
import { type BooleanTarget, expectTensor, type Node, type Tensor } from './graph';
import { graphOf } from './operation';
import { add } from './operations/add';
import { Recomputation } from './recomputation';

/** Where gradients go. */
export interface GradientTargets {
  /** Trained f32 parameters, each with the matrix of its shape that its gradient is added to. */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>;
  /** Trained ±1 parameters and where their Boolean signals go. */
  readonly booleans?: ReadonlyMap<Tensor, BooleanTarget>;
  /** Further tensors (inputs of the graph, say) whose gradients are wanted as results. */
  readonly wanted?: readonly Tensor[];
  /**
   * Runs of the forward pass, in order, whose results are computed again for their gradients rather than kept: blocks of
   * a model, say. The same bits in less memory. No part may change another's parameters.
   */
  readonly recomputed?: readonly (readonly Node[])[];
}

/**
 * Appends to the graph the operations that compute the gradient of `loss` [1, 1], starting from `seed` [1, 1].
 *
 * @param loss - [1, 1], made by operations of the graph
 * @param seed - its own gradient [1, 1]; {@link lossSeed} makes it the run's scalar `lossScale`
 * @returns the gradients of the tensors in `wanted`, in order; undefined where the loss does not depend on one
 * @throws MbokError MBOK_UNSUPPORTED for an operation that has no gradient
 */
export function appendGradients(loss: Tensor, seed: Tensor, targets: GradientTargets): (Tensor | undefined)[] {
  const graph = graphOf('loss', loss);
  if (graphOf('seed', seed) !== graph) invalid('seed', "a tensor of the loss's graph", seed);
  const { accumulators, booleans, wanted, recomputed } = checkedTargets(targets);
  const forward = [...graph.nodes];
  const reached = new Set<Tensor>([...accumulators.keys(), ...booleans.keys(), ...wanted]);
  const carriers: Node[] = [];
  for (const node of forward) {
    if (!node.inputs.some((input) => input !== undefined && reached.has(input))) continue;
    for (const output of node.outputs) if (output !== undefined) reached.add(output);
    carriers.push(node);
  }
  const gradients = new Map<Tensor, Tensor>([[loss, seed]]);
  const recomputation = new Recomputation(graph, recomputed);
  for (const node of backwards(carriers)) {
    if (!node.outputs.some((output) => output !== undefined && gradients.has(output))) continue;
    const rule = node.definition?.gradient;
    if (rule === undefined) throw new MbokError('MBOK_UNSUPPORTED', `operation '${node.name}' has no gradient`);
    recomputation.enter(node);
    const trained = (tensor: Tensor) => accumulators.has(tensor) || booleans.has(tensor);
    const at = <T>(i: number, look: (tensor: Tensor) => T): T | undefined => {
      const tensor = node.inputs[i];
      return tensor === undefined ? undefined : look(tensor);
    };
    const results = rule({
      inputs: recomputation.instead(node.inputs),
      outputs: recomputation.instead(node.outputs),
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
  recomputation.leave();
  return wanted.map((tensor) => gradients.get(tensor));
}

/** Throws MBOK_INVALID_ARGUMENT. */
function checkedTargets(given: GradientTargets): Required<GradientTargets> {
  const {
    accumulators = new Map(),
    booleans = new Map(),
    wanted = [],
    recomputed = [],
  } = options('targets', given, ['accumulators', 'booleans', 'wanted', 'recomputed']);
  for (const [name, map] of Object.entries({ accumulators, booleans })) {
    if (!(map instanceof Map)) invalid(name, 'a Map', map);
    for (const key of map.keys()) expectTensor(name, key);
  }
  for (const accumulator of accumulators.values()) expectTensor('accumulators', accumulator);
  for (const target of booleans.values()) object('booleans', target);
  if (!Array.isArray(wanted)) invalid('wanted', 'an array of tensors', wanted);
  for (const tensor of wanted) expectTensor('wanted', tensor);
  const isPart = (part: unknown) => Array.isArray(part);
  if (!Array.isArray(recomputed) || !recomputed.every(isPart))
    invalid('recomputed', 'arrays of operations', recomputed);
  return { accumulators, booleans, wanted, recomputed };
}

/**
 * The operations so that each comes before those whose results it reads, and otherwise as late as can be: what only looks
 * at a tensor in passing (a loss of hidden states) has its turn when that tensor's gradient is due, and not long before,
 * when its result would have to be kept.
 */
function backwards(nodes: readonly Node[]): Node[] {
  const made = new Map<Tensor, number>();
  const keys = nodes.map((node, index) => {
    for (const output of node.outputs) if (output !== undefined) made.set(output, index);
    const latest = node.inputs.reduce((most, input) => Math.max(most, (input && made.get(input)) ?? -1), -1);
    return { node, index, latest };
  });
  return keys.sort((a, b) => b.latest - a.latest || b.index - a.index).map(({ node }) => node);
}
