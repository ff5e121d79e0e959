/** Tokenizers from the metadata of GGUF files, converted to the files of a Hugging Face folder. */

import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import type { JsonObject } from '../../io/json';
import { shorten } from '../../text/reason';
import type { TokenizerDescription } from '../../text/tokenizer_file';
import { byteLevelParts } from './byte_level';
import { sentencePieceParts } from './sentence_piece';
import { type GgufTokenizerParts, type GgufVocabulary, TOKEN_TYPES } from './vocabulary';

/** Tokens that end messages or texts in some models, in addition to the end-of-text token. */
const END_TOKENS = [
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
];

/** A tokenizer as a GGUF file describes it. */
export interface GgufTokenizer extends TokenizerDescription {
  /** tokenizer_config.json, with the chat template. */
  readonly config: JsonObject;
  /** generation_config.json: ids of the tokens that begin and end a text. */
  readonly generation: JsonObject;
  /**
   * Creates tokenizer.json with vocabulary and merges. This takes a second if many merges are derived. Throws
   * MBOK_FORMAT if there are far more merges than pieces.
   */
  file(): JsonObject;
}

/**
 * Reads a tokenizer from the metadata of a GGUF file: byte-level BPE (`tokenizer.ggml.model` 'gpt2') or SentencePiece
 * BPE ('llama').
 *
 * @param metadata - by key, as in the file: 'tokenizer.ggml.tokens', 'tokenizer.chat_template', …
 * @throws MbokError MBOK_UNSUPPORTED for other tokenizers and unknown rules for splitting words, MBOK_FORMAT for
 * entries that are missing, of the wrong type, or inconsistent
 */
export function readGgufTokenizer(metadata: Readonly<Record<string, unknown>>): GgufTokenizer {
  const reader = new MetadataReader(metadata);
  const vocabulary = readVocabulary(reader);
  const parts = readParts(reader.string('model'), vocabulary);
  const { tokens, type } = vocabulary;
  const special = (name: string) => {
    const id = reader.id(name, tokens.length);
    return id === undefined ? undefined : { id, content: tokens[id] as string };
  };
  const bos = special('bos_token_id');
  const eos = special('eos_token_id');
  const ends = [eos, special('eot_token_id'), special('eom_token_id')].map((token) => token?.id);
  for (const [id, token] of tokens.entries()) if (type(id) === 'control' && END_TOKENS.includes(token)) ends.push(id);

  const before = bos && (reader.boolean('add_bos_token') ?? parts.addsBos) ? bos : undefined;
  const after = eos && reader.boolean('add_eos_token') === true ? eos : undefined;
  const template = metadata['tokenizer.chat_template'];
  const { words, merges, listMerges } = parts;
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary, parts, metadata['general.architecture'] === 'phi3'),
    normalizer: parts.normalizer,
    pre_tokenizer: parts.preTokenizer,
    post_processor: postProcessor(before, after),
    decoder: parts.decoder,
    model: parts.model,
  };
  return {
    json,
    words,
    merges,
    mergeCount: vocabulary.merges.length,
    file: () => ({
      ...json,
      model: { ...parts.model, vocab: Object.fromEntries(words.entries()), merges: listMerges() },
    }),
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...(bos && { bos_token: bos.content }),
      ...(eos && { eos_token: eos.content }),
      ...named('unk_token', special('unknown_token_id')?.content),
      ...named('pad_token', special('padding_token_id')?.content),
      add_bos_token: before !== undefined,
      add_eos_token: after !== undefined,
      clean_up_tokenization_spaces: false,
      ...(typeof template === 'string' && { chat_template: template }),
    },
    generation: {
      ...(bos && { bos_token_id: bos.id }),
      eos_token_id: [...new Set(ends.filter((id) => id !== undefined))],
    },
  };
}

function named(key: string, value: string | undefined): JsonObject {
  return value === undefined ? {} : { [key]: value };
}

function readParts(model: string, vocabulary: GgufVocabulary): GgufTokenizerParts {
  if (model === 'gpt2') return byteLevelParts(vocabulary);
  if (model === 'llama') return sentencePieceParts(vocabulary);
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `the GGUF tokenizer '${shorten(model)}' is not supported; 'gpt2' (byte-level BPE) and 'llama' (SentencePiece BPE) are`,
  );
}

