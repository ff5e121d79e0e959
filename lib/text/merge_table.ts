import { randomBytes } from 'node:crypto';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { Vocabulary } from './vocabulary';

/** The merges of a byte-pair model, and their order. */
export interface Merges {
  /**
   * Returns the rank of the merge of two neighbors, which cover the characters `from` … `to` − 1 of a word. Ranks are
   * integers from 0, and the lowest is merged first. -1 means that they are not merged.
   */
  rank(left: number, right: number, word: string, from: number, to: number): number;
  /** Returns the token that the merge of this rank gives. */
  result(rank: number): number;
}

/** Random factors of the hash, so that no file can make all its pairs collide. */
const [LEFT, RIGHT] = [randomBytes(4).readInt32LE() | 1, randomBytes(4).readInt32LE() | 1];

/** Two tokens: separated by a space, or as a list. */
export type Merge = string | readonly [string, string];

/** The merges listed in a file, in a hash table with open addressing, keyed by the pair of tokens. */
export class MergeTable implements Merges {
  /** Left token by rank. */
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #results: Int32Array;
  /** Ranks by the hash of the pair; -1 marks an empty slot. */
  readonly #slots: Int32Array;
  readonly #shift: number;

  /**
   * Builds the table.
   *
   * @param place - name of the list, for messages
   * @param merges - in order of rank; a repeated pair takes the later rank
   * @throws MbokError MBOK_FORMAT if a merge takes or gives something that is not a token
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

  /** Returns the slot of a pair, or the empty slot where it would go. */
  #slot(left: number, right: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = (Math.imul(left, LEFT) + Math.imul(right, RIGHT)) >>> this.#shift; ; slot = (slot + 1) & mask) {
      const rank = this.#slots[slot] as number;
      if (rank < 0 || (this.#left[rank] === left && this.#right[rank] === right)) return slot;
    }
  }
}

function lacks(place: string, rank: number, token: string): never {
  throw new MbokError('MBOK_FORMAT', `${place}: number ${rank} needs the token ${show(token)}, which does not exist`);
}

/** Splits a merge into its two tokens. */
export function pairOf(merge: Merge): [left: string, right: string] {
  if (typeof merge !== 'string') return [merge[0], merge[1]];
  const space = merge.indexOf(' ');
  return space < 0 ? [merge, ''] : [merge.slice(0, space), merge.slice(space + 1)];
}
