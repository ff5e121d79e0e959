import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { boolean, options as checkOptions, integers, show, string } from '../base/validate';
import { warn } from '../base/warn';
import { MOST_VOCABULARY_BYTES, readFiles } from '../io/files';
import { decodeUtf8, isJsonObject, type JsonObject, parseJsonObject, readJson } from '../io/json';
import { TOKENIZER_FILE } from '../io/model_files';
import { AddedTokens } from './added_tokens';
import { bounded, limited } from './bounded';
import { bytePairModel } from './byte_pairs';
import { HuggingFaceTokenizer } from './huggingface';
import { reasonOf } from './reason';
import {
  checkTokenizer,
  type Entry,
  isLinearComponent,
  readTokenizer,
  type TokenizerDescription,
} from './tokenizer_file';
import { WordCache } from './word_cache';
import { type WordRule, wordRule } from './words';

/** Optional files with further settings: tokens around a text, and tokens that end it. */
const TOKENIZER_SETTINGS = ['tokenizer_config.json', 'generation_config.json', 'config.json'];

/** The transformers class that uses tokenizer.json unchanged. */
const GENERIC_CLASS = 'PreTrainedTokenizerFast';

/**
 * Time limits in milliseconds to build a tokenizer, encode a text and decode tokens: a constant, plus a time per
 * vocabulary entry, character and token. The slowest known tokenizers take 4, 4 and 1 µs for these.
 */
const TIME = { always: 100, build: 1e-2, encode: 8e-3, decode: 1e-2 };
/** Number of characters or tokens up to which linear work runs without a time limit. */
const UNWATCHED = 1 << 17;
/** Length of added tokens, in characters, up to which searching for them counts as linear. */
const LONGEST_ADDED = 256;
/**
 * Limit on the values of a tokenizer.json. The largest known ones have two million: 500 thousand merges as lists of two
 * strings.
 */
const MOST_VALUES = 2 ** 22;

/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /** Whether to add the tokens that the tokenizer puts around a text, e.g. a begin-of-text token. Default true. */
  readonly addSpecialTokens?: boolean | undefined;
}

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Whether to omit tokens such as `<|endoftext|>` from the text. Default false. */
  readonly skipSpecialTokens?: boolean | undefined;
}

/** Inputs of a tokenizer. */
export interface TokenizerParts {
  /** Content of tokenizer.json. */
  readonly description: TokenizerDescription;
  /** Content of tokenizer_config.json. */
  readonly config: JsonObject;
  /** Contents of generation_config.json and config.json, which may name further end tokens. */
  readonly others: readonly JsonObject[];
  /** Returns the bytes of tokenizer.json and tokenizer_config.json, for the fingerprint. */
  readonly files: () => readonly Uint8Array[];
  /** Path of tokenizer.json, for messages. */
  readonly place: string;
}

/** A tokenizer of a model folder, which converts text to token ids and back. */
export class Tokenizer {
  /** One more than the largest token id. */
  readonly vocabSize: number;
  /** The token that begins a text, if the model has one. */
  readonly bosTokenId: number | undefined;
  /** The tokens that end a text; generation stops at each of them. May be empty. */
  readonly eosTokenIds: readonly number[];
  /**
   * The token at the start of every training text (Gemma, LLaMA, Mistral); undefined if there is none. tokenizer.json
   * may put it first. Otherwise `add_bos_token` asks for it, if the tokenizer's class reads that setting.
   * PreTrainedTokenizerFast does not.
   */
  readonly startTokenId: number | undefined;

  readonly #place: string;
  /** Largest id of the model's vocabulary, without added tokens. */
  readonly #largestWord: number;
  readonly #inner: HuggingFaceTokenizer;
  readonly #words: WordCache | undefined;
  /** Added tokens that are cut out of the original text (plain), and of the normalized text between those. */
  readonly #added: { readonly plain: AddedTokens; readonly normalized: AddedTokens };
  readonly #prefix: readonly number[];
  readonly #suffix: readonly number[];
  /** Whether encoding and decoding take linear time. */
  readonly #isLinear: { readonly encode: boolean; readonly decode: boolean };
  #hasTold = false;
  /** Largest number of characters of one token. */
  readonly #maxCharacters: number;
  readonly #files: () => readonly Uint8Array[];
  #fingerprint: string | undefined;

