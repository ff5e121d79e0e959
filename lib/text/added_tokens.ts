/** Tokens that are cut out of a text before anything else happens to it, such as `<|endoftext|>`. */

import { isJsonObject, type JsonObject } from '../io/json';

interface AddedToken {
  /** As it stands in texts. */
  readonly content: string;
  readonly id: number;
  /** Whether white space before or after it belongs to it. */
  readonly left: boolean;
  readonly right: boolean;
  /** Whether it counts only where no word goes on before or after it. */
  readonly single: boolean;
  /** The longest other token with which it begins. */
  beginning: AddedToken | undefined;
}

/** Finds added tokens, as Hugging Face's tokenizers does; where several begin at the same place, the longest. */
export class AddedTokens {
  /** By content, in the order of code units. */
  readonly #sorted: readonly AddedToken[];
  readonly #first: RegExp | undefined;

  /**
   * Reads the `added_tokens` of a tokenizer.json.
   *
   * @param normalize - where it is given, tokens are those that are cut out of normalized texts, and it normalizes their
   * contents; otherwise those that are cut out of texts as they are, before all others
   */
  constructor(json: JsonObject, normalize?: (text: string) => string) {
    const tokens = new Map<string, AddedToken>();
    const listed = (Array.isArray(json.added_tokens) ? json.added_tokens : []).filter(isJsonObject);
    // of tokens that look alike, the special one counts
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

  /** Characters of the longest. */
  get longest(): number {
    return this.#sorted.reduce((most, { content }) => Math.max(most, content.length), 0);
  }

  /** Whether white space around a token may belong to it. */
  get takesSpace(): boolean {
    return this.#sorted.some(({ left, right }) => left || right);
  }

  /** The text in parts: the ids of added tokens, and what lies between them. */
  split(text: string): (string | number)[] {
    const parts: (string | number)[] = [];
    let end = 0;
    let taken = 0;
    for (const { index } of this.#first ? text.matchAll(this.#first) : []) {
      const found = index < end ? undefined : this.#find(text, index);
      if (found === undefined) continue;
      // also where it does not count, nothing is looked for within it
      end = index + found.content.length;
      if (found.single && !isSingle(text, index, end)) continue;
      const start = found.left ? Math.max(spaceBefore(text, index), taken) : index;
      if (taken < start) parts.push(text.slice(taken, start));
      parts.push(found.id);
      taken = found.right ? spaceAfter(text, end) : end;
    }
    if (taken < text.length) parts.push(text.slice(taken));
    return parts;
  }

  /** The longest token that stands in a text at a place. */
  #find(text: string, index: number): AddedToken | undefined {
    // the last token that is not behind the text in order is the longest, or begins with it
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

/** Characters of words, as regular expressions of Rust have them. */
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
/** White space by Unicode, of which JavaScript's lacks U+0085 and has U+FEFF. */
const SPACE = /\p{White_Space}/u;

/** Whether no word goes on before or after a part of a text. */
function isSingle(text: string, start: number, end: number): boolean {
  const before = text.slice(Math.max(0, start - 2), start);
  const last = Array.from(before).at(-1) ?? '';
  return !WORD.test(last) && !WORD.test(String.fromCodePoint(text.codePointAt(end) ?? 0));
}

/** The place where the white space before another begins. */
function spaceBefore(text: string, end: number): number {
  let start = end;
  while (start > 0 && SPACE.test(text[start - 1] as string)) start--;
  return start;
}

/** The place where the white space after another ends. */
function spaceAfter(text: string, start: number): number {
  let end = start;
  while (end < text.length && SPACE.test(text[end] as string)) end++;
  return end;
}
