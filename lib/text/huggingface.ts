/**
 * Tokenizers of @huggingface/tokenizers, with limited memory. The used parts of the package are declared here, because
 * its declarations are for ES modules only.
 */

import type { JsonObject } from '../io/json';
import type { BytePairModel } from './byte_pairs';
import { Realm } from './realm';
import { tokenizersSource } from './tokenizers_source';

/** Encoder from words, in the vocabulary's characters, to tokens. */
interface Model {
  (words: readonly string[]): string[];
  /** Ids by token and tokens by id, including added tokens. */
  readonly tokens_to_ids: { get(token: string): number | undefined };
  readonly vocab: readonly (string | undefined)[];
  readonly unk_token_id: number | undefined;
  readonly unk_token: string | undefined;
}

interface Inner {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  special_tokens: readonly string[];
  model: Model;
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
}

/** Decoder from runs of tokens to texts. Added tokens stay as they are. */
interface ByteLevelDecoder {
  readonly added_tokens: readonly { readonly content: string }[];
  convert_tokens_to_string(tokens: readonly string[]): string;
  decode_chain(tokens: readonly string[]): string[];
}

/** Encoder from a word to its pieces. */
interface Unigram {
  tokenize(word: string): string[];
  encode(words: readonly string[]): string[];
}

interface Tokenizers {
  readonly Tokenizer: new (tokenizer: object, config: object) => Inner;
  readonly Unigram: { readonly prototype: Unigram };
  readonly ByteLevelDecoder: { readonly prototype: ByteLevelDecoder };
}

/** Limit on the characters that a call may create: a constant, plus a number per input character or token. */
const CHARACTERS = { always: 1 << 24, each: 256 };

let realm: Realm<Tokenizers> | undefined;

function tokenizers(): Realm<Tokenizers> {
  if (realm !== undefined) return realm;
  const loaded = new Realm<Tokenizers>('@huggingface/tokenizers', tokenizersSource());
  loaded.exports.ByteLevelDecoder.prototype.decode_chain = function (tokens) {
    return decodeBytes(loaded, this, tokens);
  };
  // the package spreads the pieces of a word as call arguments, whose number is limited
  loaded.exports.Unigram.prototype.encode = function (words) {
    return words.flatMap((word) => this.tokenize(word));
  };
  realm = loaded;
  return loaded;
}

/** Decodes like the package, but with a set: the package scans all added tokens for each token. */
function decodeBytes(realm: Realm<Tokenizers>, decoder: ByteLevelDecoder, tokens: readonly string[]): string[] {
  const added = addedContents(decoder);
  const texts = realm.list<string>();
  let run = realm.list<string>();
  const end = () => {
    if (run.length > 0) texts.push(decoder.convert_tokens_to_string(run));
    run = realm.list();
  };
  for (const token of tokens) {
    if (!added.has(token)) run.push(token);
    else {
      end();
      texts.push(token);
    }
  }
  end();
  return texts;
}

const contents = new WeakMap<ByteLevelDecoder, ReadonlySet<string>>();

function addedContents(decoder: ByteLevelDecoder): ReadonlySet<string> {
  const known = contents.get(decoder) ?? new Set(decoder.added_tokens.map(({ content }) => content));
  contents.set(decoder, known);
  return known;
}

/** A tokenizer built from a description that {@link checkTokenizer} has checked. */
export class HuggingFaceTokenizer {
  readonly #realm = tokenizers();
  readonly #inner: Inner;
  readonly #special: ReadonlySet<string>;
  readonly #model: BytePairModel | undefined;

  /**
   * Builds the tokenizer. It throws plain errors and {@link LimitError}, as all methods do.
   *
   * @param model - encodes words instead of the package's byte-pair model, which is slower to build and to use
   */
  constructor(tokenizer: JsonObject, config: object, model?: BytePairModel) {
    const described = model
      ? { ...tokenizer, model: { ...(tokenizer.model as object), vocab: {}, merges: [] } }
      : tokenizer;
    // target_lang selects one of several vocabularies, but here there is only one
    this.#inner = new this.#realm.exports.Tokenizer(described, { ...config, target_lang: undefined });
    // the package scans a list of special tokens for each token
    this.#special = new Set(this.#inner.special_tokens);
    this.#inner.special_tokens = [];
    this.#model = model;
    if (model) this.#inner.model = modelFor(model, this.#inner.model);
  }

  /**
   * Encodes a text, with the special tokens around it if asked. Undefined stands for text that the vocabulary cannot
   * express.
   */
  encode(text: string, addSpecialTokens: boolean): (number | undefined)[] {
    const encode = () => this.#inner.encode(text, { add_special_tokens: addSpecialTokens }).ids;
    return this.#within(text, encode);
  }

  /** Normalizes a text. */
  normalize(text: string): string {
    const { normalizer } = this.#inner;
    return normalizer === null ? text : this.#within(text, () => normalizer(text));
  }

  /** Encodes a normalized text without added tokens. `first` tells whether it starts the whole text. */
  encodePart(text: string, first: boolean): number[] {
    const { pre_tokenizer: cut } = this.#inner;
    return this.#within(text, () =>
      this.#idsOf(cut === null ? this.#realm.list([text]) : cut(text, { section_index: first ? 0 : 1 })),
    );
  }

  #within<T>(text: string, work: () => T): T {
    return this.#realm.within(CHARACTERS.always + CHARACTERS.each * text.length, work);
  }

  /** Decodes ids, which must exist in the vocabulary. */
  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    const { length } = ids;
    const left = skipSpecialTokens ? ids.filter((id) => !this.#special.has(this.idToToken(id) as string)) : ids;
    if (left.length === 0) return '';
    const options = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: false };
    const decode = () => this.#inner.decode(this.#realm.list(left), options);
    return this.#realm.within(CHARACTERS.always + CHARACTERS.each * length, decode);
  }

  tokenToId(token: string): number | undefined {
    return this.#inner.token_to_id(token);
  }

  idToToken(id: number): string | undefined {
    return this.#inner.id_to_token(id);
  }

  /** Encodes a word in the vocabulary's characters. Parts that it cannot express give nothing. */
  encodeWord(word: string): number[] {
    return this.#idsOf([word]);
  }

  #idsOf(words: string[]): number[] {
    const ownModel = this.#model;
    if (ownModel) return words.flatMap((word) => ownModel.encode(word));
    const { model } = this.#inner;
    return model(words)
      .map((token) => this.tokenToId(token) ?? model.unk_token_id)
      .filter((id) => typeof id === 'number');
  }
}

/** Wraps a model in the package's interface. `added` is a model of the package that holds only the added tokens. */
function modelFor(model: BytePairModel, added: Model): Model {
  const { vocabulary, unknownId } = model;
  const vocab = [...vocabulary.tokens];
  added.vocab.forEach((token, id) => {
    vocab[id] = token;
  });
  const encode = (words: readonly string[]) =>
    words.flatMap((word) => model.encode(word).map((id) => vocabulary.tokens[id] as string));
  return Object.assign(encode, {
    tokens_to_ids: { get: (token: string) => added.tokens_to_ids.get(token) ?? vocabulary.idOf(token) },
    vocab,
    unk_token_id: unknownId,
    unk_token: added.unk_token,
  });
}
