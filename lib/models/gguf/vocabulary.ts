/** The vocabulary in a GGUF file, and the parts of a tokenizer that depend on its kind. */

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
  /** Name of the rule that splits text into words. */
  readonly pre: string | undefined;
  readonly addsSpacePrefix: boolean | undefined;
  readonly unknown: string | undefined;
}

/** The parts of a tokenizer that depend on its kind. */
export interface GgufTokenizerParts {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject | null;
  readonly decoder: JsonObject;
  /** Settings of the byte-pair model, without vocabulary and merges. */
  readonly model: JsonObject;
  readonly words: Vocabulary;
  readonly merges: Merges;
  /** Lists the merges as in tokenizer.json. */
  readonly listMerges: () => readonly (readonly [string, string])[];
  /** Whether texts begin with a begin-of-text token if the file does not say so. */
  readonly addsBos: boolean;
  /** Returns the text of an added token, if the vocabulary writes it differently. */
  readonly content?: (token: string) => string;
}
