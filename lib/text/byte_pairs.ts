/** Byte-pair encoding of words: it merges pairs of neighboring tokens until no merge applies. */

import { isJsonObject } from '../io/json';
import { MergeQueue } from './merge_queue';
import type { Merges } from './merge_table';
import type { TokenizerDescription } from './tokenizer_file';
import type { Vocabulary } from './vocabulary';
import { BYTE_TOKENS } from './words';

/** A byte-pair model: the `model` of a tokenizer.json of type BPE. */
export interface BytePairSettings {
  readonly vocabulary: Vocabulary;
  readonly merges: Merges;
  /** Token for characters outside the vocabulary. If undefined, such characters are dropped. */
  readonly unknown: string | undefined;
  /** Whether a run of unknown characters becomes one unknown token. */
  readonly fusesUnknown: boolean;
  /** Whether an unknown character becomes the tokens `<0x…>` of its bytes, if the vocabulary has them all. */
  readonly fallsBackToBytes: boolean;
  /** Whether a word of the vocabulary becomes its token without any merges. */
  readonly ignoresMerges: boolean;
  /** Suffix of the last character of a word. */
  readonly suffix: string;
}

/** Creates the byte-pair model of a description. Returns undefined for other model types. */
export function bytePairModel({ json, words, merges }: TokenizerDescription): BytePairModel | undefined {
  if (merges === undefined || !isJsonObject(json.model)) return undefined;
  const { unk_token: unknown, fuse_unk, byte_fallback, ignore_merges, end_of_word_suffix: suffix } = json.model;
  return new BytePairModel({
    vocabulary: words,
    merges,
    unknown: typeof unknown === 'string' ? unknown : undefined,
    fusesUnknown: fuse_unk === true,
    fallsBackToBytes: byte_fallback === true,
    ignoresMerges: ignore_merges === true,
    suffix: typeof suffix === 'string' ? suffix : '',
  });
}

/**
 * A byte-pair encoder of words that takes O(n log n) time. It gives the ids of the Rust package `tokenizers`. The pair
 * of lowest rank is merged first, and the leftmost of equal ones.
 */
export class BytePairModel {
  readonly vocabulary: Vocabulary;
  /** Id of the unknown token, if there is one. */
  readonly unknownId: number | undefined;
  readonly #settings: BytePairSettings;
  /** Ids of the byte tokens; empty without byte fallback. */
  readonly #bytes: readonly (number | undefined)[];

  constructor(settings: BytePairSettings) {
    const { vocabulary, unknown, fallsBackToBytes } = settings;
    this.#settings = settings;
    this.vocabulary = vocabulary;
    this.unknownId = unknown === undefined ? undefined : vocabulary.idOf(unknown);
    this.#bytes = fallsBackToBytes ? BYTE_TOKENS.map((token) => vocabulary.idOf(token)) : [];
  }

  /** Encodes a word that is written in the vocabulary's characters. */
  encode(word: string): number[] {
    const { vocabulary, ignoresMerges, merges } = this.#settings;
    const whole = ignoresMerges ? vocabulary.idOf(word) : undefined;
    if (whole !== undefined) return [whole];
    const { ids, starts } = this.#symbols(word);
    return ids.length < 2 ? ids : merge(word, ids, starts, merges);
  }

  /**
   * Returns the tokens of a word's characters, and the start of each in the word. `starts` has the word's length as an
   * extra last element.
   */
  #symbols(word: string): { ids: number[]; starts: number[] } {
    const { vocabulary, suffix, fusesUnknown } = this.#settings;
    const ids: number[] = [];
    const starts: number[] = [];
    let afterUnknown = false;
    for (let start = 0, end = 0; start < word.length; start = end) {
      end = start + ((word.codePointAt(start) as number) > 0xffff ? 2 : 1);
      const character = end < word.length ? word.slice(start, end) : word.slice(start) + suffix;
      const id = vocabulary.idOf(character);
      const bytes = id === undefined ? this.#byteIds(character) : undefined;
      const isUnknown = id === undefined && bytes === undefined;
      const add = (token: number | undefined) => {
        if (token === undefined) return;
        ids.push(token);
        starts.push(start);
      };
      if (bytes !== undefined) bytes.forEach(add);
      else if (!isUnknown) add(id);
      else if (!(afterUnknown && fusesUnknown)) add(this.unknownId);
      afterUnknown = isUnknown;
    }
    starts.push(word.length);
    return { ids, starts };
  }

  /** Returns the byte tokens of a character; undefined if one is missing. */
  #byteIds(character: string): number[] | undefined {
    const ids = Array.from(Buffer.from(character), (byte) => this.#bytes[byte]);
    return ids.every((id) => id !== undefined) ? ids : undefined;
  }
}

/** Merges neighbors among `ids`; `starts` holds the start of each in the word. */
function merge(word: string, ids: number[], starts: readonly number[], merges: Merges): number[] {
  const count = ids.length;
  // linked list of neighbors by index; -1 and `count` lie beyond the ends
  const before = Int32Array.from(ids, (_, position) => position - 1);
  const after = Int32Array.from(ids, (_, position) => position + 1);
  /** Rank of each token's merge with its successor; -1 if there is none or the token was merged away. */
  const ranks = new Float64Array(count).fill(-1);
  // each merge adds at most two candidates
  const queue = new MergeQueue(3 * count);
  const queueMerge = (position: number) => {
    const next = after[position] as number;
    if (next === count) {
      ranks[position] = -1;
      return;
    }
    const end = starts[after[next] as number] as number;
    const rank = merges.rank(ids[position] as number, ids[next] as number, word, starts[position] as number, end);
    ranks[position] = rank;
    if (rank >= 0) queue.push(rank, position);
  };
  for (let position = 0; position < count - 1; position++) queueMerge(position);
  for (let position = queue.pop(); position >= 0; position = queue.pop()) {
    // outdated: a neighbor has been merged since
    if (ranks[position] !== queue.rank) continue;
    const absorbed = after[position] as number;
    const next = after[absorbed] as number;
    ids[position] = merges.result(queue.rank);
    ranks[absorbed] = -1;
    after[position] = next;
    if (next < count) before[next] = position;
    queueMerge(position);
    const previous = before[position] as number;
    if (previous >= 0) queueMerge(previous);
  }
  const merged: number[] = [];
  for (let position = 0; position < count; position = after[position] as number) merged.push(ids[position] as number);
  return merged;
}
