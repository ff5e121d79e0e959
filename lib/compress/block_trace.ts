/** The graph of a block, annotated with the facts about each linear layer that calibration needs. */

import type { Graph, Node, Tensor } from '../graph/graph';
import { Builder, type LinearCall, type Residual } from '../nn/builder';
import type { BlockWeights } from './dense_source';
import type { Walk } from './hidden_states';

/** A linear layer within a block. */
export interface TracedLinear extends LinearCall {
  /** Residual addition whose branch is this layer's output; undefined if other operations lie between. */
  readonly residual: Residual | undefined;
  /** Hidden states after that addition; else after the latest addition before the layer, or the input of the block. */
  readonly hidden: Tensor;
  /** Whether attention carries the output to other tokens. */
  readonly mixed: boolean;
}

/** A block's output and its linear layers. */
export interface BlockTrace {
  readonly output: Tensor;
  /** Linear layers by module, in the order of the block. */
  readonly linears: ReadonlyMap<string, TracedLinear>;
}

/** Adds block `layer` to the graph of `x`. */
export function traceBlock(
  { source, length }: Pick<Walk, 'source' | 'length'>,
  layer: number,
  { parameters, formats }: BlockWeights,
  x: Tensor,
): BlockTrace {
  const { graph } = x;
  const begin = graph.nodes.length;
  const builder = new Builder(graph, parameters, { formats });
  const output = source.family.block(builder, layer, x, source.config, source.constants(length));
  const mixed = withAncestors(builder.carried, graph.nodes.slice(begin));
  const linears = builder.linears.map((call): TracedLinear => {
    const residual = builder.residuals.find(({ branch }) => branch === call.output);
    const hidden = (residual ?? call.after)?.sum ?? x;
    return { ...call, residual, hidden, mixed: mixed.has(call.output) };
  });
  return { output, linears: new Map(linears.map((linear) => [linear.module, linear])) };
}

/** Returns these tensors and all tensors of `nodes` that they depend on. */
function withAncestors(tensors: Iterable<Tensor>, nodes: readonly Node[]): ReadonlySet<Tensor> {
  const ancestors = new Set(tensors);
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((tensor) => tensor && ancestors.has(tensor))) continue;
    for (const tensor of node.inputs) if (tensor !== undefined) ancestors.add(tensor);
  }
  return ancestors;
}

/** Groups modules that read the same input, in the order of the block. */
export function sharedInputs({ linears }: BlockTrace): readonly (readonly string[])[] {
  const groups = new Map<Tensor, string[]>();
  for (const { module, input } of linears.values()) groups.set(input, [...(groups.get(input) ?? []), module]);
  return [...groups.values()];
}

/** Removes operations on which neither a graph output nor a bound matrix depends. */
export function prune(graph: Graph): void {
  const needed = new Set<Tensor>(graph.outputs.values());
  const neededNodes = graph.nodes
    .slice()
    .reverse()
    .filter(({ inputs, outputs }) => {
      if (!outputs.some((tensor) => tensor && (needed.has(tensor) || tensor.binding.kind === 'bound'))) return false;
      for (const tensor of inputs) if (tensor !== undefined) needed.add(tensor);
      return true;
    });
  graph.nodes.splice(0, graph.nodes.length, ...neededNodes.reverse());
}
