import { randomBytes } from 'node:crypto';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { Vocabulary } from './vocabulary';

/** Which pairs of tokens become one, and in which order. */
export interface Merges {
  /**
   * The rank of the merge of two neighbors, which stand for the characters `from` … `to` − 1 of a word: an integer from 0,
   * the lowest is merged first. -1 where they stay two.
   */
  rank(left: number, right: number, word: string, from: number, to: number): number;
  /** The token that the merge of a rank gives. */
  result(rank: number): number;
}

/** Factors of a hash that no file can know, so that none can make all of its pairs collide. */
const [LEFT, RIGHT] = [randomBytes(4).readInt32LE() | 1, randomBytes(4).readInt32LE() | 1];

/** Two tokens, with a space between them or in a list. */
export type Merge = string | readonly [string, string];

/** The merges that a file lists, by the pair of tokens: an open hash table of numbers. */
export class MergeTable implements Merges {
  /** By rank. */
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #results: Int32Array;
  /** Ranks by the hash of the pair; -1: none. */
  readonly #slots: Int32Array;
  readonly #shift: number;

  /**
   * @param place - of the list, for messages
   * @param merges - in the order in which they are merged; of two of the same pair the later counts
   * @throws MbokError MBOK_FORMAT for a merge of or into something that is no token
   */
  constructor(place: string, merges: readonly Merge[], vocabulary: Vocabulary) {
    const count = merges.length;
    this.#left = new Int32Array(count);
    this.#right = new Int32Array(count);
    this.#results = new Int32Array(count);
    const bits = Math.ceil(Math.log2(2 * count + 2));
    this.#shift = 32 - bits;
    this.#slots = new Int32Array(2 ** bits).fill(-1);
    for (let rank = 0; rank < count; rank++) {
      const [left, right] = pairOf(merges[rank] as Merge);
      const idOf = (token: string) => vocabulary.idOf(token) ?? lacks(place, rank, token);
      this.#left[rank] = idOf(left);
      this.#right[rank] = idOf(right);
      this.#results[rank] = idOf(left + right);
      this.#slots[this.#slot(this.#left[rank] as number, this.#right[rank] as number)] = rank;
    }
  }

  rank(left: number, right: number): number {
    return this.#slots[this.#slot(left, right)] as number;
  }

  result(rank: number): number {
    return this.#results[rank] as number;
  }

  /** The place of a pair, or the free one where it would be. */
  #slot(left: number, right: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = (Math.imul(left, LEFT) + Math.imul(right, RIGHT)) >>> this.#shift; ; slot = (slot + 1) & mask) {
      const rank = this.#slots[slot] as number;
      if (rank < 0 || (this.#left[rank] === left && this.#right[rank] === right)) return slot;
    }
  }
}

function lacks(place: string, rank: number, token: string): never {
  throw new MbokError('MBOK_FORMAT', `${place}: number ${rank} needs the token ${show(token)}, which there is not`);
}

/** The two tokens of a merge. */
export function pairOf(merge: Merge): [left: string, right: string] {
  if (typeof merge !== 'string') return [merge[0], merge[1]];
  const space = merge.indexOf(' ');
  return space < 0 ? [merge, ''] : [merge.slice(0, space), merge.slice(space + 1)];
}
