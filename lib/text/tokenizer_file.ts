/** The content of a tokenizer.json, checked before anything is built from it: sizes, type names and above all ids. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { isJsonObject, type JsonObject } from '../io/json';
import type { Merges } from './merge_table';
import { type Merge, MergeTable } from './merge_table';
import { Vocabulary } from './vocabulary';

/** Longest token in characters. The longest known one has 512. */
const LONGEST_TOKEN = 4096;
/** Longest text before, between or after words, in characters. */
const LONGEST_AFFIX = 32;
/** Longest other text in the description of a component, such as a regular expression, in characters. */
const LONGEST_TEXT = 1 << 16;
/** Nesting depth of components and their settings. */
const DEEPEST = 16;
/** Limit on objects and lists in the description of a component. Templates of special tokens have the most. */
const MOST_PARTS = 4096;
/** Limit on the steps of a component that runs without a time limit. */
const MOST_STEPS = 16;
/** Limit on ids: a constant, plus a number per token. Tables have one entry per id, so ids must not be sparse. */
const IDS = { always: 1 << 16, each: 8 };
/** Limit on the characters of all added tokens; common prefixes of neighbors in sort order count once. */
const MOST_ADDED_CHARACTERS = 1 << 20;

const MODELS = ['BPE', 'WordPiece', 'Unigram', 'WordLevel'];
const COMPONENTS = ['normalizer', 'pre_tokenizer', 'decoder', 'post_processor'];

/** A token and its id. */
export interface Entry {
  readonly token: string;
  readonly id: number;
}

/** The content of a tokenizer.json. Vocabulary and merges, which are its largest parts, are separate. */
export interface TokenizerDescription {
  /** Everything except the model's vocabulary and merges, which may be absent here. */
  readonly json: JsonObject;
  /** Tokens of the model. */
  readonly words: Vocabulary;
  /** Merges of a byte-pair model that {@link BytePairModel} can encode with. */
  readonly merges: Merges | undefined;
  /** Number of merges in the file. */
  readonly mergeCount: number;
}

/**
 * Reads a tokenizer.json.
 *
 * @throws MbokError MBOK_FORMAT naming the first invalid entry
 */
export function readTokenizer(json: JsonObject): TokenizerDescription {
  const { vocab, merges: given, ...settings } = checkComponents(json);
  const isBytePair = settings.type === 'BPE';
  const merges = isBytePair ? readMerges(given) : [];
  const words = readWords(vocab, json.added_tokens);
  const { unk_id: unknown } = settings;
  if (unknown !== undefined && unknown !== null && words.tokens[unknown as number] === undefined) {
    wrong('model.unk_id', 'the id of a token', unknown);
  }
  if (!isBytePair || settings.continuing_subword_prefix || settings.continuing_subword_suffix) {
    return { json, words, merges: undefined, mergeCount: merges.length };
  }
  const table = new MergeTable('model.merges', merges, words);
  return { json: { ...json, model: settings }, words, merges: table, mergeCount: merges.length };
}

/**
 * Checks the parts that all descriptions have.
 *
 * @returns the added tokens, in the order of the file
 * @throws MbokError MBOK_FORMAT naming the first invalid entry
 */
export function checkTokenizer({ json, words }: TokenizerDescription): readonly Entry[] {
  checkComponents(json);
  const added = readAdded(json.added_tokens);
  const limit = idLimit(words.size + added.length);
  for (const [token, id] of words.entries()) checkEntry(token, id, limit);
  for (const { token, id } of added) checkEntry(token, id, limit);
  const contents = new Set(added.map(({ token }) => token));
  checkTemplates(json.post_processor, (token) => contents.has(token) || words.idOf(token) !== undefined);
  return added;
}

/** Checks the components and returns the settings of the model. */
function checkComponents(json: JsonObject): JsonObject {
  for (const name of COMPONENTS) new ComponentCheck(name).check(json[name] ?? null);
  const model = isJsonObject(json.model) ? json.model : wrong('model', 'an object', json.model);
  if (model.type !== undefined && !MODELS.includes(model.type as string)) {
    wrong('model.type', `one of ${MODELS.join(', ')}`, model.type);
  }
  for (const name of ['continuing_subword_prefix', 'continuing_subword_suffix', 'end_of_word_suffix']) {
    text(`model.${name}`, model[name] ?? '', LONGEST_AFFIX);
  }
  text('model.unk_token', model.unk_token ?? '', LONGEST_TOKEN);
  return model;
}

/** Tells whether a component takes linear time: it has few steps, and no regular expressions from the file. */
export function isLinearComponent(component: unknown): boolean {
  let steps = 0;
  const hasExpression = (value: unknown): boolean => {
    if (typeof value !== 'object' || value === null) return false;
    if ('type' in value) steps++;
    return 'Regex' in value || Object.values(value).some(hasExpression);
  };
  return !hasExpression(component) && steps <= MOST_STEPS;
}

/** Reads a vocabulary: ids by token, or a list of tokens with scores whose ids are their indices. */
function readWords(vocabulary: unknown, added: unknown): Vocabulary {
  if (Array.isArray(vocabulary)) {
    const tokens = vocabulary.map((piece: unknown, id) => {
      const fits = Array.isArray(piece) && typeof piece[0] === 'string' && Number.isFinite(piece[1]);
      return fits ? (piece[0] as string) : wrong(`model.vocab[${id}]`, 'a token with its score', piece);
    });
    return new Vocabulary(tokens);
  }
  if (!isJsonObject(vocabulary)) wrong('model.vocab', 'an object or a list', vocabulary);
  const tokens = Object.keys(vocabulary);
  const limit = idLimit(tokens.length + readAdded(added).length);
  const ids = tokens.map((token) => checkEntry(token, vocabulary[token], limit));
  return new Vocabulary(tokens, ids);
}

