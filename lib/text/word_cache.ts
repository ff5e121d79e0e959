import type { WordRule } from './words';

const MOST_CACHED = 100_000;
/** Longest cached word in characters. Longer words rarely recur. */
const LONGEST_CACHED = 256;

/**
 * An encoder that caches the ids of every word. Words recur, so long texts take a twelfth of the time without the cache
 * (8 MB of TinyStories: 0.6 s instead of 7.2 s).
 */
export class WordCache {
  readonly #cache = new Map<string, readonly number[]>();

  /** `encodeWord` receives words as the vocabulary spells them. */
  constructor(
    private readonly rule: WordRule,
    private readonly encodeWord: (word: string) => number[],
  ) {}

  normalize(text: string): string {
    return this.rule.normalize(text);
  }

  /** Encodes a normalized text without added tokens; `first` as in {@link WordRule.split}. */
  encode(text: string, first: boolean): number[] {
    const ids: number[] = [];
    for (const word of this.rule.split(text, first)) {
      let found = this.#cache.get(word);
      if (found === undefined) {
        found = this.encodeWord(this.rule.spell(word));
        if (this.#cache.size >= MOST_CACHED) this.#cache.clear();
        if (word.length <= LONGEST_CACHED) this.#cache.set(word, found);
      }
      for (const id of found) ids.push(id);
    }
    return ids;
  }
}
