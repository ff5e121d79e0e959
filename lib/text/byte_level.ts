import { isJsonObject, type JsonObject } from '../io/json';

/** GPT-2's split into words; each piece, seen alone, is split no further. */
const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

const MOST_CACHED = 100_000;

/**
 * Encodes by remembering the ids of every word. Words recur, so long texts take a twelfth of the time that the general
 * way takes (8 MB of TinyStories: 0.6 s instead of 7.2 s).
 */
export class WordCache {
  readonly #cache = new Map<string, readonly number[]>();

  constructor(private readonly encodeWord: (word: string) => number[]) {}

  /**
   * True for a tokenizer.json whose words are encoded independently and split by {@link PIECES}: byte-level
   * byte-pair encoding as in GPT-2.
   */
  static serves(json: JsonObject): boolean {
    const { normalizer, pre_tokenizer: split, model } = json;
    if (!isJsonObject(split) || !isJsonObject(model)) return false;
    const splitsAsGpt2 = split.type === 'ByteLevel' && split.use_regex !== false && split.add_prefix_space === false;
    return splitsAsGpt2 && (normalizer ?? null) === null && model.type === 'BPE';
  }

  /** The ids of a text without added tokens. */
  encode(text: string): number[] {
    const ids: number[] = [];
    for (const word of text.match(PIECES) ?? []) {
      let found = this.#cache.get(word);
      if (found === undefined) {
        found = this.encodeWord(word);
        if (this.#cache.size >= MOST_CACHED) this.#cache.clear();
        this.#cache.set(word, found);
      }
      for (const id of found) ids.push(id);
    }
    return ids;
  }
}
