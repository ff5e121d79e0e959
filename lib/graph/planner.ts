/** The memory planner. It computes all memory of a plan before anything runs. */

import { rowBytes } from '../native/matrix';
import type { Graph, Shape, Tensor } from './graph';

const ALIGNMENT = 64;

export function alignUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** Computes the bytes of a tensor at `maxRows` tokens. */
export function tensorBytes({ rows, cols, type }: Shape, maxRows: number): number {
  return (rows === 'tokens' ? maxRows : rows) * rowBytes(type, cols);
}

/** A range of the arena, in use from the first to the last operation that touches its tensors. */
interface Block {
  readonly bytes: number;
  first: number;
  last: number;
  offset: number;
}

export interface ArenaLayout {
  /** Offset in the arena of each intermediate tensor that the graph uses. */
  readonly offsets: ReadonlyMap<Tensor, number>;
  readonly bytes: number;
}

/**
 * Lays out all intermediate tensors in one arena, so that tensors alive at the same time never overlap. An output
 * reuses the memory of an input after its last use, if the operation allows it and the sizes match. Other tensors are
 * placed first fit, in descending order of size.
 */
export function layOutArena(graph: Graph, maxRows: number): ArenaLayout {
  const last = new Map<Tensor, number>();
  graph.nodes.forEach((node, index) => {
    for (const tensor of [...node.inputs, ...node.outputs]) {
      if (tensor?.binding.kind === 'intermediate') last.set(tensor, index);
    }
  });
  const blocks = new Map<Tensor, Block>();
  const arenaBlocks: Block[] = [];
  graph.nodes.forEach((node, index) => {
    node.outputs.forEach((tensor, position) => {
      if (tensor?.binding.kind !== 'intermediate' || blocks.has(tensor)) return;
      const bytes = alignUp(tensorBytes(tensor, maxRows));
      const heir = position === 0 && node.inPlace !== undefined ? node.inputs[node.inPlace] : undefined;
      const inherited = heir !== undefined && last.get(heir) === index ? blocks.get(heir) : undefined;
      const block = inherited?.bytes === bytes ? inherited : { bytes, first: index, last: index, offset: 0 };
      block.last = Math.max(block.last, last.get(tensor) ?? index);
      if (block !== inherited) arenaBlocks.push(block);
      blocks.set(tensor, block);
    });
  });
  const placed: Block[] = [];
  let end = 0;
  for (const block of [...arenaBlocks].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    let offset = 0;
    for (const other of placed) {
      if (other.first > block.last || block.first > other.last) continue;
      if (offset + block.bytes <= other.offset) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    block.offset = offset;
    end = Math.max(end, offset + block.bytes);
    const position = placed.findIndex((other) => other.offset > offset);
    placed.splice(position < 0 ? placed.length : position, 0, block);
  }
  return { offsets: new Map([...blocks].map(([tensor, block]) => [tensor, block.offset])), bytes: end };
}
