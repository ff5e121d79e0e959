/** How a tokenizer.json cuts texts into words that are encoded independently of one another. */

import { isJsonObject, type JsonObject } from '../io/json';
import { compilePattern } from './word_pattern';

/** From a text to the words that a byte-pair model sees. */
export interface WordRule {
  /** What is encoded instead of the text; `first`: whether the text begins there, rather than after an added token. */
  normalise(text: string, first: boolean): string;
  /** The words of a normalised text; together they are that text. */
  split(text: string): readonly string[];
  /** A word in the characters of the vocabulary. */
  spell(word: string): string;
}

/** GPT-2's words: contractions, letters, digits, signs, each with a space before it, and runs of white space. */
const GPT2 = compilePattern(
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
) as RegExp;

/** SentencePiece's sign for a space. */
const SPACE = '\u2581';

type Normalise = WordRule['normalise'];
type Cut = (text: string) => readonly string[];

/**
 * The rule of a tokenizer.json; undefined where its words depend on one another or are cut in a way that is not known here.
 * Known are byte-level byte-pair encodings that cut by patterns (GPT-2, LLaMA 3, Qwen, …) and byte-pair encodings made
 * from SentencePiece (LLaMA 1 and 2, Gemma, …) whose pieces have spaces only at their beginning.
 */
export function wordRule({ normalizer, pre_tokenizer: pre, model }: JsonObject): WordRule | undefined {
  if (!isJsonObject(model) || model.type !== 'BPE' || !isJsonObject(model.vocab)) return undefined;
  const normalise = readNormaliser(normalizer ?? null);
  if (normalise === undefined) return undefined;
  const parts = listOf(pre, 'pretokenizers');
  if (parts.at(-1)?.type === 'ByteLevel') return byteLevelRule(normalise, parts);
  return model.byte_fallback === true ? spaceRule(normalise, parts, Object.keys(model.vocab)) : undefined;
}

/** A component that may be a sequence of others. */
function listOf(component: unknown, key: string): JsonObject[] {
  if (!isJsonObject(component)) return [];
  const parts = component.type === 'Sequence' ? component[key] : [component];
  return Array.isArray(parts) ? parts.filter(isJsonObject) : [];
}

function readNormaliser(normalizer: unknown): Normalise | undefined {
  const steps = listOf(normalizer, 'normalizers').map((step): Normalise | undefined => {
    const { type, prepend, pattern, content } = step;
    if (type === 'NFC') return (text) => text.normalize('NFC');
    if (type === 'Prepend' && typeof prepend === 'string') return (text) => (text === '' ? text : prepend + text);
    const from = isJsonObject(pattern) ? pattern.String : undefined;
    if (type !== 'Replace' || typeof from !== 'string' || typeof content !== 'string') return undefined;
    return (text) => text.replaceAll(from, content);
  });
  if (steps.some((step) => step === undefined)) return undefined;
  return (text, first) => (steps as Normalise[]).reduce((result, step) => step(result, first), text);
}

function byteLevelRule(normalise: Normalise, parts: readonly JsonObject[]): WordRule | undefined {
  const cuts = parts.map(readCut);
  if (cuts.some((cut) => cut === undefined)) return undefined;
  const split: Cut = (text) => (cuts as Cut[]).reduce<readonly string[]>(cutEach, [text]);
  return { normalise, split, spell: spellBytes };
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
  normalise: Normalise,
  parts: readonly JsonObject[],
  pieces: readonly string[],
): WordRule | undefined {
  let prepare: Normalise | undefined = normalise;
  for (const part of parts) prepare = readSpacePart(prepare, part);
  const inner = new RegExp(`[^${SPACE}]${SPACE}`);
  if (prepare === undefined || prepare('a b', true).includes(' ') || pieces.some((piece) => inner.test(piece))) {
    return undefined;
  }
  const words = new RegExp(`${SPACE}*[^${SPACE}]+|${SPACE}+`, 'g');
  return { normalise: prepare, split: (text) => text.match(words) ?? [], spell: (word) => word };
}

function readSpacePart(normalise: Normalise | undefined, part: JsonObject): Normalise | undefined {
  if (normalise === undefined) return undefined;
  // Gemma's: cuts at spaces, of which its normaliser leaves none
  const cutsAtSpaces = part.type === 'Split' && isJsonObject(part.pattern) && part.pattern.String === ' ';
  if (cutsAtSpaces) return normalise(' ', true).includes(' ') ? undefined : normalise;
  if (part.type !== 'Metaspace' || part.replacement !== SPACE || part.split !== false) return undefined;
  const scheme = part.prepend_scheme ?? 'always';
  return (text, first) => {
    const spaced = normalise(text, first).replaceAll(' ', SPACE);
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

function spellBytes(word: string): string {
  let spelled = '';
  for (const byte of Buffer.from(word)) spelled += BYTE_CHARACTERS[byte];
  return spelled;
}
