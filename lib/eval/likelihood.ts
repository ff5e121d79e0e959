/** Log-likelihoods of many short texts, of which what begins alike is computed once. */

import type { Arithmetic } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import { Lanes, type PartScore, type ScoredPart } from './lanes';
import type { ScoredSequence } from './pair_encoder';

/** Tokens of a lane that need not be cut smaller. */
const SMALL = 64;

export interface LikelihoodOptions {
  readonly arithmetic: Arithmetic;
  readonly signal?: AbortSignal | undefined;
  /** Told after every group how many are done. */
  readonly onProgress?: ((groups: number) => void) | undefined;
}

/**
 * Scores groups of sequences. What all sequences have in common (worked examples) is computed once, what a group has in
 * common (a question) once a group; the sequences continue from there through the key-value cache, those of many groups
 * side by side.
 *
 * @returns a score for every sequence, in the order given
 */
export async function scoreGroups(
  model: ModelCore,
  groups: readonly (readonly ScoredSequence[])[],
  { arithmetic, signal, onProgress }: LikelihoodOptions,
): Promise<PartScore[][]> {
  const common = sharedLength(groups.flat());
  const beginning = groups[0]?.[0]?.ids.subarray(0, common) ?? new Int32Array(0);
  // long ones first: then caches are cut ever smaller, into more and more lanes
  const waiting = groups.map((group, index) => ({ group, index, length: longest(group) }));
  waiting.sort((a, b) => b.length - a.length);
  const scores = new Array<PartScore[]>(groups.length);
  let done = 0;
  while (done < waiting.length) {
    const capacity = waiting[done]?.length as number;
    await using lanes = new Lanes(model, { capacity, sequences: waiting.length - done, arithmetic });
    await lanes.begin(beginning, signal);
    // lanes of half the size are worth the making, except where they are small already
    const least = capacity > SMALL ? capacity / 2 : 0;
    while (done < waiting.length && (waiting[done]?.length as number) > least) {
      const batch = waiting.slice(done, done + lanes.count);
      const results = await scoreBatch(lanes, batch, common, signal);
      for (const [i, { index }] of batch.entries()) scores[index] = results[i] as PartScore[];
      done += batch.length;
      onProgress?.(done);
    }
  }
  return scores;
}
/** How many tokens the sequences begin with alike, none of which predicts a scored one. */
export function sharedLength(sequences: readonly ScoredSequence[]): number {
  const [first] = sequences as [ScoredSequence, ...ScoredSequence[]];
  let length = Math.min(...sequences.map(({ scoredFrom }) => scoredFrom - 1));
  for (const { ids } of sequences) {
    let same = 0;
    while (same < length && ids[same] === first.ids[same]) same++;
    length = same;
  }
  return length;
}

/** A group whose sequences need `length` tokens of cache at most. */
interface WaitingGroup {
  readonly group: readonly ScoredSequence[];
  readonly length: number;
}

/** Tokens that a group's longest sequence computes: its last one is a target only. */
function longest(group: readonly ScoredSequence[]): number {
  return Math.max(...group.map(({ ids }) => ids.length - 1));
}

/** Scores a group in each lane, all lanes of which hold the first `common` tokens. */
async function scoreBatch(
  lanes: Lanes,
  batch: readonly WaitingGroup[],
  common: number,
  signal: AbortSignal | undefined,
): Promise<PartScore[][]> {
  const shared = batch.map(({ group }) => sharedLength(group));
  await lanes.fill(
    batch.map(({ group }, lane) => {
      const { ids } = group[0] as ScoredSequence;
      return { lane, position: common, ids: ids.subarray(common, shared[lane]) };
    }),
    signal,
  );
  const results: PartScore[][] = batch.map(() => []);
  const members = Math.max(...batch.map(({ group }) => group.length));
  for (let member = 0; member < members; member++) {
    const parts = batch.flatMap(({ group }, lane) => {
      const sequence = group[member];
      return sequence === undefined ? [] : [remainder(sequence, lane, shared[lane] as number)];
    });
    const scores = await lanes.score(parts, signal);
    for (const [i, { lane }] of parts.entries()) results[lane]?.push(scores[i] as PartScore);
  }
  return results;
}

/** A sequence from a position on. */
function remainder({ ids, scoredFrom }: ScoredSequence, lane: number, position: number): ScoredPart {
  const targets = ids.slice(position + 1).fill(-1, 0, scoredFrom - position - 1);
  return { lane, position, ids: ids.subarray(position, -1), targets };
}
