/** Byte-pair encoding of words: neighboring tokens are merged, one pair after the other, until no merge is left. */

import { isJsonObject } from '../io/json';
import { MergeQueue } from './merge_queue';
import type { Merges } from './merge_table';
import type { TokenizerDescription } from './tokenizer_file';
import type { Vocabulary } from './vocabulary';
import { BYTE_TOKENS } from './words';

/** A byte-pair model: the `model` of a tokenizer.json of the type BPE. */
export interface BytePairSettings {
  readonly vocabulary: Vocabulary;
  readonly merges: Merges;
  /** Stands for characters that the vocabulary lacks; without it they are left out. */
  readonly unknown: string | undefined;
  /** Whether one unknown token stands for a run of such characters. */
  readonly fusesUnknown: boolean;
  /** Whether the tokens of its bytes, `<0x…>`, stand for such a character where the vocabulary has them all. */
  readonly fallsBackToBytes: boolean;
  /** Whether words of the vocabulary are taken as they are, whatever the merges give. */
  readonly ignoresMerges: boolean;
  /** Written behind the last character of a word. */
  readonly suffix: string;
}

/** The byte-pair model of a description; undefined for models of other kinds. */
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
 * Encodes words in time n log n of their length. The ids are those of the Rust package `tokenizers`: of all pairs the one
 * of the lowest rank is merged first, and of several the leftmost.
 */
export class BytePairModel {
  readonly vocabulary: Vocabulary;
  /** The id of the unknown token, if there is one. */
  readonly unknownId: number | undefined;
  readonly #settings: BytePairSettings;
  /** Ids of the tokens of bytes; empty where bytes stand for nothing. */
  readonly #bytes: readonly (number | undefined)[];

  constructor(settings: BytePairSettings) {
    const { vocabulary, unknown, fallsBackToBytes } = settings;
    this.#settings = settings;
    this.vocabulary = vocabulary;
    this.unknownId = unknown === undefined ? undefined : vocabulary.idOf(unknown);
    this.#bytes = fallsBackToBytes ? BYTE_TOKENS.map((token) => vocabulary.idOf(token)) : [];
  }

  /** The ids of a word in the characters of the vocabulary. */
  encode(word: string): number[] {
    const { vocabulary, ignoresMerges, merges } = this.#settings;
    const whole = ignoresMerges ? vocabulary.idOf(word) : undefined;
    if (whole !== undefined) return [whole];
    const { ids, starts } = this.#symbols(word);
    return ids.length < 2 ? ids : merge(word, ids, starts, merges);
  }

  /** The tokens of a word's characters, and where in the word each begins; the last of these is the word's end. */
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

  /** The tokens of a character's bytes; undefined where one is missing. */
  #byteIds(character: string): number[] | undefined {
    const ids = Array.from(Buffer.from(character), (byte) => this.#bytes[byte]);
    return ids.every((id) => id !== undefined) ? ids : undefined;
  }
}

/** Merges neighbors among `ids`, of which each begins at its place in `starts`. */
function merge(word: string, ids: number[], starts: readonly number[], merges: Merges): number[] {
  const count = ids.length;
  // neighbors by place; -1 and `count` are beyond the ends
  const before = Int32Array.from(ids, (_, place) => place - 1);
  const after = Int32Array.from(ids, (_, place) => place + 1);
  /** Of each token's merge with the next one; -1: none, or the token is gone. */
  const ranks = new Float64Array(count).fill(-1);
  // every merge is followed by two others at most
  const queue = new MergeQueue(3 * count);
  const look = (place: number) => {
    const next = after[place] as number;
    if (next === count) {
      ranks[place] = -1;
      return;
    }
    const end = starts[after[next] as number] as number;
    const rank = merges.rank(ids[place] as number, ids[next] as number, word, starts[place] as number, end);
    ranks[place] = rank;
    if (rank >= 0) queue.push(rank, place);
  };
  for (let place = 0; place < count - 1; place++) look(place);
  for (let place = queue.pop(); place >= 0; place = queue.pop()) {
    // a neighbor has been merged since
    if (ranks[place] !== queue.rank) continue;
    const gone = after[place] as number;
    const next = after[gone] as number;
    ids[place] = merges.result(queue.rank);
    ranks[gone] = -1;
    after[place] = next;
    if (next < count) before[next] = place;
    look(place);
    const previous = before[place] as number;
    if (previous >= 0) look(previous);
  }
  const merged: number[] = [];
  for (let place = 0; place < count; place = after[place] as number) merged.push(ids[place] as number);
  return merged;
}
