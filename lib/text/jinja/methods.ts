/** Methods of values: Python's, without those that mutate a value. */

import { type BuiltIn, builtIn, integerOf, REQUIRED, type Run, refuse, textOf } from './builtin';
import { typeError } from './errors';
import { format } from './format';
import {
  areEqual,
  characters,
  Dict,
  DictView,
  Float,
  isBasic,
  isList,
  iterate,
  Tuple,
  typeName,
  type Value,
} from './values';
import { isSpace, LINE_BREAKS, trimEnd, trimStart } from './white_space';

type TextMethod = (run: Run, text: string) => Value;

/** Creates a text method without arguments. */
function plain(work: TextMethod): BuiltIn {
  return builtIn({}, (run, self) => {
    const text = textOf(self);
    run.budget.make(text.length);
    return work(run, text);
  });
}

/** Creates a method that tells whether a text matches the pattern. */
function matches(pattern: RegExp): BuiltIn {
  return plain((_, text) => pattern.test(text));
}

const SUBSTRING = { sub: REQUIRED, start: null, end: null } as const;

/** Creates a method that searches a text. `work` receives the position in characters, or -1. */
function finder(work: (found: number, run: Run) => Value, last: boolean): BuiltIn {
  return builtIn(SUBSTRING, (run, self, { sub, start, end }) => {
    const { text, shift } = section(run, textOf(self), start, end);
    const part = textOf(sub);
    const at = last ? text.lastIndexOf(part) : text.indexOf(part);
    return work(at < 0 ? -1 : shift + characterCount(text.slice(0, at)), run);
  });
}

function characterCount(text: string): number {
  return isBasic(text) ? text.length : characters(text).length;
}

/** Returns the part of a text between two positions, and the first position. */
function section(run: Run, text: string, start: Value, end: Value): { readonly text: string; readonly shift: number } {
  run.budget.scan(text.length);
  if (start === null && end === null) return { text, shift: 0 };
  const all = characters(text);
  const place = (value: Value, byDefault: number) => {
    const index = value === null ? byDefault : integerOf(value);
    return Math.min(Math.max(index < 0 ? index + all.length : index, 0), all.length);
  };
  const first = place(start, 0);
  return { text: all.slice(first, place(end, all.length)).join(''), shift: first };
}

/** Creates a method that tells whether a text starts (or ends) with an affix, or with one of several. */
function affixTest(has: (text: string, affix: string) => boolean): BuiltIn {
  return builtIn({ affix: REQUIRED, start: null, end: null }, (run, self, { affix, start, end }) => {
    const { text } = section(run, textOf(self), start, end);
    const affixes = affix instanceof Tuple ? affix.items : [affix];
    return affixes.some((one) => has(text, textOf(one)));
  });
}

/** Creates a method that strips the start of a text, its end or both. */
function stripper(atStart: boolean, atEnd: boolean): BuiltIn {
  return builtIn({ chars: null }, (run, self, { chars }) => {
    run.budget.make(textOf(self).length);
    return strip(textOf(self), chars, atStart, atEnd);
  });
}

/** Strips white space, or certain characters, at the ends of a text. */
export function strip(text: string, chars: Value, atStart = true, atEnd = true): string {
  const isTrimmed = chars === null ? isSpace : among(textOf(chars));
  if (chars === null || isBasic(textOf(chars))) {
    const rest = atStart ? trimStart(text, isTrimmed) : text;
    return atEnd ? trimEnd(rest, isTrimmed) : rest;
  }
  const all = characters(text);
  let [start, end] = [0, all.length];
  while (atStart && start < end && isTrimmed(all[start] as string)) start++;
  while (atEnd && end > start && isTrimmed(all[end - 1] as string)) end--;
  return all.slice(start, end).join('');
}

function among(chars: string): (character: string) => boolean {
  const set = new Set(characters(chars));
  return (character) => set.has(character);
}

