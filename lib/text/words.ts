/** How a tokenizer.json cuts texts into words that are encoded independently of one another. */

import { isJsonObject, type JsonObject } from '../io/json';
import { isKnownPattern, PATTERNS } from './known_patterns';
import type { TokenizerDescription } from './tokenizer_file';
import { compilePattern } from './word_pattern';

/** From a text to the words that a byte-pair model sees. */
export interface WordRule {
  /** What is encoded instead of a text. */
  normalize(text: string): string;
  /** The words of a normalized text; `first`: whether a text begins there, rather than after an added token. */
  split(text: string, first: boolean): readonly string[];
  /** A word in the characters of the vocabulary. */
  spell(word: string): string;
  /** Tokens that can express every text together. */
  readonly alphabet: readonly string[];
  /** Whether words are cut in time in proportion to the text, whatever the text: expressions of unknown files may not. */
  readonly isLinear: boolean;
  /** Characters of a text that may become one of what is encoded, at most. */
  readonly shortens: number;
}

/** GPT-2's words: contractions, letters, digits, signs, each with a space before it, and runs of white space. */
const GPT2 = compilePattern(PATTERNS.gpt2) as RegExp;

/** SentencePiece's sign for a space. */
export const SPACE = '\u2581';

type Normalize = WordRule['normalize'];
/** What is done to a normalized text before it is cut; `first` as in {@link WordRule.split}. */
type Prepare = (text: string, first: boolean) => string;
interface Normalizer {
  readonly normalize: Normalize;
  readonly shortens: number;
}
type Cut = (text: string) => readonly string[];

/** How many times as long a text may become. */
const MOST_GROWTH = 8;
/** Steps, one after the other, of normalizing or cutting. */
const MOST_STEPS = 16;
/** Characters that NFC makes one, at most. */
const COMPOSED = 4;

/**
 * The rule of a tokenizer.json; undefined where its words depend on one another or are cut in a way that is not known here.
 * Known are byte-level byte-pair encodings that cut by patterns (GPT-2, LLaMA 3, Qwen, …) and byte-pair encodings made
 * from SentencePiece (LLaMA 1 and 2, Gemma, …) whose pieces have spaces only at their beginning.
 */
export function wordRule({ json, words }: TokenizerDescription): WordRule | undefined {
  const { normalizer, pre_tokenizer: pre, model } = json;
  if (!isJsonObject(model) || model.type !== 'BPE') return undefined;
  const normalize = readNormalizer(normalizer ?? null);
  if (normalize === undefined) return undefined;
  const parts = listOf(pre, 'pretokenizers');
  if (parts.at(-1)?.type === 'ByteLevel') return byteLevelRule(normalize, parts);
  return model.byte_fallback === true ? spaceRule(normalize, parts, words.tokens) : undefined;
}

/** A component that may be a sequence of others. */
function listOf(component: unknown, key: string): JsonObject[] {
  if (!isJsonObject(component)) return [];
  const parts = component.type === 'Sequence' ? component[key] : [component];
  return Array.isArray(parts) ? parts.filter(isJsonObject) : [];
}

function readNormalizer(normalizer: unknown): Normalizer | undefined {
  let growth = 1;
  let shortens = 1;
  const steps = listOf(normalizer, 'normalizers').map((step): Normalize | undefined => {
    const { type, prepend, pattern, content } = step;
    if (type === 'NFC') {
      shortens *= COMPOSED;
      return (text) => text.normalize('NFC');
    }
    if (type === 'Prepend' && typeof prepend === 'string') {
      growth += prepend.length;
      return (text) => (text === '' ? text : prepend + text);
    }
    const from = isJsonObject(pattern) ? pattern.String : undefined;
    if (type !== 'Replace' || typeof from !== 'string' || from === '' || typeof content !== 'string') return undefined;
    growth *= Math.max(1, content.length / from.length);
    shortens *= Math.max(1, from.length / content.length);
    // a function, since `$&` would stand for what was found
    return (text) => text.replaceAll(from, () => content);
  });
  if (growth > MOST_GROWTH || steps.length > MOST_STEPS || steps.some((step) => step === undefined)) return undefined;
  const normalize: Normalize = (text) => (steps as Normalize[]).reduce((result, step) => step(result), text);
  return { normalize, shortens };
}

function byteLevelRule(normalizer: Normalizer, parts: readonly JsonObject[]): WordRule | undefined {
  const cuts = parts.map(readCut);
  if (cuts.some((cut) => cut === undefined)) return undefined;
  const isLinear = parts.length <= MOST_STEPS && parts.every(isLinearCut);
  const split = (text: string) => (cuts as Cut[]).reduce<readonly string[]>(cutEach, [text]);
  return { ...normalizer, split, spell: spellBytes, alphabet: BYTE_CHARACTERS, isLinear };
}

