/** Generator of tokenizers: valid ones with changes, and ones of hostile parts, with texts that are hard for them. */

import { StreamDecoder } from '../../lib/text/stream';
import { Tokenizer } from '../../lib/text/tokenizer';
import { tokenizerFiles } from '../helpers/gguf_tokenizers';
import type { Draw } from './draw';
import {
  changeBytes,
  changeJson,
  hostileString,
  hostileValue,
  type Json,
  JsonMap,
  jsonMap,
  writeJson,
} from './hostile';
import {
  addedTokens,
  decoder,
  GGUF_METADATA,
  HONEST,
  hardText,
  model,
  normalizer,
  postProcessor,
  preTokenizer,
} from './tokenizer_parts';
import type { FuzzCase, Generator, Trial } from './trial';

const PARTS: Readonly<Record<string, (draw: Draw) => Json>> = {
  normalizer,
  pre_tokenizer: preTokenizer,
  post_processor: postProcessor,
  decoder,
  model,
  added_tokens: addedTokens,
};

export const tokenizers: Generator = {
  make(draw) {
    if (draw.chance(0.1)) return fromGguf(draw);
    const kind = draw.pick(Object.keys(HONEST));
    const json = (HONEST[kind] as () => JsonMap)();
    const { label, tokenizer } = draw.pick([withPart, withPart, withPart, withPart, changed, withParts, torn])(
      draw,
      json,
    );
    return caseOf(draw, label, { 'tokenizer.json': tokenizer, 'tokenizer_config.json': settings(draw) });
  },
};

interface Made {
  readonly label: string;
  readonly tokenizer: string | Uint8Array;
}

/** Puts one hostile part into a valid tokenizer. */
function withPart(draw: Draw, json: JsonMap): Made {
  const name = draw.pick(Object.keys(PARTS));
  return { label: name, tokenizer: writeJson(json.set(name, (PARTS[name] as (draw: Draw) => Json)(draw))) };
}

function withParts(draw: Draw, json: JsonMap): Made {
  for (const [name, make] of Object.entries(PARTS)) if (draw.chance(0.4)) json.set(name, make(draw));
  return { label: 'several parts', tokenizer: writeJson(json) };
}

function changed(draw: Draw, json: JsonMap): Made {
  return { label: 'changed', tokenizer: writeJson(changeJson(draw, json)) };
}

function torn(draw: Draw, json: JsonMap): Made {
  return { label: 'changed bytes', tokenizer: changeBytes(draw, Buffer.from(writeJson(json))) };
}

/** Creates the content of tokenizer_config.json. */
function settings(draw: Draw): string {
  const config = jsonMap({ bos_token: '<s>', eos_token: { content: '</s>' }, add_bos_token: draw.chance(0.3) });
  if (draw.chance(0.1)) config.set('added_tokens_decoder', new JsonMap([[hostileString(draw), hostileValue(draw)]]));
  if (draw.chance(0.05)) config.set('target_lang', hostileValue(draw));
  if (draw.chance(0.02)) config.set('additional_special_tokens', hostileValue(draw));
  if (draw.chance(0.1)) config.set('tokenizer_class', draw.pick(['T5Tokenizer', 'BertTokenizer', 'constructor', 'x']));
  return writeJson(draw.chance(0.1) ? changeJson(draw, config) : config);
}

function fromGguf(draw: Draw): FuzzCase {
  const metadata = draw.chance(0.8) ? changeJson(draw, jsonMap(draw.pick(GGUF_METADATA))) : new JsonMap([]);
  return caseOf(draw, 'GGUF metadata', { 'metadata.json': writeJson(metadata) });
}

type Files = Readonly<Record<string, string | Uint8Array>>;