  private constructor({ description, config, others, files, place }: TokenizerParts, added: readonly Entry[]) {
    this.#files = files;
    this.#place = place;
    const { json, words } = description;
    this.#inner = new HuggingFaceTokenizer(json, config, bytePairModel(description));
    this.#largestWord = words.tokens.length - 1;
    this.vocabSize = added.reduce((most, { id }) => Math.max(most, id), this.#largestWord) + 1;
    const idOf = (token: unknown) => {
      const content = isJsonObject(token) ? token.content : token;
      return typeof content === 'string' ? this.#inner.tokenToId(content) : undefined;
    };
    const idsOf = (name: string) => others.flatMap((other) => readIds(name, other[name]));
    // some settings name tokens of another vocabulary, e.g. GPT-2's by default
    const begins = idsOf('bos_token_id').filter((id) => id < this.vocabSize);
    this.bosTokenId = idOf(config.bos_token) ?? begins[0];
    const ends = [idOf(config.eos_token), ...idsOf('eos_token_id')];
    this.eosTokenIds = [...new Set(ends.filter((id) => id !== undefined))];

    const rule = wordRule(description);
    this.#words = rule && new WordCache(rule, (word) => this.#inner.encodeWord(word));
    const normalized = new AddedTokens(json, (text) => this.#normalize(text));
    this.#added = { plain: new AddedTokens(json), normalized };
    this.#isLinear = {
      encode: rule?.isLinear === true && this.#longestAdded <= LONGEST_ADDED,
      decode: isLinearComponent(json.decoder),
    };
    this.#maxCharacters = this.#countMaxCharacters(words.tokens, rule);
    const [prefix, suffix] = this.#surroundings();
    const bos = this.bosTokenId;
    const addsBos = config.add_bos_token === true && bos !== undefined && prefix[0] !== bos;
    this.#prefix = addsBos ? [bos, ...prefix] : prefix;
    this.#suffix = suffix;
    this.startTokenId = addsBos && config.tokenizer_class === GENERIC_CLASS ? prefix[0] : this.#prefix[0];
  }

  /**
   * Reads the tokenizer of a Hugging Face folder: tokenizer.json and, if they exist, tokenizer_config.json,
   * generation_config.json and config.json.
   *
   * @throws MbokError MBOK_IO if there is no tokenizer.json, MBOK_FORMAT if the tokenizer cannot be used
   */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    string('folder', folder);
    const files = await readFiles(folder, [TOKENIZER_FILE, ...TOKENIZER_SETTINGS]);
    if (!files.has(TOKENIZER_FILE)) await readJson(join(folder, TOKENIZER_FILE));
    return Tokenizer.fromFiles(files, folder);
  }

  /**
   * Creates the tokenizer of files in memory.
   *
   * @param files - contents by name: tokenizer.json, and optionally the other files that `fromFolder` reads
   * @param place - source of the files, for messages
   * @throws MbokError MBOK_FORMAT if the tokenizer cannot be used
   */
  static fromFiles(files: ReadonlyMap<string, Uint8Array>, place: string): Tokenizer {
    const parse = (name: string) => {
      const what = `'${join(place, name)}'`;
      const bytes = files.get(name);
      if (bytes === undefined) return undefined;
      if (bytes.length > MOST_VOCABULARY_BYTES) {
        throw new MbokError('MBOK_FORMAT', `${what} has ${bytes.length} bytes, more than ${MOST_VOCABULARY_BYTES}`);
      }
      return parseJsonObject(decodeUtf8(bytes, what), what, name === TOKENIZER_FILE ? MOST_VALUES : undefined);
    };
    const [config = {}, ...others] = TOKENIZER_SETTINGS.map(parse);
    const tokenizer = parse(TOKENIZER_FILE) ?? {};
    const path = join(place, TOKENIZER_FILE);
    const hashed = [TOKENIZER_FILE, TOKENIZER_SETTINGS[0] as string].map((name) => files.get(name) ?? new Uint8Array());
    return Tokenizer.fromParts({
      description: usable(path, () => readTokenizer(tokenizer)),
      config,
      others: others.filter((json) => json !== undefined),
      files: () => hashed,
      place: path,
    });
  }

