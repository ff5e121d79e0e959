/** A block's graph with what calibration has to know of the place of each linear layer in it. */

import type { Graph, Node } from '../graph/graph';
import type { Tensor } from '../graph/tensor';
import { Builder, type Parameters } from '../nn/builder';
import type { Walk } from './hidden_states';

/** A linear layer within a block. */
export interface LinearPlace {
  readonly module: string;
  readonly input: Tensor;
  /** The hidden states that the output is added to; undefined where something else comes first. */
  readonly residual: Tensor | undefined;
  /** The hidden states that the output becomes a part of, or those at this place of the block. */
  readonly hidden: Tensor;
  /** Whether attention carries the output to other tokens. */
  readonly mixed: boolean;
}

export interface BlockTrace {
  readonly output: Tensor;
  /** By module, in the order of the block. */
  readonly linears: ReadonlyMap<string, LinearPlace>;
}

/** Adds block `layer` to a graph. */
export function traceBlock(
  { source, length }: Pick<Walk, 'source' | 'length'>,
  layer: number,
  parameters: Parameters,
  x: Tensor,
): BlockTrace {
  const { graph } = x;
  const begin = graph.nodes.length;
  const calls: { module: string; input: Tensor; index: number }[] = [];
  const onLinear = (module: string, input: Tensor) => {
    calls.push({ module, input, index: graph.nodes.length });
  };
  const builder = new Builder(graph, parameters, { onLinear });
  const output = source.family.block(builder, layer, x, source.config, source.constants(length));
  const mixed = ancestorsOfAttention(graph, begin);
  const adds = graph.nodes
    .map((node, index) => ({ node, index }))
    .filter(({ node, index }) => index >= begin && node.name === 'add');
  const linears = calls.map(({ module, input, index }): LinearPlace => {
    const own = (graph.nodes as readonly Node[]).slice(index).find(({ inputs }) => inputs[0] === input)
      ?.outputs[0] as Tensor;
    const consumers = graph.nodes.filter(({ inputs }) => inputs.includes(own));
    const sum = consumers.length === 1 && consumers[0]?.name === 'add' ? consumers[0] : undefined;
    const residual = sum?.inputs.find((tensor) => tensor !== own);
    const before = adds.filter((other) => other.index < index).at(-1)?.node.outputs[0] ?? x;
    return { module, input, residual, hidden: sum?.outputs[0] ?? before, mixed: mixed.has(own) };
  });
  return { output, linears: new Map(linears.map((place) => [place.module, place])) };
}

/** Tensors that an attention operation reads, directly or through others. */
function ancestorsOfAttention(graph: Graph, begin: number): ReadonlySet<Tensor> {
  const ancestors = new Set<Tensor>();
  for (const node of graph.nodes.slice(begin).reverse()) {
    if (!node.name.startsWith('attention') && !node.outputs.some((tensor) => tensor && ancestors.has(tensor))) continue;
    for (const tensor of node.inputs) if (tensor !== undefined) ancestors.add(tensor);
  }
  return ancestors;
}

/** Modules that read the same input, together, in the order of the block. */
export function sharedInputs({ linears }: BlockTrace): readonly (readonly string[])[] {
  const groups = new Map<Tensor, string[]>();
  for (const { module, input } of linears.values()) groups.set(input, [...(groups.get(input) ?? []), module]);
  return [...groups.values()];
}

/** Drops the operations that neither an output nor a bound matrix depends on. */
export function prune(graph: Graph): void {
  const needed = new Set<Tensor>(graph.outputs.values());
  const kept = graph.nodes
    .slice()
    .reverse()
    .filter(({ inputs, outputs }) => {
      if (!outputs.some((tensor) => tensor && (needed.has(tensor) || tensor.binding.kind === 'bound'))) return false;
      for (const tensor of inputs) if (tensor !== undefined) needed.add(tensor);
      return true;
    });
  graph.nodes.splice(0, graph.nodes.length, ...kept.reverse());
}
