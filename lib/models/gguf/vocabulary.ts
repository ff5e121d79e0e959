/** What GGUF files say of a vocabulary, and what the kinds of tokenizers make of it. */

import type { JsonObject } from '../../io/json';
import type { Merges } from '../../text/merge_table';
import type { Vocabulary } from '../../text/vocabulary';

/** Values of `tokenizer.ggml.token_type`. */
export const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A vocabulary as a GGUF file describes it. */
export interface GgufVocabulary {
  readonly tokens: readonly string[];
  readonly type: (id: number) => keyof typeof TOKEN_TYPES;
  readonly scores: ArrayLike<number> | undefined;
  readonly merges: readonly string[];
  /** The rule by which texts are cut into words. */
  readonly pre: string | undefined;
  readonly addsSpacePrefix: boolean | undefined;
  readonly unknown: string | undefined;
}

/** What depends on the kind of a tokenizer. */
export interface GgufTokenizerParts {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject | null;
  readonly decoder: JsonObject;
  /** The settings of the byte-pair model, without vocabulary and merges. */
  readonly model: JsonObject;
  readonly words: Vocabulary;
  readonly merges: Merges;
  /** The merges as tokenizer.json lists them. */
  readonly listMerges: () => readonly (readonly [string, string])[];
  /** Whether a begin-of-text token is put before a text where the file does not say. */
  readonly addsBos: boolean;
  /** What an added token is in texts, where the vocabulary writes it otherwise. */
  readonly content?: (token: string) => string;
}
