/** Training within a memory budget: how many sequences at once, and whether activations are kept or computed again. */

import { freemem } from 'node:os';
import { MbokError } from '../base/errors';
import type { Graph } from '../graph/graph';
import { graphBytes, type MemoryReport, Plan } from '../graph/plan';
import type { Matrix } from '../native/matrix';

/** What training computes with, and how that was made to fit. */
export type TrainingMemory = MemoryReport & {
  /** Sequences of a micro-batch. */
  readonly microBatch: number;
  /** Whether blocks are computed again in the backward pass; their activations are then not kept. */
  readonly recompute: boolean;
  /** Bytes of the process besides: the program itself, tokens, caches. */
  readonly overhead: number;
};

export interface MemoryWishes {
  /** Tokens of a sequence. */
  readonly window: number;
  /** Sequences of a step. */
  readonly batch: number;
  readonly microBatch?: number | undefined;
  readonly memory?: number | undefined;
}

interface Candidate {
  readonly microBatch: number;
  readonly recompute: boolean;
}

/** A micro-batch of more tokens than this gains little. */
const TOKENS_AT_ONCE = 2048;
/** What a micro-batch costs beside its tokens (weights rebuilt, accumulators read and written), in tokens. */
const TOKENS_A_MICRO_BATCH = 150;
/** A forward pass more of the student. */
const RECOMPUTATION = 1.2;
/** Growth of the process while it runs: garbage, threads, the evaluation's small change. */
const SLACK = 64e6;

/**
 * A plan of the graph that `build` makes, for the largest micro-batch and with the least recomputation that fit.
 * Recomputation changes no bit of a result, the micro-batch does; so without a budget the micro-batch follows from the
 * options alone unless it cannot fit.
 *
 * @param residents - matrices that are in memory already
 * @throws MbokError MBOK_OUT_OF_MEMORY naming the least budget that would do
 */
export function fitMemory(
  build: (recompute: boolean) => Graph,
  residents: ReadonlySet<Matrix>,
  wishes: MemoryWishes,
): { readonly plan: Plan; readonly memory: TrainingMemory } {
  const { rss } = process.memoryUsage();
  const resident = [...residents].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const overhead = Math.max(SLACK, rss - resident) + SLACK;
  // a container may allow less than the machine has; no limit reads as 0 or as more than there is
  const limit = process.constrainedMemory() || Infinity;
  const budget = wishes.memory ?? rss + Math.min(freemem(), Math.max(0, limit - rss)) / 2;
  const graphs = new Map<boolean, Graph>();
  const graphOf = (recompute: boolean) => {
    const graph = graphs.get(recompute) ?? build(recompute);
    graphs.set(recompute, graph);
    return graph;
  };
  let least = Infinity;
  const attempt = ({ microBatch, recompute }: Candidate, limit: number) => {
    const graph = graphOf(recompute);
    const maxRows = microBatch * wishes.window;
    // without scratch, and without asking the system for any memory
    const known = graphBytes(graph, maxRows) + overhead;
    if (known > limit) {
      least = Math.min(least, known);
      return undefined;
    }
    const plan = new Plan(graph, { maxRows });
    if (plan.memory.total + overhead <= limit) {
      return { plan, memory: { ...plan.memory, microBatch, recompute, overhead } };
    }
    least = Math.min(least, plan.memory.total + overhead);
    plan.dispose();
    return undefined;
  };
  const candidates = candidatesFor(wishes);
  for (const candidate of candidates) {
    const fitted = attempt(candidate, budget);
    if (fitted !== undefined) return fitted;
  }
  const last = { microBatch: wishes.microBatch ?? 1, recompute: true };
  // nobody set a limit: the system may know better what it can give
  const smallest = attempt(last, Infinity) as NonNullable<ReturnType<typeof attempt>>;
  if (wishes.memory === undefined) return smallest;
  smallest.plan.dispose();
  least = smallest.memory.total + overhead;
  throw new MbokError(
    'MBOK_OUT_OF_MEMORY',
    `'memory' is ${gigabytes(budget)}, but ${last.microBatch} × ${wishes.window} tokens at once need at least ` +
      `${gigabytes(least)} (${Math.ceil(least)} bytes), ${gigabytes(overhead)} of them for the process itself`,
  );
}

/** From the fastest to the slowest that are worth trying. */
function candidatesFor({ window, batch, microBatch, memory }: MemoryWishes): Candidate[] {
  const divisors = Array.from({ length: batch }, (_, i) => batch - i).filter((size) => batch % size === 0);
  const usual = divisors.find((size) => size * window <= TOKENS_AT_ONCE) ?? 1;
  const sizes =
    microBatch !== undefined ? [microBatch] : divisors.filter((size) => memory !== undefined || size <= usual);
  const cost = ({ microBatch: size, recompute }: Candidate) =>
    (1 + TOKENS_A_MICRO_BATCH / (size * window)) * (recompute ? RECOMPUTATION : 1);
  const all = sizes.flatMap((size) => [false, true].map((recompute) => ({ microBatch: size, recompute })));
  // without a budget the micro-batch decides results: it shrinks only where recomputation alone does not help
  return memory === undefined ? all : all.sort((a, b) => cost(a) - cost(b));
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 2)} GB`;
}
