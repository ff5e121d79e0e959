/** Activation recomputation (gradient checkpointing, arXiv 1604.06174): less memory for more time. */

import { MbokError } from '../base/errors';
import type { Graph, Node, Tensor } from './graph';

/**
 * Parts of a forward pass that are recomputed just before their gradients. Their results are not stored, except those
 * that other parts read. The same operations on the same numbers give the same bits. For this a part must be recomputed
 * before its parameters change, and may change no others.
 */
export class Recomputation {
  readonly #graph: Graph;
  readonly #partOf = new Map<Node, readonly Node[]>();
  readonly #replacements = new Map<Tensor, Tensor>();
  readonly #recomputed = new Set<readonly Node[]>();
  #open: { readonly part: readonly Node[]; readonly copies: ReadonlySet<Node> } | undefined;

  /**
   * `parts` are lists of operations in the order in which they run. Gradients are requested part by part, the last part
   * first.
   */
  constructor(graph: Graph, parts: readonly (readonly Node[])[]) {
    this.#graph = graph;
    for (const part of parts) for (const node of part) this.#partOf.set(node, part);
  }

  /**
   * Prepares the gradient of `node`: recomputes its part, if that has not happened yet. Throws MBOK_INTERNAL if the
   * part was left before.
   */
  enter(node: Node): void {
    const part = this.#partOf.get(node);
    if (part === undefined || part === this.#open?.part) return;
    this.leave();
    // by now the part's parameters may have changed
    if (this.#recomputed.has(part))
      throw new MbokError('MBOK_INTERNAL', `the part of '${node.name}' is needed once more`);
    this.#recomputed.add(part);
    const inner = new Set(part.flatMap(({ outputs }) => outputs.filter((tensor) => tensor !== undefined)));
    for (const tensor of inner) {
      if (tensor.binding.kind === 'intermediate') this.#replacements.set(tensor, this.#graph.create(tensor));
    }
    this.#open = { part, copies: new Set(this.#graph.repeat(part, this.#replacements)) };
  }

  /** Ends the last part: removes the recomputed operations that nothing reads. Call it after the last gradient. */
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

  /** Maps the tensors of an operation to their recomputed copies, if there are any. */
  recomputedFor(tensors: Node['inputs']): Node['inputs'] {
    return tensors.map((tensor) => tensor && (this.#replacements.get(tensor) ?? tensor));
  }
}