function cutEach(texts: readonly string[], cut: Cut): readonly string[] {
  if (texts.length === 1) return cut(texts[0] as string);
  const words: string[] = [];
  for (const text of texts) for (const word of cut(text)) words.push(word);
  return words;
}

function readCut({ type, ...part }: JsonObject): Cut | undefined {
  switch (type) {
    case 'ByteLevel':
      if (part.add_prefix_space === true) return undefined;
      return part.use_regex === false ? (text) => [text] : isolate(GPT2);
    case 'Digits':
      return isolate(part.individual_digits === true ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu);
    case 'Split': {
      const { pattern, behavior, invert } = part;
      const source = isJsonObject(pattern) ? pattern.Regex : undefined;
      const compiled = typeof source === 'string' ? compilePattern(source) : undefined;
      if (compiled === undefined || typeof behavior !== 'string') return undefined;
      if (behavior.toLowerCase() === 'isolated' && invert !== true) return isolate(compiled);
      // what does not match would be lost: only patterns that match everything are written so
      if (behavior.toLowerCase() === 'removed' && invert === true) return (text) => text.match(compiled) ?? [];
      return undefined;
    }
    default:
      return undefined;
  }
}

function isLinearCut({ type, pattern }: JsonObject): boolean {
  return type !== 'Split' || (isJsonObject(pattern) && isKnownPattern(pattern.Regex));
}

/** Every match is a word, and so is what lies between two. */
function isolate(pattern: RegExp): Cut {
  return (text) => {
    // most patterns match everything, and this is several times faster than asking where each match lies
    const matches = text.match(pattern) ?? [];
    if (matches.reduce((sum, { length }) => sum + length, 0) === text.length) return matches;
    const words: string[] = [];
    let end = 0;
    for (const { 0: match, index } of text.matchAll(pattern)) {
      if (index > end) words.push(text.slice(end, index));
      if (match !== '') words.push(match);
      end = index + match.length;
    }
    if (end < text.length) words.push(text.slice(end));
    return words;
  };
}

/** Where no piece has a space after another character, nothing is ever merged across the beginning of a run of spaces. */
function spaceRule(
  { normalize, shortens }: Normalizer,
  parts: readonly JsonObject[],
  pieces: readonly (string | undefined)[],
): WordRule | undefined {
  let prepare: Prepare | undefined = (text) => text;
  for (const part of parts) prepare = readSpacePart(normalize, prepare, part);
  const inner = new RegExp(`[^${SPACE}]${SPACE}`);
  if (
    prepare === undefined ||
    prepare(normalize('a b'), true).includes(' ') ||
    pieces.some((piece) => inner.test(piece ?? ''))
  ) {
    return undefined;
  }
  const words = new RegExp(`${SPACE}*[^${SPACE}]+|${SPACE}+`, 'g');
  const split = (text: string, first: boolean) => prepare(text, first).match(words) ?? [];
  return { normalize, split, spell: (word) => word, alphabet: BYTE_TOKENS, isLinear: true, shortens };
}

function readSpacePart(normalize: Normalize, prepare: Prepare | undefined, part: JsonObject): Prepare | undefined {
  if (prepare === undefined) return undefined;
  // Gemma's: cuts at spaces, of which its normalizer leaves none
  const cutsAtSpaces = part.type === 'Split' && isJsonObject(part.pattern) && part.pattern.String === ' ';
  if (cutsAtSpaces) return prepare(normalize(' '), true).includes(' ') ? undefined : prepare;
  if (part.type !== 'Metaspace' || part.replacement !== SPACE || part.split !== false) return undefined;
  const scheme = part.prepend_scheme ?? 'always';
  return (text, first) => {
    const spaced = prepare(text, first).replaceAll(' ', SPACE);
    const prepends = scheme === 'always' || (scheme === 'first' && first);
    return prepends && !spaced.startsWith(SPACE) ? SPACE + spaced : spaced;
  };
}

/** Bytes as GPT-2 writes them: those that print stand for themselves, the others for characters from U+0100 on. */
const BYTE_CHARACTERS = (() => {
  let next = 256;
  const prints = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++));
})();

/** The tokens of bytes in vocabularies that are made from SentencePiece. */
export const BYTE_TOKENS = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);

function spellBytes(word: string): string {
  let spelled = '';
  for (const byte of Buffer.from(word)) spelled += BYTE_CHARACTERS[byte];
  return spelled;
}
