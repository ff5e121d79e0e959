/**
 * Lexer of templates, with the settings of transformers: `trim_blocks` drops the line break after a tag.
 * `lstrip_blocks` drops the white space before a tag that starts its line.
 */

import { LimitError } from '../bounded';
import { TemplateSyntaxError } from './errors';
import { trimEnd, WHITE_SPACE } from './white_space';

export type TokenKind =
  | 'data'
  | 'print'
  | 'end of print statement'
  | 'tag'
  | 'end of statement block'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'end of template';

export interface Token {
  readonly kind: TokenKind;
  /** The source text; for data and strings their value. */
  readonly text: string;
  readonly line: number;
}

/** Limit on tokens. The largest known template has 6 thousand. */
const MOST_TOKENS = 1 << 18;

const BEGIN = /\{[{%#]/g;
const RAW = /\{%[-+]?\s*raw\s*(?:-%\}|%\})/y;
const END_RAW = /\{%[-+]?\s*endraw\s*[-+]?%\}/g;
const FLOAT = /\d+(?:_\d+)*(?:(?:\.\d+(?:_\d+)*)?e[-+]?\d+(?:_\d+)*|\.\d+(?:_\d+)*)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{ID_Start}_][\p{ID_Continue}]*/uy;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const SPACE = new RegExp(`[${WHITE_SPACE}]+`, 'y');
const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };
const ESCAPES: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};
const ESCAPE = /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g;

