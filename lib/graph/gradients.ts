/** Reverse-mode differentiation as a transformation of the graph. */

import { MbokError } from '../base/errors';
import { invalid, object, options } from '../base/validate';
import { type BooleanTarget, expectTensor, type Node, type Tensor } from './graph';
import { graphOf } from './operation';
import { add } from './operations/add';
import { Recomputation } from './recomputation';

/** Destinations of gradients. */
export interface GradientTargets {
  /** Trained f32 parameters; each maps to the matrix of its shape to which its gradient is added. */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>;
  /** Trained ±1 parameters; each maps to the destination of its Boolean signal. */
  readonly booleans?: ReadonlyMap<Tensor, BooleanTarget>;
  /** Further tensors, such as inputs of the graph, whose gradients are returned. */
  readonly wanted?: readonly Tensor[];
  /**
   * Parts of the forward pass, in order, whose results are recomputed for the gradients instead of stored, such as
   * blocks of a model. Results are equal to the bit and take less memory. A part must not change the parameters of
   * another.
   */
  readonly recomputed?: readonly (readonly Node[])[];
}

/**
 * Appends the operations that compute the gradient of `loss` to the graph.
 *
 * @param loss - [1, 1], computed by the graph
 * @param seed - [1, 1], the gradient of the loss itself; {@link lossSeed} sets it to the run's scalar `lossScale`
 * @returns the gradients of the tensors in `wanted`, in order; undefined if the loss does not depend on one
 * @throws MbokError MBOK_UNSUPPORTED if an operation has no gradient, MBOK_INVALID_ARGUMENT
 */
export function appendGradients(loss: Tensor, seed: Tensor, targets: GradientTargets): (Tensor | undefined)[] {
  const graph = graphOf('loss', loss);
  if (graphOf('seed', seed) !== graph) invalid('seed', "a tensor of the loss's graph", seed);
  const { accumulators, booleans, wanted: requested, recomputed } = checkedTargets(targets);
  const forward = [...graph.nodes];
  const reached = new Set<Tensor>([...accumulators.keys(), ...booleans.keys(), ...requested]);
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
      inputs: recomputation.recomputedFor(node.inputs),
      outputs: recomputation.recomputedFor(node.outputs),
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
  return requested.map((tensor) => gradients.get(tensor));
}

/** Checks the targets and adds defaults. Throws MBOK_INVALID_ARGUMENT. */
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
 * Orders the operations for the backward pass: each before those whose results it reads, otherwise as late as possible.
 * So a loss of hidden states is differentiated just before their gradient is used, and its result is stored only
 * briefly.
 */
function backwards(nodes: readonly Node[]): Node[] {
  const producer = new Map<Tensor, number>();
  const keys = nodes.map((node, index) => {
    for (const output of node.outputs) if (output !== undefined) producer.set(output, index);
    const latest = node.inputs.reduce((last, input) => Math.max(last, (input && producer.get(input)) ?? -1), -1);
    return { node, index, latest };
  });
  return keys.sort((a, b) => b.latest - a.latest || b.index - a.index).map(({ node }) => node);
}
