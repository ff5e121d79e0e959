/** Tokens that are cut out of a text before anything else happens to it, such as `<|endoftext|>`. */

import { isJsonObject, type JsonObject } from '../io/json';

interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** Whether white space before or after it belongs to it. */
  readonly left: boolean;
  readonly right: boolean;
  /** The longest other token with which it begins. */
  beginning: AddedToken | undefined;
}

/** Finds added tokens; where several begin at the same place, the longest. */
export class AddedTokens {
  /** By content, in the order of code units. */
  readonly #sorted: readonly AddedToken[];
  readonly #first: RegExp | undefined;

  /** Reads the `added_tokens` of a tokenizer.json. */
  constructor(json: JsonObject) {
    const tokens = new Map<string, AddedToken>();
    for (const token of Array.isArray(json.added_tokens) ? json.added_tokens : []) {
      if (!isJsonObject(token) || typeof token.content !== 'string' || typeof token.id !== 'number') continue;
      const { content, id } = token;
      if (content === '' || tokens.has(content)) continue;
      const [left, right] = [token.lstrip === true, token.rstrip === true];
      tokens.set(content, { content, id, left, right, beginning: undefined });
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
    let trims = false;
    const add = (between: string) => {
      if (between !== '') parts.push(between);
    };
    for (const { index } of this.#first ? text.matchAll(this.#first) : []) {
      const found = index < end ? undefined : this.#find(text, index);
      if (found === undefined) continue;
      let between = text.slice(end, index);
      if (trims) between = between.trimStart();
      add(found.left ? between.trimEnd() : between);
      parts.push(found.id);
      end = index + found.content.length;
      trims = found.right;
    }
    add(trims ? text.slice(end).trimStart() : text.slice(end));
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
