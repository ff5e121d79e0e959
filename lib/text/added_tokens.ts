/** Added tokens, such as `<|endoftext|>`: they are cut out of a text before any other processing. */

import { isJsonObject, type JsonObject } from '../io/json';

interface AddedToken {
  /** Text of the token. */
  readonly content: string;
  readonly id: number;
  /** Whether white space before (left) or after (right) the token belongs to it. */
  readonly left: boolean;
  readonly right: boolean;
  /** Whether the token matches only if no word character precedes or follows it. */
  readonly single: boolean;
  /** Longest other token that is a prefix of this one. */
  beginning: AddedToken | undefined;
}

/**
 * A finder of added tokens that behaves as Hugging Face's tokenizers. If several tokens match at a position, the
 * longest wins.
 */
export class AddedTokens {
  /** Sorted by content, in code unit order. */
  readonly #sorted: readonly AddedToken[];
  readonly #first: RegExp | undefined;

  /**
   * Reads the `added_tokens` of a tokenizer.json.
   *
   * @param normalize - if passed, takes the tokens that are cut out of normalized texts, and normalizes their contents;
   * otherwise takes those that are cut out of the original text, before the others
   */
  constructor(json: JsonObject, normalize?: (text: string) => string) {
    const tokens = new Map<string, AddedToken>();
    const listed = (Array.isArray(json.added_tokens) ? json.added_tokens : []).filter(isJsonObject);
    // if two tokens have the same content, the special one wins
    for (const token of [...listed.filter(isSpecial), ...listed.filter((token) => !isSpecial(token))]) {
      if (typeof token.content !== 'string' || typeof token.id !== 'number') continue;
      if ((token.normalized === true) !== (normalize !== undefined)) continue;
      const content = normalize === undefined ? token.content : normalize(token.content);
      const { id } = token;
      if (content === '' || tokens.has(content)) continue;
      const [left, right, single] = [token.lstrip, token.rstrip, token.single_word].map((is) => is === true) as [
        boolean,
        boolean,
        boolean,
      ];
      tokens.set(content, { content, id, left, right, single, beginning: undefined });
    }
    this.#sorted = [...tokens.values()].sort((a, b) => (a.content < b.content ? -1 : 1));
    let before: AddedToken | undefined;
    for (const token of this.#sorted) {
      while (before && !token.content.startsWith(before.content)) before = before.beginning;
      token.beginning = before;
      before = token;
    }
    const characters = this.#sorted.map(({ content }) => String.fromCodePoint(content.codePointAt(0) as number));
    const firsts = [...new Set(characters)].map((first) => first.replace(/[\^\\\]-]/, '\\$&'));
    if (firsts.length > 0) this.#first = new RegExp(`[${firsts.join('')}]`, 'gu');
  }

  /** Length of the longest token, in characters. */
  get longest(): number {
    return this.#sorted.reduce((most, { content }) => Math.max(most, content.length), 0);
  }

  /** Whether a token exists that takes adjacent white space. */
  get takesSpace(): boolean {
    return this.#sorted.some(({ left, right }) => left || right);
  }

  /** Splits the text into ids of added tokens and the texts between them. */
  split(text: string): (string | number)[] {
    const parts: (string | number)[] = [];
    let end = 0;
    let copied = 0;
    for (const { index } of this.#first ? text.matchAll(this.#first) : []) {
      const token = index < end ? undefined : this.#find(text, index);
      if (token === undefined) continue;
      // a match that is not a single word still ends the search inside it
      end = index + token.content.length;
      if (token.single && !isSingle(text, index, end)) continue;
      const start = token.left ? Math.max(spaceBefore(text, index), copied) : index;
      if (copied < start) parts.push(text.slice(copied, start));
      parts.push(token.id);
      copied = token.right ? spaceAfter(text, end) : end;
    }
    if (copied < text.length) parts.push(text.slice(copied));
    return parts;
  }

  /** Finds the longest token at a position. */
  #find(text: string, index: number): AddedToken | undefined {
    // the last token not after the text in sort order is the longest match, or has it as a prefix
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { content } = this.#sorted[middle] as AddedToken;
      if (content <= text.slice(index, index + content.length)) low = middle + 1;
      else high = middle;
    }
    let token = this.#sorted[low - 1];
    while (token && !text.startsWith(token.content, index)) token = token.beginning;
    return token;
  }
}

function isSpecial(token: JsonObject): boolean {
  return token.special === true;
}

/** Word characters, as defined by Rust's regular expressions. */
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
/** Unicode white space. JavaScript's \s lacks U+0085 and contains U+FEFF. */
const SPACE = /\p{White_Space}/u;

/** Tells whether no word character precedes or follows a part of a text. */
function isSingle(text: string, start: number, end: number): boolean {
  const before = text.slice(Math.max(0, start - 2), start);
  const last = Array.from(before).at(-1) ?? '';
  return !WORD.test(last) && !WORD.test(String.fromCodePoint(text.codePointAt(end) ?? 0));
}

/** Returns the start of the white space that ends at `end`. */
function spaceBefore(text: string, end: number): number {
  let start = end;
  while (start > 0 && SPACE.test(text[start - 1] as string)) start--;
  return start;
}

/** Returns the end of the white space that starts at `start`. */
function spaceAfter(text: string, start: number): number {
  let end = start;
  while (end < text.length && SPACE.test(text[end] as string)) end++;
  return end;
}