/** Returns the tokens of a template, with an end token. Throws TemplateSyntaxError. */
export function tokenize(given: string): Token[] {
  const source = given.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Position of the line break that ends the current line. */
  #lineEnd: number;
  /** Whether the text at the current position starts a line. */
  #lineStarts = true;

  constructor(source: string) {
    this.#source = source;
    this.#lineEnd = source.indexOf('\n');
  }

  run(): Token[] {
    const source = this.#source;
    for (;;) {
      BEGIN.lastIndex = this.#at;
      const begin = BEGIN.exec(source)?.index;
      if (begin === undefined) break;
      this.#tag(begin);
    }
    if (this.#at < source.length) this.#push('data', source.slice(this.#at));
    this.#at = source.length;
    this.#push('end of template', '');
    return this.#tokens;
  }

  /** Reads the text up to an opening brace, and what the brace opens. */
  #tag(begin: number): void {
    const source = this.#source;
    const opens = source[begin + 1];
    const sign = source[begin + 2];
    let text = source.slice(this.#at, begin);
    if (sign === '-') text = trimEnd(text);
    else if (sign !== '+' && opens !== '{') text = this.#withoutIndent(text);
    if (text !== '') this.#push('data', text);
    const start = begin + (sign === '-' || sign === '+' ? 3 : 2);
    RAW.lastIndex = begin;
    if (opens === '#') this.#comment(start);
    else if (opens === '%' && RAW.test(source)) this.#raw(RAW.lastIndex);
    else {
      this.#at = start;
      this.#push(opens === '{' ? 'print' : 'tag', source.slice(begin, start));
      this.#inside(opens === '{');
    }
    this.#lineStarts = source[this.#at - 1] === '\n';
  }

  /** Removes the white space between the start of the line and the tag that follows `text`. */
  #withoutIndent(text: string): string {
    const line = text.lastIndexOf('\n') + 1;
    if (line === 0 && !this.#lineStarts) return text;
    return trimEnd(text.slice(line)) === '' ? text.slice(0, line) : text;
  }

  #comment(start: number): void {
    const end = this.#source.indexOf('#}', start);
    if (end < 0) this.#fail('Missing end of comment tag');
    this.#at = end + 2;
    // in `{#-#}` the sign belongs to the opening
    this.#afterTag(end > start ? this.#source[end - 1] : undefined);
  }

  #raw(start: number): void {
    const source = this.#source;
    this.#at = start;
    if (source[start - 3] === '-') this.#skipSpace();
    END_RAW.lastIndex = this.#at;
    const end = END_RAW.exec(source);
    if (end === null) throw this.#error('Missing end of raw directive');
    let text = source.slice(this.#at, end.index);
    this.#lineStarts = source[this.#at - 1] === '\n';
    const sign = source[end.index + 2];
    if (sign === '-') text = trimEnd(text);
    else if (sign !== '+') text = this.#withoutIndent(text);
    if (text !== '') this.#push('data', text);
    this.#at = END_RAW.lastIndex;
    this.#afterTag(source[this.#at - 3]);
  }

  /** `sign`: the character before the end of the tag. */
  #afterTag(sign: string | undefined): void {
    if (sign === '-') this.#skipSpace();
    else if (sign !== '+' && this.#source[this.#at] === '\n') this.#at++;
  }

  #skipSpace(): void {
    SPACE.lastIndex = this.#at;
    if (SPACE.test(this.#source)) this.#at = SPACE.lastIndex;
  }

  /** Reads tokens up to the end of a printed expression or of a tag. */
  #inside(prints: boolean): void {
    const source = this.#source;
    const end = prints ? '}}' : '%}';
    const kind = prints ? 'end of print statement' : 'end of statement block';
    const open: string[] = [];
    for (;;) {
      this.#skipSpace();
      if (this.#at >= source.length) return;
      if (open.length === 0) {
        const sign = source[this.#at];
        const signs = (sign === '-' || (sign === '+' && !prints)) && source.startsWith(end, this.#at + 1);
        if (signs || source.startsWith(end, this.#at)) {
          this.#push(kind, end);
          this.#at += signs ? 3 : 2;
          if (signs && sign === '-') this.#skipSpace();
          else if (!prints) this.#afterTag(signs ? sign : undefined);
          return;
        }
      }
      this.#token(open);
    }
  }

  #token(open: string[]): void {
    const first = this.#source[this.#at] as string;
    if (first === "'" || first === '"') {
      this.#string(first);
      return;
    }
    if (this.#source[this.#at - 1] !== '.' && this.#match(FLOAT, 'float')) return;
    if (this.#match(INTEGER, 'integer') || this.#match(NAME, 'name')) return;
    if (!this.#match(OPERATOR, 'operator')) this.#fail(`unexpected char '${first}' at ${this.#at}`);
    const closing = CLOSING[first];
    if (closing !== undefined) open.push(closing);
    else if (first === ')' || first === ']' || first === '}') {
      const expected = open.pop();
      if (expected === undefined) this.#fail(`unexpected '${first}'`);
      if (expected !== first) this.#fail(`unexpected '${first}', expected '${expected}'`);
    }
  }

  #match(pattern: RegExp, kind: TokenKind): boolean {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#source)?.[0];
    if (text === undefined) return false;
    this.#push(kind, text);
    this.#at += text.length;
    return true;
  }

  #string(quote: string): void {
    let end = this.#at + 1;
    while (end < this.#source.length && this.#source[end] !== quote) end += this.#source[end] === '\\' ? 2 : 1;
    if (end >= this.#source.length) this.#fail(`unexpected char '${quote}' at ${this.#at}`);
    this.#push('string', this.#unescape(this.#source.slice(this.#at + 1, end)));
    this.#at = end + 1;
  }

  #unescape(text: string): string {
    if (!text.includes('\\')) return text;
    return text.replace(ESCAPE, (whole, x, u, long, octal, other) => {
      const hexadecimal: string | undefined = x ?? u ?? long;
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      if (hexadecimal === undefined) {
        if ('xuUN'.includes(other)) this.#fail(`truncated \\${other}XX escape`);
        return ESCAPES[other] ?? whole;
      }
      const code = Number.parseInt(hexadecimal, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : this.#fail('illegal Unicode character');
    });
  }

  #push(kind: TokenKind, text: string): void {
    this.#tokens.push({ kind, text, line: this.#lineHere() });
    if (this.#tokens.length > MOST_TOKENS) throw new LimitError(`has more than ${MOST_TOKENS} tokens`);
  }

  #lineHere(): number {
    for (; this.#lineEnd >= 0 && this.#lineEnd < this.#at; this.#line++) {
      this.#lineEnd = this.#source.indexOf('\n', this.#lineEnd + 1);
    }
    return this.#line;
  }

  #fail(message: string): never {
    throw this.#error(message);
  }

  #error(message: string): TemplateSyntaxError {
    return new TemplateSyntaxError(`${message} (line ${this.#lineHere()})`);
  }
}