/** Splits a text at separators, or at white space if the separator is null. */
function split(run: Run, text: string, separator: Value, most: number): string[] {
  run.budget.scan(text.length);
  const limit = most < 0 ? Infinity : most;
  if (separator === null) return splitSpace(run, text, limit);
  const sep = textOf(separator);
  if (sep === '') refuse('empty separator');
  const parts: string[] = [];
  let start = 0;
  for (let at = text.indexOf(sep); at >= 0 && parts.length < limit; at = text.indexOf(sep, start)) {
    run.budget.list(1);
    parts.push(text.slice(start, at));
    start = at + sep.length;
  }
  parts.push(text.slice(start));
  return parts;
}

function splitSpace(run: Run, text: string, most: number): string[] {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && isSpace(text[at] as string)) at++;
    if (at >= text.length) return parts;
    if (parts.length >= most) return [...parts, text.slice(at)];
    let end = at;
    while (end < text.length && !isSpace(text[end] as string)) end++;
    run.budget.list(1);
    parts.push(text.slice(at, end));
    at = end;
  }
}

/** Splits from the end of the text, which matters if the number of parts is limited. */
function splitFromEnd(run: Run, text: string, separator: Value, most: number): string[] {
  if (most < 0) return split(run, text, separator, most);
  // reversing code units twice restores surrogate pairs
  const mirror = (value: string) => value.split('').reverse().join('');
  run.budget.list(text.length);
  const mirrored = separator === null ? null : mirror(textOf(separator));
  return split(run, mirror(text), mirrored, most).map(mirror).reverse();
}

const SPLIT = { sep: null, maxsplit: -1 } as const;
const LINE_BREAK = new RegExp(`\r\n|[${LINE_BREAKS}]`, 'g');

/** Splits a text into lines, with or without their line breaks. */
export function splitLines(text: string, keepsBreaks = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const { 0: lineBreak, index } of text.matchAll(LINE_BREAK)) {
    lines.push(text.slice(start, keepsBreaks ? index + lineBreak.length : index));
    start = index + lineBreak.length;
  }
  return start < text.length ? [...lines, text.slice(start)] : lines;
}

/** Replaces the first `count` occurrences in a text, or all if it is negative. */
export function replace(run: Run, text: string, old: string, by: string, count: number): string {
  const most = count < 0 ? Infinity : count;
  run.budget.scan(text.length);
  if (old === '') {
    run.budget.list(text.length);
    const all = characters(text);
    const times = Math.min(most, all.length + 1);
    run.budget.make(text.length + times * by.length);
    return (
      all.map((character, index) => (index < times ? by + character : character)).join('') +
      (times > all.length ? by : '')
    );
  }
  const parts: string[] = [];
  let start = 0;
  for (let at = text.indexOf(old); at >= 0 && parts.length < most; at = text.indexOf(old, start)) {
    run.budget.make(at - start + by.length + 1);
    parts.push(text.slice(start, at));
    start = at + old.length;
  }
  if (parts.length === 0) return text;
  parts.push(text.slice(start));
  return parts.join(by);
}

