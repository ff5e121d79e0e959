/**
 * Tokenizers by @huggingface/tokenizers, within limits of memory. The parts of the package that are used are declared here,
 * because its own declarations are for ES modules only.
 */

import { Realm } from './realm';

/** From words, in the characters of the vocabulary, to tokens. */
type Model = ((words: string[]) => string[]) & { readonly unk_token_id: number | undefined };

interface Inner {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  special_tokens: readonly string[];
  readonly model: Model;
}

/** Gives texts for runs of tokens, and added tokens as they are. */
interface ByteLevelDecoder {
  readonly added_tokens: readonly { readonly content: string }[];
  convert_tokens_to_string(tokens: readonly string[]): string;
  decode_chain(tokens: readonly string[]): string[];
}

interface Tokenizers {
  readonly Tokenizer: new (tokenizer: object, config: object) => Inner;
  readonly ByteLevelDecoder: { readonly prototype: ByteLevelDecoder };
}

/** Characters that a call may make: in any case, and for each character or token that it is given. */
const CHARACTERS = { always: 1 << 24, each: 256 };

let realm: Realm<Tokenizers> | undefined;

function tokenizers(): Realm<Tokenizers> {
  if (realm !== undefined) return realm;
  const loaded = new Realm<Tokenizers>('@huggingface/tokenizers');
  loaded.exports.ByteLevelDecoder.prototype.decode_chain = function (tokens) {
    return decodeBytes(loaded, this, tokens);
  };
  realm = loaded;
  return loaded;
}

/** As the package does it, which looks through all added tokens for each token. */
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

/** A tokenizer built from the content of tokenizer.json and tokenizer_config.json, which {@link checkTokenizer} has checked. */
export class HuggingFaceTokenizer {
  readonly #realm = tokenizers();
  readonly #inner: Inner;
  readonly #special: ReadonlySet<string>;

  /** Throws plain errors and {@link LimitError}, as all methods do. */
  constructor(tokenizer: object, config: object) {
    // the language of a vocabulary that is several; vocabularies here are one
    this.#inner = new this.#realm.exports.Tokenizer(tokenizer, { ...config, target_lang: undefined });
    // the package looks through a list of them for each token
    this.#special = new Set(this.#inner.special_tokens);
    this.#inner.special_tokens = [];
  }

  /** Of a text with all that surrounds one. Undefined for what the vocabulary cannot express. */
  encode(text: string, addSpecialTokens: boolean): (number | undefined)[] {
    const encode = () => this.#inner.encode(text, { add_special_tokens: addSpecialTokens }).ids;
    return this.#realm.within(CHARACTERS.always + CHARACTERS.each * text.length, encode);
  }

  /** `ids`: of tokens that there are. */
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

  /** The ids of a word in the characters of the vocabulary; nothing for what that cannot express. */
  encodeWord(word: string): number[] {
    const { model } = this.#inner;
    return model([word])
      .map((token) => this.tokenToId(token) ?? model.unk_token_id)
      .filter((id) => id !== undefined);
  }
}
