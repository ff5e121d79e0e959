/** Log-likelihoods of many short texts; common prefixes are computed only once. */

import type { Arithmetic } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import { Lanes, type PartScore, type ScoredPart } from './lanes';
import type { ScoredSequence } from './pair_encoder';

/** Capacity in tokens below which smaller lanes do not pay. */
const SMALL = 64;

export interface LikelihoodOptions {
  readonly arithmetic: Arithmetic;
  readonly signal?: AbortSignal | undefined;
  /** Receives the number of finished groups after every batch. */
  readonly onProgress?: ((groups: number) => void) | undefined;
}

/**
 * Scores groups of sequences. The common prefix of all sequences (worked examples) is computed once. The common prefix
 * of a group (a question) is computed once per group. The sequences continue from there through the key-value cache,
 * with many groups in parallel.
 *
 * @returns a score per sequence, in the order of `groups`
 */
export async function scoreGroups(
  model: ModelCore,
  groups: readonly (readonly ScoredSequence[])[],
  { arithmetic, signal, onProgress }: LikelihoodOptions,
): Promise<PartScore[][]> {
  const common = sharedLength(groups.flat());
  const beginning = groups[0]?.[0]?.ids.subarray(0, common) ?? new Int32Array(0);
  // longest first: later caches have smaller, and therefore more, lanes
  const waiting = groups.map((group, index) => ({ group, index, length: longest(group) }));
  waiting.sort((a, b) => b.length - a.length);
  const scores = new Array<PartScore[]>(groups.length);
  let done = 0;
  while (done < waiting.length) {
    const capacity = waiting[done]?.length as number;
    await using lanes = new Lanes(model, { capacity, sequences: waiting.length - done, arithmetic });
    await lanes.begin(beginning, signal);
    // new lanes pay when half the capacity suffices, unless they are small already
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
/** Returns the length of the common prefix. Its tokens do not predict a scored token. */
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

/** A group whose sequences need at most `length` tokens of cache. */
interface WaitingGroup {
  readonly group: readonly ScoredSequence[];
  readonly length: number;
}

/** Returns the tokens that a group's longest sequence computes. Its last token is only a target. */
function longest(group: readonly ScoredSequence[]): number {
  return Math.max(...group.map(({ ids }) => ids.length - 1));
}

/** Scores one group per lane; all lanes contain the first `common` tokens. */
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

/** Returns the part of a sequence from a position on. */
function remainder({ ids, scoredFrom }: ScoredSequence, lane: number, position: number): ScoredPart {
  const targets = ids.slice(position + 1).fill(-1, 0, scoredFrom - position - 1);
  return { lane, position, ids: ids.subarray(position, -1), targets };
}
