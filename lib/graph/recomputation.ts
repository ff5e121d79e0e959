/** Activations computed again in the backward pass instead of being kept: memory for time (arXiv 1604.06174). */

import { MbokError } from '../base/errors';
import type { Graph, Node, Tensor } from './graph';

/**
 * Parts of a forward pass whose results are forgotten, but for those that other parts read, and computed again just
 * before their gradients, by the same operations on the same numbers: results are the same bits. A part is repeated
 * before any of its own parameters changes, and parts change only their own.
 */
export class Recomputation {
  readonly #graph: Graph;
  readonly #partOf = new Map<Node, readonly Node[]>();
  readonly #instead = new Map<Tensor, Tensor>();
  readonly #done = new Set<readonly Node[]>();
  #open: { readonly part: readonly Node[]; readonly copies: ReadonlySet<Node> } | undefined;

  /** `parts`: operations of the graph in the order in which they run; gradients are asked for part by part, last first. */
  constructor(graph: Graph, parts: readonly (readonly Node[])[]) {
    this.#graph = graph;
    for (const part of parts) for (const node of part) this.#partOf.set(node, part);
  }

  /** To be called before the gradient of `node` is emitted: repeats its part, if that has not been done yet. */
  enter(node: Node): void {
    const part = this.#partOf.get(node);
    if (part === undefined || part === this.#open?.part) return;
    this.leave();
    // its own parameters may have changed since
    if (this.#done.has(part)) throw new MbokError('MBOK_INTERNAL', `the part of '${node.name}' is needed once more`);
    this.#done.add(part);
    const inner = new Set(part.flatMap(({ outputs }) => outputs.filter((tensor) => tensor !== undefined)));
    for (const tensor of inner) {
      if (tensor.binding.kind === 'intermediate') this.#instead.set(tensor, this.#graph.create(tensor));
    }
    this.#open = { part, copies: new Set(this.#graph.repeat(part, this.#instead)) };
  }

  /** To be called after the last gradient: drops of the last part's repetition what nothing reads. */
  leave(): void {
    if (this.#open === undefined) return;
    const { copies } = this.#open;
    const read = new Set<Tensor | undefined>();
    const idle: Node[] = [];
    for (const node of [...this.#graph.nodes].reverse()) {
      if (copies.has(node) && !node.outputs.some((output) => read.has(output))) idle.push(node);
      else for (const input of node.inputs) read.add(input);
    }
    this.#graph.remove(idle);
    this.#open = undefined;
  }

  /** What stands for these tensors of a part's operation in the backward pass. */
  instead(tensors: Node['inputs']): Node['inputs'] {
    return tensors.map((tensor) => tensor && (this.#instead.get(tensor) ?? tensor));
  }
}