  /** Creates a tokenizer like `fromFiles`, from a vocabulary that is not in a tokenizer.json. */
  static fromParts(parts: TokenizerParts): Tokenizer {
    const { description, place } = parts;
    return usable(place, () => {
      const added = checkTokenizer(description);
      const entries = description.words.size + added.length + description.mergeCount;
      return bounded(TIME.always + TIME.build * entries, 'building it', () => new Tokenizer(parts, added));
    });
  }

  /** Hash of the files that define how text becomes tokens. */
  get fingerprint(): string {
    if (this.#fingerprint === undefined) {
      const hash = createHash('sha256');
      for (const content of this.#files()) hash.update(content);
      this.#fingerprint = hash.digest('hex');
    }
    return this.#fingerprint;
  }

  /**
   * Id before every document of a corpus: the tokenizer's prefix if there is one. Otherwise it is `<|endoftext|>`,
   * which chat models know from pretraining, while their other special tokens delimit messages. The last choices are
   * the begin-of-text and end-of-text tokens.
   */
  get documentStartId(): number | undefined {
    return this.#prefix[0] ?? this.tokenToId('<|endoftext|>') ?? this.bosTokenId ?? this.eosTokenIds[0];
  }

  /**
   * Encodes a text. Added tokens written out in it (`<|endoftext|>`) become their ids. It warns once if a text starts
   * with the token that is put before it.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT if `text` is not a string, MBOK_FORMAT if the tokenizer takes more time or
   * memory than a text of this length needs
   */
  encode(text: string, options?: EncodeOptions): number[] {
    string('text', text, { allowEmpty: true });
    const { addSpecialTokens = true } = checkOptions('options', options, ['addSpecialTokens']);
    boolean('addSpecialTokens', addSpecialTokens);
    const plain = this.#limited('encode', text.length, () => this.#encode(text));
    if (!addSpecialTokens) return plain;
    this.tellRepeated(this.#prefix.at(-1), plain);
    return [...this.#prefix, ...plain, ...this.#suffix];
  }

  /**
   * Decodes token ids. Bytes that are not UTF-8 become U+FFFD. Spaces are not changed, even if
   * `clean_up_tokenization_spaces` is set.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT naming the first id outside the vocabulary, MBOK_FORMAT as `encode`
   */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string {
    const { skipSpecialTokens = false } = checkOptions('options', options, ['skipSpecialTokens']);
    boolean('skipSpecialTokens', skipSpecialTokens);
    const checked = Array.from(integers('ids', ids, 0, this.vocabSize - 1));
    // ids without a token give no text
    const known = checked.filter((id) => this.#inner.idToToken(id) !== undefined);
    return this.#limited('decode', known.length, () => this.#inner.decode(known, skipSpecialTokens));
  }

  /** @internal Warns once if a text starts with the token that is put before it, since models have never seen two. */
  tellRepeated(start: number | undefined, ids: readonly number[]): void {
    if (start === undefined || ids[0] !== start || this.#hasTold) return;
    this.#hasTold = true;
    const token = show(this.#inner.idToToken(start));
    warn(`${this.#place}: a text begins with the token ${token}, which is also put before it: the model sees it twice`);
  }

  /** @internal Returns a lower bound on the tokens of any text with this many characters (UTF-16 units), without encoding it. */
  fewestTokens(characters: number): number {
    return Math.ceil(characters / this.#maxCharacters);
  }

  /**
   * @internal
   * Checks the vocabulary against a model's. Added tokens past its end are accepted, and fail when they are used: Gemma
   * 3's text models still have those for images.
   *
   * @param size - rows of the embedding
   * @param place - source of the tokenizer, for messages
   * @throws MbokError MBOK_SHAPE if the vocabulary is larger than the embedding
   */
  expectWithin(size: number, place: string): void {
    if (this.#largestWord < size) return;
    throw new MbokError(
      'MBOK_SHAPE',
      `${place}: the tokenizer's vocabulary has the id ${this.#largestWord}, but the embedding only ${size} rows`,
    );
  }

  /** Returns the id of a token, spelled as in the vocabulary, or undefined. */
  tokenToId(token: string): number | undefined {
    return this.#inner.tokenToId(token);
  }

  #encode(text: string): number[] {
    const { plain, normalized } = this.#added;
    const ids: number[] = [];
    for (const [index, part] of plain.split(text).entries()) {
      if (typeof part === 'number') ids.push(part);
      else {
        for (const [at, piece] of normalized.split(this.#normalize(part)).entries()) {
          if (typeof piece === 'number') ids.push(piece);
          else for (const id of this.#encodePiece(piece, index + at === 0)) ids.push(id);
        }
      }
    }
    return ids;
  }

  #normalize(text: string): string {
    return this.#words ? this.#words.normalize(text) : this.#inner.normalize(text);
  }

  #encodePiece(text: string, first: boolean): number[] {
    return this.#words ? this.#words.encode(text, first) : this.#inner.encodePart(text, first);
  }

  /** Length of the longest added token, in characters. */
  get #longestAdded(): number {
    return Math.max(this.#added.plain.longest, this.#added.normalized.longest);
  }

  #encodeAll(text: string, addSpecialTokens: boolean): number[] {
    // drop characters that the vocabulary cannot express, if there is no unknown token
    return this.#inner.encode(text, addSpecialTokens).filter((id) => typeof id === 'number');
  }

  /**
   * Runs `work` within the limits. `length` is that of the text in characters, or of the list of tokens. Throws
   * MBOK_FORMAT beyond the limits.
   */
  #limited<T>(action: 'encode' | 'decode', length: number, work: () => T): T {
    const what = `'${this.#place}': to ${action} ${length} ${action === 'encode' ? 'characters' : 'tokens'}`;
    try {
      if (this.#isLinear[action] && length <= UNWATCHED) return limited(what, work);
      return bounded(TIME.always + TIME[action] * length, what, work);
    } catch (cause) {
      if (cause instanceof MbokError) throw cause;
      // fields of the file that the package misinterprets
      throw new MbokError('MBOK_FORMAT', `${what} fails: ${reasonOf(cause)}`, { cause });
    }
  }

  #countMaxCharacters(words: readonly (string | undefined)[], rule: WordRule | undefined): number {
    const isComplete = rule?.alphabet.every((token) => this.tokenToId(token) !== undefined);
    if (!rule || !isComplete || this.#added.plain.takesSpace || this.#added.normalized.takesSpace) return Infinity;
    return rule.shortens * words.reduce((most, token = '') => Math.max(most, token.length), this.#longestAdded);
  }

  /** Finds the tokens put before and after a text, by encoding one letter with and without them. */
  #surroundings(): [number[], number[]] {
    const plain = this.#encodeAll('a', false);
    const full = this.#encodeAll('a', true);
    const at = full.findIndex((_, start) => plain.every((id, i) => full[start + i] === id));
    const prefix = full.slice(0, Math.max(at, 0));
    const suffix = at < 0 ? [] : full.slice(at + plain.length);
    return [prefix, suffix];
  }
}

/** Runs `work`. Its errors become MBOK_FORMAT: the tokenizer of the file cannot be used. */
function usable<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new MbokError('MBOK_FORMAT', `'${place}' cannot be used: ${reasonOf(cause)}`, { cause });
  }
}

/** Reads an id or a list of ids from settings. Null and negative ids mean none. */
function readIds(name: string, value: unknown): number[] {
  return [value ?? []].flat().flatMap((id) => {
    if (Number.isSafeInteger(id)) return (id as number) < 0 ? [] : [id as number];
    throw new MbokError('MBOK_FORMAT', `'${name}' must be the id of a token or a list of ids, got ${show(value)}`);
  });
}
