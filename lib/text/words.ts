/** Rules by which a tokenizer.json splits texts into words that are encoded independently. */

import { isJsonObject, type JsonObject } from '../io/json';
import { isKnownPattern, PATTERNS } from './known_patterns';
import type { TokenizerDescription } from './tokenizer_file';
import { compilePattern } from './word_pattern';

/** The steps from a text to the words that a byte-pair model encodes. */
export interface WordRule {
  /** Normalizes a text. */
  normalize(text: string): string;
  /**
   * Splits a normalized text into words. `first` means that it starts the whole text and does not follow an added
   * token.
   */
  split(text: string, first: boolean): readonly string[];
  /** Spells a word in the vocabulary's characters. */
  spell(word: string): string;
  /** Tokens that together can express every text. */
  readonly alphabet: readonly string[];
  /** Whether splitting takes linear time on every text. Regular expressions of unknown files may not. */
  readonly isLinear: boolean;
  /** Largest number of characters of a text that normalization may turn into one. */
  readonly shortens: number;
}

/**
 * GPT-2's words: contractions, letters, digits and signs, each with an optional space before it, and runs of white
 * space.
 */
const GPT2 = compilePattern(PATTERNS.gpt2) as RegExp;

/** SentencePiece's character for a space. */
export const SPACE = '\u2581';

type Normalize = WordRule['normalize'];
/** Step between normalization and splitting; `first` as in {@link WordRule.split}. */
type Prepare = (text: string, first: boolean) => string;
interface Normalizer {
  readonly normalize: Normalize;
  readonly shortens: number;
}
type Cut = (text: string) => readonly string[];

/** Largest factor by which normalization may lengthen a text. */
const MOST_GROWTH = 8;
/** Limit on consecutive steps of normalizing or splitting. */
const MOST_STEPS = 16;
/** Largest number of characters that NFC composes into one. */
const COMPOSED = 4;

/**
 * Returns the rule of a tokenizer.json. Returns undefined if its words depend on one another or its splitting is not
 * supported here.
 *
 * Supported are byte-level encodings that split by patterns (GPT-2, LLaMA 3, Qwen, …). Supported are also byte-pair
 * encodings made from SentencePiece (LLaMA 1 and 2, Gemma, …) whose pieces have spaces only at their start.
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

/** Returns the parts of a component that may be a sequence. */
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
    // a function, since `$&` in a string would insert the match
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
      // text without a match would be dropped, but real patterns of this form match everything
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

/** Creates a cut in which every match is a word, and so is every text between matches. */
function isolate(pattern: RegExp): Cut {
  return (text) => {
    // most patterns match everything, and match() is several times faster than matchAll()
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

/**
 * Creates the rule that splits before runs of spaces. If no piece has a space after another character, no merge crosses
 * such a boundary.
 */
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
  // Gemma splits at spaces, but its normalizer has replaced them all
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

/** Bytes as GPT-2 writes them: printable ones as themselves, the others as characters from U+0100 on. */
const BYTE_CHARACTERS = (() => {
  let next = 256;
  const prints = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++));
})();

/** Byte tokens of vocabularies made from SentencePiece. */
export const BYTE_TOKENS = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);

function spellBytes(word: string): string {
  let spelled = '';
  for (const byte of Buffer.from(word)) spelled += BYTE_CHARACTERS[byte];
  return spelled;
}
