/** Log-likelihoods of many short texts, of which what begins alike is computed once. */

import type { Precision } from '../graph/graph';
import type { ModelCore } from '../models/model_core';
import type { ScoredSequence } from './encode';
import { Lanes, type PartScore } from './lanes';

export interface LikelihoodOptions {
  readonly precision: Precision;
  /** Whether to tell if the scored tokens are the likeliest ones. */
  readonly greedy: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told after every group how many are done. */
  readonly onProgress?: ((groups: number) => void) | undefined;
}

/**
 * Scores groups of sequences. What all sequences have in common (worked examples) is computed once, what a group has in
 * common (a question) once a group; the sequences continue from there through the key-value cache.
 *
 * @returns a score for every sequence, in the order given
 */
export async function scoreGroups(
  model: ModelCore,
  groups: readonly (readonly ScoredSequence[])[],
  { precision, greedy, signal, onProgress }: LikelihoodOptions,
): Promise<PartScore[][]> {
  const all = groups.flat();
  const context = Math.max(...all.map(({ ids }) => ids.length - 1));
  const common = sharedLength(all);
  await using lanes = new Lanes(model, { lanes: 1, context, precision, greedy });
  const [first] = all as [ScoredSequence, ...ScoredSequence[]];
  await lanes.fill([{ lane: 0, position: 0, ids: first.ids.subarray(0, common) }], signal);
  const scores: PartScore[][] = [];
  for (const group of groups) {
    const shared = sharedLength(group);
    const ids = (group[0] as ScoredSequence).ids.subarray(common, shared);
    await lanes.fill([{ lane: 0, position: common, ids }], signal);
    const results: PartScore[] = [];
    for (const sequence of group) results.push(...(await lanes.score([rest(sequence, shared)], signal)));
    scores.push(results);
    onProgress?.(scores.length);
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

/** A sequence from a position on. Its last token is a target only. */
function rest({ ids, scoredFrom }: ScoredSequence, from: number) {
  const targets = ids.slice(from + 1).fill(-1, 0, scoredFrom - from - 1);
  return { lane: 0, position: from, ids: ids.subarray(from, -1), targets };
}