function caseOf(draw: Draw, label: string, files: Files): FuzzCase {
  const texts = [
    ...draw.several(1, 3, () => hardText(draw)),
    // texts that the tokenizer may search for: pieces of its file
    sample(draw, String(files['tokenizer.json'] ?? '')),
  ];
  const ids = draw.several(0, 200, () => draw.integer(0, 1000));
  /** Whether to decode also ids outside the vocabulary. */
  const outside = draw.chance(0.05);
  const bytes = Object.values(files).reduce((sum, content) => sum + content.length, 0);
  return {
    label,
    files: { ...files, 'texts.json': JSON.stringify(texts) },
    try: async (trial) => {
      const contents = await read(trial, files, bytes);
      const tokenizer =
        contents && (await trial.call('fromFiles', bytes, () => Tokenizer.fromFiles(contents, 'model')));
      if (tokenizer === undefined) return;
      const { vocabSize, bosTokenId, eosTokenIds } = tokenizer;
      const isId = (id: number | undefined) => Number.isSafeInteger(id) && (id as number) >= 0;
      if (!isId(vocabSize)) trial.wrong('fromFiles', 'a vocabulary size that is no count');
      if (bosTokenId !== undefined && !isId(bosTokenId)) trial.wrong('fromFiles', 'a begin token that is no id');
      if (!eosTokenIds.every(isId)) trial.wrong('fromFiles', 'an end token that is no id');
      await trial.call('expectWithin', bytes, () => tokenizer.expectWithin(1000, 'model'));
      for (const [index, text] of texts.entries()) await tryText(trial, tokenizer, text, index);
      const known = ids.map((id) => id % vocabSize);
      await tryIds(trial, tokenizer, outside ? ids : known, texts.length);
      await tryStream(trial, tokenizer, known.slice(0, 20));
    },
  };
}

/** Returns the files as bytes; without files it converts a GGUF file's metadata. */
async function read(trial: Trial, files: Files, bytes: number): Promise<Map<string, Uint8Array> | undefined> {
  let contents = Object.entries(files);
  const metadata = files['metadata.json'];
  if (metadata !== undefined) {
    const entries = parsed(String(metadata));
    const made = entries && (await trial.call('tokenizerFiles', bytes, () => tokenizerFiles(entries)));
    if (made === undefined) return undefined;
    contents = [
      ['tokenizer.json', JSON.stringify(made.tokenizer)],
      ['tokenizer_config.json', JSON.stringify(made.config)],
    ];
  }
  return new Map(contents.map(([name, content]) => [name, Buffer.from(content)]));
}

/** Parses metadata and adds the prefix of their keys. Returns undefined if the text is not a JSON object. */
function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const values: unknown = JSON.parse(text);
    if (typeof values !== 'object' || values === null) return undefined;
    const entries = Object.entries(values).filter(([, value]) => canBeMetadata(value));
    return Object.fromEntries(entries.map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
  } catch {
    return undefined;
  }
}

/** Tells whether GGUF can represent the value: numbers, texts, Booleans and lists of these. */
function canBeMetadata(value: unknown): boolean {
  return Array.isArray(value) ? value.flat(1000).every((item) => typeof item !== 'object') : typeof value !== 'object';
}

/** Encodes and decodes a text; `index` selects the options. */
async function tryText(trial: Trial, tokenizer: Tokenizer, text: string, index: number): Promise<void> {
  const { vocabSize } = tokenizer;
  const addSpecialTokens = index % 2 === 0;
  const ids = await trial.call('encode', text.length, () => tokenizer.encode(text, { addSpecialTokens }));
  if (ids === undefined) return;
  if (ids.some((id) => !Number.isSafeInteger(id) || id < 0 || id >= vocabSize)) {
    trial.wrong('encode', 'an id outside of the vocabulary');
    return;
  }
  await tryIds(trial, tokenizer, ids, index);
}

async function tryIds(trial: Trial, tokenizer: Tokenizer, ids: readonly number[], index: number): Promise<void> {
  const skipSpecialTokens = index % 4 < 2;
  const text = await trial.call('decode', 8 * ids.length, () => tokenizer.decode(ids, { skipSpecialTokens }));
  if (text !== undefined && typeof text !== 'string') trial.wrong('decode', `gave a ${typeof text}`);
}

/** Decodes token by token. */
async function tryStream(trial: Trial, tokenizer: Tokenizer, ids: readonly number[]): Promise<void> {
  const stream = new StreamDecoder(tokenizer);
  for (const id of ids) {
    if ((await trial.call('StreamDecoder.push', 8, () => stream.push(id))) === undefined) return;
  }
  await trial.call('StreamDecoder.flush', 8, () => stream.flush());
}

/** Returns a piece of a text. */
function sample(draw: Draw, text: string): string {
  const at = draw.integer(0, text.length);
  return text.slice(at, at + draw.size(2000));
}