function readVocabulary(reader: MetadataReader): GgufVocabulary {
  const tokens = reader.strings('tokens');
  if (tokens === undefined || tokens.length === 0) reader.fail('tokens', 'a list of strings', tokens);
  const types = reader.numbers('token_type', tokens.length);
  const names = Object.keys(TOKEN_TYPES) as (keyof typeof TOKEN_TYPES)[];
  const unknown = reader.id('unknown_token_id', tokens.length);
  return {
    tokens,
    // old files have the undefined type 0
    type: (id) => names[Number(types?.[id] ?? TOKEN_TYPES.normal) - 1] ?? 'normal',
    scores: reader.numbers('scores', tokens.length),
    merges: reader.strings('merges') ?? [],
    pre: reader.optionalString('pre'),
    addsSpacePrefix: reader.boolean('add_space_prefix'),
    unknown: unknown === undefined ? undefined : tokens[unknown],
  };
}

/**
 * Lists the added tokens. `trims`: Phi-3's control tokens absorb the white space after them, except the three that
 * begin or end texts.
 */
function addedTokens({ tokens, type }: GgufVocabulary, { content }: GgufTokenizerParts, trims: boolean): JsonObject[] {
  return tokens.flatMap((token, id) => {
    const kind = type(id);
    const isAdded = kind === 'unknown' || kind === 'control' || kind === 'userDefined';
    if (!isAdded || token === '') return [];
    return [
      {
        id,
        content: kind === 'userDefined' && content ? content(token) : token,
        single_word: false,
        lstrip: false,
        rstrip: trims && kind === 'control' && !['<s>', '<unk>', '<|endoftext|>'].includes(token),
        normalized: false,
        special: kind !== 'userDefined',
      },
    ];
  });
}

interface SpecialToken {
  readonly id: number;
  readonly content: string;
}

function postProcessor(before: SpecialToken | undefined, after: SpecialToken | undefined): JsonObject | null {
  const around = [before, after].filter((token) => token !== undefined);
  if (around.length === 0) return null;
  const sequence = (id: 'A' | 'B', type: number) => [
    ...(before ? [{ SpecialToken: { id: before.content, type_id: type } }] : []),
    { Sequence: { id, type_id: type } },
    ...(after ? [{ SpecialToken: { id: after.content, type_id: type } }] : []),
  ];
  return {
    type: 'TemplateProcessing',
    single: sequence('A', 0),
    pair: [...sequence('A', 0), ...sequence('B', 1)],
    special_tokens: Object.fromEntries(
      around.map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  };
}

/** A reader for `tokenizer.ggml.*`. Its errors name the key. */
class MetadataReader {
  constructor(private readonly metadata: Readonly<Record<string, unknown>>) {}

  string(name: string): string {
    return this.optionalString(name) ?? this.fail(name, 'a string', undefined);
  }

  optionalString(name: string): string | undefined {
    const value = this.#get(name);
    return value === undefined || typeof value === 'string' ? value : this.fail(name, 'a string', value);
  }

  boolean(name: string): boolean | undefined {
    const value = this.#get(name);
    return value === undefined || typeof value === 'boolean' ? value : this.fail(name, 'true or false', value);
  }

  strings(name: string): readonly string[] | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    const fits = Array.isArray(value) && value.every((item) => typeof item === 'string');
    return fits ? (value as string[]) : this.fail(name, 'a list of strings', value);
  }

  /** Returns a list with one number per token. Throws MBOK_FORMAT. */
  numbers(name: string, length: number): ArrayLike<number> | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    const list = value as ArrayLike<number>;
    const isList = Array.isArray(value) || ArrayBuffer.isView(value);
    const isNumber = (item: unknown) => typeof item === 'number' && !Number.isNaN(item);
    if (!isList || list.length !== length || !Array.prototype.every.call(list, isNumber)) {
      this.fail(name, `a list of ${length} numbers, one a token`, value);
    }
    return list;
  }

  /** Returns the id of a token; undefined if the file has none. Throws MBOK_FORMAT. */
  id(name: string, limit: number): number | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    const id = Number(value);
    const isId = typeof value === 'number' || typeof value === 'bigint';
    // values that mean no token
    if (isId && (id === 0xffffffff || id === -1)) return undefined;
    if (!isId || !Number.isSafeInteger(id) || id < 0 || id >= limit) this.fail(name, `an id below ${limit}`, value);
    return id;
  }

  fail(name: string, wanted: string, value: unknown): never {
    const got = value === undefined ? 'nothing' : show(value);
    throw new MbokError('MBOK_FORMAT', `GGUF metadata 'tokenizer.ggml.${name}' must be ${wanted}, got ${got}`);
  }

  #get(name: string): unknown {
    return this.metadata[`tokenizer.ggml.${name}`] ?? undefined;
  }
}
