/**
 * The part of @huggingface/tokenizers that is used. Declared here because that package's own declarations are for ES
 * modules only, while it ships a CommonJS build too.
 */

/** A tokenizer built from the content of tokenizer.json and tokenizer_config.json. */
export interface HuggingFaceTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_vocab(withAddedTokens: boolean): Map<string, number>;
  /** From words, in the characters of the vocabulary, to tokens. */
  readonly model: ((words: string[]) => string[]) & { readonly unk_token_id: number | undefined };
}

export const { Tokenizer: HuggingFaceTokenizer } = require('@huggingface/tokenizers') as {
  Tokenizer: new (tokenizer: object, config: object) => HuggingFaceTokenizer;
};
