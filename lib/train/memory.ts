/** Memory budget of training: it determines the micro-batch, and whether activations are stored or recomputed. */

import { freemem } from 'node:os';
import { MbokError } from '../base/errors';
import type { Graph } from '../graph/graph';
import { graphBytes, type MemoryReport, Plan } from '../graph/plan';
import type { Matrix } from '../native/matrix';

/** Planned memory of training, and the choices that fit it. */
export type TrainingMemory = MemoryReport & {
  /** Sequences of a micro-batch. */
  readonly microBatch: number;
  /** Whether the backward pass recomputes blocks instead of storing their activations. */
  readonly recompute: boolean;
  /** Other bytes of the process: the program itself, tokens, caches. */
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

/** Larger micro-batches, in tokens, gain little. */
const TOKENS_AT_ONCE = 2048;
/** Fixed cost of a micro-batch (weights rebuilt, accumulators read and written), expressed in tokens. */
const TOKENS_A_MICRO_BATCH = 150;
/** Relative time of a step with recomputation, which adds a forward pass of the student. */
const RECOMPUTATION = 1.2;
/** Reserve in bytes for the growth of the process during a run: garbage, threads, small buffers of evaluations. */
const SLACK = 64e6;

/**
 * Plans the graph that `build` returns, with the fastest micro-batch and recomputation that fit the budget.
 * Recomputation changes no bit of a result, but the micro-batch does. Without a budget the micro-batch therefore
 * depends only on the options, unless it cannot fit.
 *
 * @param residents - matrices that are in memory already
 * @throws MbokError MBOK_OUT_OF_MEMORY naming the smallest sufficient budget
 */
export function fitMemory(
  build: (recompute: boolean) => Graph,
  residents: ReadonlySet<Matrix>,
  wishes: MemoryWishes,
): { readonly plan: Plan; readonly memory: TrainingMemory } {
  const { rss } = process.memoryUsage();
  const resident = [...residents].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const overhead = Math.max(SLACK, rss - resident) + SLACK;
  // a container may allow less than the machine has; without a limit this reads 0 or a huge number
  const limit = process.constrainedMemory() || Infinity;
  const budget = wishes.memory ?? rss + Math.min(freemem(), Math.max(0, limit - rss)) / 2;
  const graphs = new Map<boolean, Graph>();
  const graphOf = (recompute: boolean) => {
    const graph = graphs.get(recompute) ?? build(recompute);
    graphs.set(recompute, graph);
    return graph;
  };
  let leastBytes = Infinity;
  const attempt = ({ microBatch, recompute }: Candidate, limit: number) => {
    const graph = graphOf(recompute);
    const maxRows = microBatch * wishes.window;
    // a lower bound without scratch, computed without allocating memory
    const lowerBound = graphBytes(graph, maxRows) + overhead;
    if (lowerBound > limit) {
      leastBytes = Math.min(leastBytes, lowerBound);
      return undefined;
    }
    const plan = new Plan(graph, { maxRows });
    if (plan.memory.total + overhead <= limit) {
      return { plan, memory: { ...plan.memory, microBatch, recompute, overhead } };
    }
    leastBytes = Math.min(leastBytes, plan.memory.total + overhead);
    plan.dispose();
    return undefined;
  };
  const candidates = candidatesFor(wishes);
  for (const candidate of candidates) {
    const fitted = attempt(candidate, budget);
    if (fitted !== undefined) return fitted;
  }
  const last = { microBatch: wishes.microBatch ?? 1, recompute: true };
  // without a budget, try anyway: free memory is only an estimate
  const smallest = attempt(last, Infinity) as NonNullable<ReturnType<typeof attempt>>;
  if (wishes.memory === undefined) return smallest;
  smallest.plan.dispose();
  leastBytes = smallest.memory.total + overhead;
  throw new MbokError(
    'MBOK_OUT_OF_MEMORY',
    `'memory' is ${gigabytes(budget)}, but ${last.microBatch} × ${wishes.window} tokens at once need at least ` +
      `${gigabytes(leastBytes)} (${Math.ceil(leastBytes)} bytes), ${gigabytes(overhead)} of them for the process itself`,
  );
}

/** Lists candidates, fastest first. */
function candidatesFor({ window, batch, microBatch, memory }: MemoryWishes): Candidate[] {
  const divisors = Array.from({ length: batch }, (_, i) => batch - i).filter((size) => batch % size === 0);
  const usual = divisors.find((size) => size * window <= TOKENS_AT_ONCE) ?? 1;
  const sizes =
    microBatch !== undefined ? [microBatch] : divisors.filter((size) => memory !== undefined || size <= usual);
  const cost = ({ microBatch: size, recompute }: Candidate) =>
    (1 + TOKENS_A_MICRO_BATCH / (size * window)) * (recompute ? RECOMPUTATION : 1);
  const all = sizes.flatMap((size) => [false, true].map((recompute) => ({ microBatch: size, recompute })));
  // without a budget the micro-batch shrinks only if recomputation alone does not suffice, since it changes results
  return memory === undefined ? all : all.sort((a, b) => cost(a) - cost(b));
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 2)} GB`;
}