export function capitalize(text: string): string {
  const first = String.fromCodePoint(text.codePointAt(0) ?? 0);
  return text === '' ? '' : first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** Creates a padding method. `before` returns how many of the missing characters precede the text. */
function padder(before: (missing: number, width: number) => number): BuiltIn {
  return builtIn({ width: REQUIRED, fillchar: ' ' }, (run, self, { width, fillchar }) => {
    const text = textOf(self);
    const fill = textOf(fillchar);
    if (characterCount(fill) !== 1) typeError('The fill character must be exactly one character long');
    const missing = integerOf(width) - characterCount(text);
    if (missing <= 0) return text;
    run.budget.make(integerOf(width));
    const left = before(missing, integerOf(width));
    return fill.repeat(left) + text + fill.repeat(missing - left);
  });
}

/** Returns the left padding of centered text. For an odd padding it chooses the side as Python does. */
export function centered(missing: number, width: number): number {
  return Math.floor(missing / 2) + (missing & width & 1);
}

function partition(last: boolean): BuiltIn {
  return builtIn({ sep: REQUIRED }, (run, self, { sep }) => {
    const text = textOf(self);
    const separator = textOf(sep);
    if (separator === '') refuse('empty separator');
    run.budget.make(text.length);
    const at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
    if (at < 0) return new Tuple(last ? ['', '', text] : [text, '', '']);
    return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
  });
}

/** Joins the items, which must be texts. */
function join(run: Run, separator: string, items: readonly Value[]): string {
  const texts = items.map((item, index) => {
    if (typeof item !== 'string') typeError(`sequence item ${index}: expected str instance, ${typeName(item)} found`);
    run.budget.make(item.length + separator.length);
    return item;
  });
  return texts.join(separator);
}

export const isUpper = (text: string) => text === text.toUpperCase() && text !== text.toLowerCase();
export const isLower = (text: string) => text === text.toLowerCase() && text !== text.toUpperCase();
const title = (text: string) => text.replace(/\p{L}+/gu, capitalize);

const TEXT: Readonly<Record<string, BuiltIn>> = {
  capitalize: plain((_, text) => capitalize(text)),
  casefold: plain((_, text) => text.toLowerCase().replaceAll('ß', 'ss')),
  center: padder(centered),
  count: builtIn(SUBSTRING, (run, self, { sub, start, end }) => {
    const { text } = section(run, textOf(self), start, end);
    const part = textOf(sub);
    return part === '' ? characterCount(text) + 1 : split(run, text, part, -1).length - 1;
  }),
  endswith: affixTest((text, affix) => text.endsWith(affix)),
  find: finder((found) => found, false),
  format: (run, self, positional, named) => format(textOf(self), positional, named, run, run.budget),
  index: finder((found) => (found < 0 ? refuse('substring not found') : found), false),
  isalnum: matches(/^[\p{L}\p{N}]+$/u),
  isalpha: matches(/^\p{L}+$/u),
  isascii: matches(/^[\0-\x7f]*$/),
  isdecimal: matches(/^\p{Nd}+$/u),
  isdigit: matches(/^[\p{Nd}\xb2\xb3\xb9\u2070\u2074-\u2079\u2080-\u2089]+$/u),
  isidentifier: matches(/^[\p{ID_Start}_]\p{ID_Continue}*$/u),
  islower: plain((_, text) => isLower(text)),
  isnumeric: matches(/^\p{N}+$/u),
  isprintable: matches(/^(?: |[^\p{C}\p{Z}])*$/u),
  isspace: plain((_, text) => text !== '' && trimStart(text) === ''),
  istitle: plain((_, text) => text === title(text) && text.toLowerCase() !== text.toUpperCase()),
  isupper: plain((_, text) => isUpper(text)),
  join: builtIn({ iterable: REQUIRED }, (run, self, { iterable }) =>
    join(run, textOf(self), iterate(iterable, run.budget)),
  ),
  ljust: padder(() => 0),
  lower: plain((_, text) => text.toLowerCase()),
  lstrip: stripper(true, false),
  partition: partition(false),
  removeprefix: builtIn({ prefix: REQUIRED }, (_, self, { prefix }) => {
    const text = textOf(self);
    return text.startsWith(textOf(prefix)) ? text.slice(textOf(prefix).length) : text;
  }),
  removesuffix: builtIn({ suffix: REQUIRED }, (_, self, { suffix }) => {
    const text = textOf(self);
    return suffix !== '' && text.endsWith(textOf(suffix)) ? text.slice(0, -textOf(suffix).length) : text;
  }),
  replace: builtIn({ old: REQUIRED, new: REQUIRED, count: -1 }, (run, self, given) =>
    replace(run, textOf(self), textOf(given.old), textOf(given.new), integerOf(given.count)),
  ),
  rfind: finder((found) => found, true),
  rindex: finder((found) => (found < 0 ? refuse('substring not found') : found), true),
  rjust: padder((missing) => missing),
  rpartition: partition(true),
  rsplit: builtIn(SPLIT, (run, self, { sep, maxsplit }) => splitFromEnd(run, textOf(self), sep, integerOf(maxsplit))),
  rstrip: stripper(false, true),
  split: builtIn(SPLIT, (run, self, { sep, maxsplit }) => split(run, textOf(self), sep, integerOf(maxsplit))),
  splitlines: builtIn({ keepends: false }, (run, self, { keepends }) => {
    run.budget.list(textOf(self).length);
    return splitLines(textOf(self), keepends === true);
  }),
  startswith: affixTest((text, affix) => text.startsWith(affix)),
  strip: stripper(true, true),
  swapcase: plain((_, text) =>
    characters(text)
      .map((character) => (isUpper(character) ? character.toLowerCase() : character.toUpperCase()))
      .join(''),
  ),
  title: plain((_, text) => title(text)),
  upper: plain((_, text) => text.toUpperCase()),
  zfill: builtIn({ width: REQUIRED }, (run, self, { width }) => {
    const [, sign = '', digits = ''] = /^([-+]?)([\s\S]*)$/.exec(textOf(self)) ?? [];
    const missing = integerOf(width) - characterCount(textOf(self));
    run.budget.make(Math.max(0, missing));
    return sign + '0'.repeat(Math.max(0, missing)) + digits;
  }),
};

const SEQUENCE: Readonly<Record<string, BuiltIn>> = {
  count: builtIn({ value: REQUIRED }, (run, self, { value }) => {
    return itemsIn(self).filter((item) => areEqual(item, value, run.budget)).length;
  }),
  index: builtIn({ value: REQUIRED }, (run, self, { value }) => {
    const index = itemsIn(self).findIndex((item) => areEqual(item, value, run.budget));
    return index < 0 ? refuse('the value is not in the list') : index;
  }),
};

function itemsIn(value: Value): readonly Value[] {
  return value instanceof Tuple ? value.items : isList(value) ? value : [];
}

const LIST: Readonly<Record<string, BuiltIn>> = { ...SEQUENCE, copy: builtIn({}, (_, self) => self) };

const DICT: Readonly<Record<string, BuiltIn>> = {
  copy: builtIn({}, (_, self) => self),
  get: builtIn({ key: REQUIRED, default: null }, (_, self, given) => (self as Dict).get(given.key) ?? given.default),
  items: builtIn({}, (_, self) => new DictView(self as Dict, 'items')),
  keys: builtIn({}, (_, self) => new DictView(self as Dict, 'keys')),
  values: builtIn({}, (_, self) => new DictView(self as Dict, 'values')),
};

const FLOAT: Readonly<Record<string, BuiltIn>> = {
  is_integer: builtIn({}, (_, self) => Number.isInteger((self as Float).value)),
};

const INTEGER: Readonly<Record<string, BuiltIn>> = {
  bit_length: builtIn({}, (_, self) => (self ? Math.abs(Number(self)).toString(2).length : 0)),
  is_integer: builtIn({}, () => true),
};

/** Python's mutating methods, which templates may not use. */
const CHANGES_LIST = ['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort'];
const CHANGES_DICT = ['clear', 'pop', 'popitem', 'setdefault', 'update', 'fromkeys'];

const tables = {
  text: table(TEXT),
  list: table(LIST, CHANGES_LIST),
  tuple: table(SEQUENCE),
  dict: table(DICT, CHANGES_DICT),
  float: table(FLOAT),
  integer: table(INTEGER),
};

/** Builds a method table, with null for refused methods. */
function table(
  methods: Readonly<Record<string, BuiltIn>>,
  refused: readonly string[] = [],
): ReadonlyMap<string, BuiltIn | null> {
  return new Map<string, BuiltIn | null>([...Object.entries(methods), ...refused.map((name) => [name, null] as const)]);
}

/** Returns a method of a value: null if it is refused, undefined if there is none. */
export function methodOf(value: Value, name: string): BuiltIn | null | undefined {
  if (typeof value === 'string') return tables.text.get(name);
  if (value instanceof Dict) return tables.dict.get(name);
  if (isList(value)) return tables.list.get(name);
  if (value instanceof Tuple) return tables.tuple.get(name);
  if (value instanceof Float) return tables.float.get(name);
  return typeof value === 'number' || typeof value === 'boolean' ? tables.integer.get(name) : undefined;
}