function readMerges(merges: unknown): readonly Merge[] {
  if (!Array.isArray(merges)) wrong('model.merges', 'a list', merges);
  const isToken = (part: unknown) => typeof part === 'string';
  const fits = (merge: unknown) =>
    isToken(merge) || (Array.isArray(merge) && merge.length === 2 && merge.every(isToken));
  const index = merges.findIndex((merge) => !fits(merge));
  if (index >= 0) wrong(`model.merges[${index}]`, 'two tokens', merges[index]);
  return merges as readonly Merge[];
}

function readAdded(tokens: unknown): Entry[] {
  if (!Array.isArray(tokens)) wrong('added_tokens', 'a list', tokens);
  const added = tokens.map((entry: unknown, index) => {
    if (!isJsonObject(entry)) wrong(`added_tokens[${index}]`, 'an object', entry);
    const token = text(`added_tokens[${index}].content`, entry.content, LONGEST_TOKEN);
    const { id } = entry;
    return { token, id: typeof id === 'number' ? id : wrong(`added_tokens[${index}].id`, 'an integer', id) };
  });
  let before = '';
  let characters = 0;
  for (const token of added.map((entry) => entry.token).sort()) {
    characters += token.length - commonLength(before, token);
    before = token;
  }
  if (characters > MOST_ADDED_CHARACTERS) {
    wrong('added_tokens', `of at most ${MOST_ADDED_CHARACTERS} characters together`, characters);
  }
  return added;
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

/** Returns the exclusive limit on ids for this number of tokens. */
function idLimit(tokens: number): number {
  return IDS.always + IDS.each * tokens;
}

/** Checks a token and its id, and returns the id. */
function checkEntry(token: string, id: unknown, limit: number): number {
  text('a token of model.vocab', token, LONGEST_TOKEN);
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < limit) return id;
  return wrong(`id of the token ${show(token)}`, `an integer from 0 to ${limit - 1}`, id);
}

/** Checks that templates name existing tokens, and the text exactly once. */
function checkTemplates(processor: unknown, isToken: (token: string) => boolean): void {
  if (!isJsonObject(processor)) return;
  if (Array.isArray(processor.processors)) for (const part of processor.processors) checkTemplates(part, isToken);
  if (processor.type !== 'TemplateProcessing') return;
  const { single } = processor;
  if (!Array.isArray(single)) wrong('post_processor.single', 'a list', single);
  const texts = single.filter((item) => isJsonObject(item) && isJsonObject(item.Sequence));
  if (texts.length !== 1) wrong('post_processor.single', 'a template with one text', `${texts.length} texts`);
  for (const item of single) {
    const special: unknown = isJsonObject(item) ? item.SpecialToken : undefined;
    if (special === undefined) continue;
    const id = isJsonObject(special) ? special.id : undefined;
    if (typeof id !== 'string' || !isToken(id)) wrong('post_processor.single', 'a template of known tokens', id);
  }
}

/** A check of the description of one component, which may be a sequence of others. */
class ComponentCheck {
  #parts = 0;

  constructor(readonly name: string) {}

  check(value: unknown, place = this.name, depth = 0): void {
    if (typeof value === 'string') {
      // a base64 table, which is not used
      if (!place.endsWith('.precompiled_charsmap')) text(place, value, LONGEST_TEXT);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    if (depth > DEEPEST) wrong(place, `nested in at most ${DEEPEST} others`, value);
    this.#parts++;
    if (this.#parts > MOST_PARTS) wrong(this.name, `of at most ${MOST_PARTS} parts`, value);
    if (isJsonObject(value)) checkSettings(value, place);
    for (const [key, part] of Object.entries(value)) this.check(part, `${place}.${key}`, depth + 1);
  }
}

/** Checks settings that would otherwise be misread or ignored. */
function checkSettings({ type, ...settings }: JsonObject, place: string): void {
  if (type === 'Prepend') text(`${place}.prepend`, settings.prepend, LONGEST_AFFIX);
  if (type === 'Replace') text(`${place}.content`, settings.content, LONGEST_TEXT);
  if (type === 'Metaspace') {
    for (const name of ['replacement', 'str_rep']) text(`${place}.${name}`, settings[name] ?? '', LONGEST_AFFIX);
  }
  if (type === 'FixedLength' && !(Number.isInteger(settings.length) && (settings.length as number) > 0)) {
    wrong(`${place}.length`, 'an integer of at least 1', settings.length);
  }
  if (type === 'Replace' || type === 'Split') {
    const pattern: JsonObject = isJsonObject(settings.pattern) ? settings.pattern : {};
    text(`${place}.pattern`, pattern.Regex ?? pattern.String, LONGEST_TEXT);
  }
}

function text(place: string, value: unknown, longest: number): string {
  if (typeof value !== 'string') return wrong(place, 'a string', value);
  if (value.length <= longest) return value;
  return wrong(place, `a string of at most ${longest} characters`, `${value.length} characters`);
}

function wrong(place: string, wanted: string, value: unknown): never {
  throw new MbokError('MBOK_FORMAT', `${place} must be ${wanted}, got ${show(value)}`);
}
