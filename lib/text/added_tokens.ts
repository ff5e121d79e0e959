/** Tokens that are cut out of a text before anything else happens to it, such as `<|endoftext|>`. */

import { isJsonObject, type JsonObject } from '../io/json';

interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** Whether white space before or after it belongs to it. */
  readonly left: boolean;
  readonly right: boolean;
}

/** Finds added tokens; where several begin at the same place, the longest. */
export class AddedTokens {
  readonly #byFirst = new Map<string, AddedToken[]>();
  readonly #first: RegExp | undefined;

  /** Reads the `added_tokens` of a tokenizer.json. */
  constructor(json: JsonObject) {
    for (const token of Array.isArray(json.added_tokens) ? json.added_tokens : []) {
      if (!isJsonObject(token) || typeof token.content !== 'string' || typeof token.id !== 'number') continue;
      const { content, id } = token;
      if (content === '') continue;
      const first = String.fromCodePoint(content.codePointAt(0) as number);
      const list = this.#byFirst.get(first) ?? [];
      list.push({ content, id, left: token.lstrip === true, right: token.rstrip === true });
      this.#byFirst.set(first, list);
    }
    for (const list of this.#byFirst.values()) list.sort((a, b) => b.content.length - a.content.length);
    const firsts = [...this.#byFirst.keys()].map((first) => first.replace(/[\^\\\]-]/, '\\$&'));
    if (firsts.length > 0) this.#first = new RegExp(`[${firsts.join('')}]`, 'gu');
  }

  /** The text in parts: the ids of added tokens, and what lies between them. */
  split(text: string): (string | number)[] {
    const parts: (string | number)[] = [];
    let end = 0;
    let trims = false;
    const add = (between: string) => {
      if (between !== '') parts.push(between);
    };
    for (const { 0: first, index } of this.#first ? text.matchAll(this.#first) : []) {
      const found = index < end ? undefined : this.#byFirst.get(first)?.find((t) => text.startsWith(t.content, index));
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
}
