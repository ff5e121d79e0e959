/**
 * Jinja's filters, with `tojson` as in transformers. Filters with random results or with large language tables are
 * missing: `random`, `pprint`, `urlize`, `wordwrap`, `striptags`. Nothing is escaped automatically, so `safe` changes
 * nothing.
 */

import { type BuiltIn, builtIn, integerOf, REQUIRED, type Run, refuse, textOf } from './builtin';
import { TemplateError, typeError } from './errors';
import { printf } from './format';
import { capitalize, centered, replace, splitLines, strip } from './methods';
import { arithmetic } from './operators';
import {
  areEqual,
  characters,
  compare,
  Dict,
  Float,
  Group,
  integer,
  isInteger,
  isNumber,
  isTrue,
  iterate,
  lengthOf,
  type Named,
  numberOf,
  Stream,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values';
import { type JsonStyle, json, str } from './writing';

/** Creates a filter from text to text. */
function ofText(work: (text: string) => Value): BuiltIn {
  return builtIn({}, (run, self) => {
    const text = str(self, run.budget);
    run.budget.make(text.length);
    return work(text);
  });
}

/**
 * Returns the function that gives an item's sort or comparison key: the item or an attribute. Texts are lowercased
 * unless `isCaseSensitive`.
 */
function keyFunction(run: Run, attribute: Value, isCaseSensitive: boolean): (item: Value) => Value {
  const get = attributeGetter(run, attribute);
  return (item) => {
    const value = get(item);
    return typeof value === 'string' && !isCaseSensitive ? value.toLowerCase() : value;
  };
}

/** Returns the function that reads an attribute of an item. `byDefault` replaces a missing attribute. */
function attributeGetter(run: Run, attribute: Value, byDefault: Value = null): (item: Value) => Value {
  if (attribute === null) return (item) => item;
  const parts: Value[] =
    typeof attribute === 'string'
      ? attribute.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part))
      : [attribute];
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = run.item(value, part);
      if (value instanceof Undefined && byDefault !== null) value = byDefault;
    }
    return value;
  };
}

function sorted(run: Run, items: readonly Value[], key: (item: Value) => Value, isReversed: boolean): Value[] {
  run.budget.list(2 * items.length);
  const sign = isReversed ? -1 : 1;
  return items
    .map((item) => ({ item, key: key(item) }))
    .sort((a, b) => sign * compare(a.key, b.key, run.budget))
    .map(({ item }) => item);
}

/** Returns a sort key of one or several comma-separated attributes. */
function sortKey(run: Run, attribute: Value, isCaseSensitive: boolean): (item: Value) => Value {
  const names = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const keys = names.map((name) => keyFunction(run, name, isCaseSensitive));
  return (item) => keys.map((key) => key(item));
}

const EXTREME = { case_sensitive: false, attribute: null } as const;

function extreme(sign: 1 | -1): BuiltIn {
  return builtIn(EXTREME, (run, self, { case_sensitive, attribute }) => {
    const items = iterate(self, run.budget);
    const key = keyFunction(run, attribute, isTrue(case_sensitive));
    const [first, ...others] = items;
    if (first === undefined) return new Undefined('No aggregated item, sequence was empty.');
    let best = first;
    for (const item of others) if (sign * compare(key(item), key(best), run.budget) > 0) best = item;
    return best;
  });
}

/** Creates a filter that selects items by a test of the item or of its attribute. */
function chooser(chosen: boolean, ofAttribute: boolean): BuiltIn {
  return (run, self, positional, named) => {
    const [attribute, ...rest] = ofAttribute ? positional : [null, ...positional];
    if (attribute === undefined) throw new TemplateError('Missing parameter for attribute name');
    const get = attributeGetter(run, attribute);
    const [name, ...args] = rest;
    const holds = (item: Value) => (name === undefined ? isTrue(item) : run.test(textOf(name), item, args, named));
    return new Stream(iterate(self, run.budget).filter((item) => holds(get(item)) === chosen));
  };
}

function map(run: Run, self: Value, positional: readonly Value[], named: Named): Value {
  const [name, ...args] = positional;
  let work: (item: Value) => Value;
  if (name === undefined) {
    const attribute = named.get('attribute') ?? refuse('map requires a filter argument');
    work = attributeGetter(run, attribute, named.get('default') ?? null);
  } else work = (item) => run.filter(textOf(name), item, args, named);
  const items = iterate(self, run.budget);
  run.budget.list(items.length);
  return new Stream(items.map(work));
}

function first(run: Run, self: Value): Value {
  const [item] = typeof self === 'string' ? characters(self.slice(0, 2)) : iterate(self, run.budget);
  return item ?? new Undefined('No first item, sequence was empty.');
}

function last(run: Run, self: Value): Value {
  if (self instanceof Stream) typeError("'generator' object is not reversible");
  const item = typeof self === 'string' ? characters(self.slice(-2)).at(-1) : iterate(self, run.budget).at(-1);
  return item ?? new Undefined('No last item, sequence was empty.');
}

const join = builtIn({ d: '', attribute: null }, (run, self, { d, attribute }) => {
  const get = attributeGetter(run, attribute);
  const separator = str(d, run.budget);
  const texts = iterate(self, run.budget).map((item) => {
    const text = str(get(item), run.budget);
    run.budget.make(text.length + separator.length);
    return text;
  });
  return texts.join(separator);
});

const indent = builtIn({ width: 4, first: false, blank: false }, (run, self, given) => {
  const text = textOf(self);
  const margin = typeof given.width === 'string' ? given.width : spaces(run, integerOf(given.width));
  run.budget.list(text.length);
  const lines = splitLines(`${text}\n`);
  run.budget.make(lines.length * margin.length + text.length);
  const isBlank = isTrue(given.blank);
  const rest = lines.map((line, index) => (index > 0 && (isBlank || line !== '') ? margin + line : line)).join('\n');
  return isTrue(given.first) ? margin + rest : rest;
});

function spaces(run: Run, count: number): string {
  run.budget.make(Math.max(0, count));
  return ' '.repeat(Math.max(0, count));
}

const truncate = builtIn({ length: 255, killwords: false, end: '...', leeway: null }, (run, self, given) => {
  const text = self instanceof Undefined ? '' : textOf(self);
  const end = textOf(given.end);
  const length = integerOf(given.length);
  const leeway = given.leeway === null ? 5 : integerOf(given.leeway);
  if (length < end.length) refuse(`expected length >= ${end.length}, got ${length}`);
  if (leeway < 0) refuse(`expected leeway >= 0, got ${leeway}`);
  run.budget.make(text.length);
  const all = characters(text);
  if (all.length <= length + leeway) return text;
  const cut = all.slice(0, length - characters(end).length).join('');
  if (isTrue(given.killwords)) return cut + end;
  const space = cut.lastIndexOf(' ');
  return (space < 0 ? cut : cut.slice(0, space)) + end;
});

const toInteger = builtIn({ default: 0, base: 10 }, (_, self, given) => {
  if (isInteger(self)) return Number(self);
  if (self instanceof Undefined) throw new TemplateError(self.message);
  if (self instanceof Float) return Number.isFinite(self.value) ? integer(Math.trunc(self.value)) : given.default;
  if (typeof self !== 'string') return given.default;
  const parsed = parseInteger(strip(self, null), integerOf(given.base)) ?? Math.trunc(parseNumber(self) ?? Number.NaN);
  return Number.isFinite(parsed) ? integer(parsed) : given.default;
});

const PREFIXES: Readonly<Record<string, number>> = { '0b': 2, '0o': 8, '0x': 16 };

function parseInteger(text: string, base: number): number | undefined {
  const [, sign = '', prefix = '', digits = ''] = /^([-+]?)(0[box])?([\da-z]+(?:_[\da-z]+)*)$/i.exec(text) ?? [];
  const known = PREFIXES[prefix.toLowerCase()];
  const radix = base === 0 ? (known ?? 10) : base;
  if (prefix !== '' && known !== radix) return undefined;
  let value = digits === '' ? Number.NaN : 0;
  for (const digit of digits.replaceAll('_', '').toLowerCase()) {
    const worth = Number.parseInt(digit, 36);
    if (worth >= radix) return undefined;
    value = value * radix + worth;
  }
  return Number.isNaN(value) ? undefined : sign === '-' ? -value : value;
}

/** Parses a text as Python's `float` does. */
function parseNumber(given: string): number | undefined {
  const text = strip(given, null)
    .replace(/(\d)_(?=\d)/g, '$1')
    .toLowerCase();
  const [, sign, name] = /^([-+]?)(inf|infinity|nan)$/.exec(text) ?? [];
  if (name !== undefined) return name === 'nan' ? Number.NaN : sign === '-' ? -Infinity : Infinity;
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/.test(text) ? Number(text) : undefined;
}

const toFloat = builtIn({ default: new Float(0) }, (_, self, given) => {
  if (isNumber(self)) return new Float(numberOf(self));
  if (self instanceof Undefined) throw new TemplateError(self.message);
  const value = typeof self === 'string' ? parseNumber(self) : undefined;
  return value === undefined ? given.default : new Float(value);
});

const round = builtIn({ precision: 0, method: 'common' }, (_, self, { precision, method }) => {
  if (!isNumber(self)) return typeError(`type ${typeName(self)} doesn't define __round__ method`);
  const digits = integerOf(precision);
  const value = numberOf(self);
  if (method === 'ceil' || method === 'floor') {
    const scaled = value * 10 ** digits;
    return new Float((method === 'ceil' ? Math.ceil(scaled) : Math.floor(scaled)) / 10 ** digits);
  }
  if (method !== 'common') throw new TemplateError('method must be common, ceil or floor');
  const rounded = roundHalfEven(value, digits);
  return self instanceof Float ? new Float(rounded) : integer(rounded);
});

/** Rounds the exact value of the number, as Python does. */
function roundHalfEven(value: number, digits: number): number {
  if (!Number.isFinite(value) || digits > 22) return value;
  if (digits > 0) {
    // toFixed is exact except for ties, which occur only for multiples of powers of two
    const tie = value * 2 ** (digits + 1);
    const scaled = value * 10 ** digits;
    if (!(Number.isInteger(tie) && Math.abs(scaled % 1) === 0.5)) return Number(value.toFixed(digits));
  }
  const scale = 10 ** Math.abs(digits);
  const scaled = digits < 0 ? value / scale : value * scale;
  const low = Math.floor(scaled);
  const rest = scaled - low;
  const whole = rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
  return digits < 0 ? whole * scale : whole / scale;
}

const sum = builtIn({ attribute: null, start: 0 }, (run, self, { attribute, start }) => {
  if (typeof start === 'string') typeError("sum() can't sum strings [use ''.join(seq) instead]");
  const get = attributeGetter(run, attribute);
  let total: Value = start;
  for (const item of iterate(self, run.budget)) total = arithmetic('+', total, get(item), run.budget);
  return total;
});

const unique = builtIn(EXTREME, (run, self, { case_sensitive, attribute }) => {
  const key = keyFunction(run, attribute, isTrue(case_sensitive));
  const seen = new Dict();
  const isNew = (item: Value) => {
    const known = key(item);
    if (seen.has(known)) return false;
    seen.set(known, true);
    return true;
  };
  return new Stream(iterate(self, run.budget).filter(isNew));
});

const groupBy = builtIn(
  { attribute: REQUIRED, default: null, case_sensitive: false },
  (run, self, { attribute, default: byDefault, case_sensitive }) => {
    const get = attributeGetter(run, attribute, byDefault);
    const fold = (value: Value) => (typeof value === 'string' && !isTrue(case_sensitive) ? value.toLowerCase() : value);
    const items = sorted(run, iterate(self, run.budget), (item) => fold(get(item)), false);
    const groups: { readonly key: Value; readonly items: Value[] }[] = [];
    for (const item of items) {
      const key = fold(get(item));
      const group = groups.at(-1);
      if (group !== undefined && areEqual(group.key, key, run.budget)) group.items.push(item);
      else groups.push({ key, items: [item] });
    }
    return groups.map((group) => new Group(get(group.items[0] as Value), group.items));
  },
);

const dictSort = builtIn({ case_sensitive: false, by: 'key', reverse: false }, (run, self, given) => {
  if (!(self instanceof Dict)) return typeError(`'${typeName(self)}' object has no attribute 'items'`);
  if (given.by !== 'key' && given.by !== 'value')
    throw new TemplateError('You can only sort by either "key" or "value"');
  const key = keyFunction(run, given.by === 'key' ? 0 : 1, isTrue(given.case_sensitive));
  const pairs = Array.from(self.entries(), (pair) => new Tuple(pair));
  return sorted(run, pairs, key, isTrue(given.reverse));
});

const batch = builtIn({ linecount: REQUIRED, fill_with: null }, (run, self, { linecount, fill_with }) => {
  const items = iterate(self, run.budget);
  const size = Math.max(1, integerOf(linecount));
  run.budget.list(items.length);
  const batches: Value[][] = [];
  for (let i = 0; i < items.length; i += size) batches.push(items.slice(i, i + size));
  const short = batches.at(-1);
  if (fill_with !== null && short !== undefined) {
    run.budget.list(size);
    while (short.length < size) short.push(fill_with);
  }
  return new Stream(batches);
});

const slices = builtIn({ slices: REQUIRED, fill_with: null }, (run, self, { slices: count, fill_with }) => {
  const items = iterate(self, run.budget);
  const number = integerOf(count);
  if (number <= 0) refuse('division by zero');
  run.budget.list(items.length + number);
  const each = Math.floor(items.length / number);
  const longer = items.length % number;
  let at = 0;
  const parts = Array.from({ length: number }, (_, index) => {
    const part = items.slice(at, at + each + (index < longer ? 1 : 0));
    at += part.length;
    return fill_with !== null && index >= longer ? [...part, fill_with] : part;
  });
  return new Stream(parts);
});

const HTML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' };
const escaped = ofText((text) => text.replace(/[&<>"']/g, (character) => HTML[character] as string));

const xmlAttributes = builtIn({ autospace: true }, (run, self, { autospace }) => {
  if (!(self instanceof Dict)) return typeError(`'${typeName(self)}' object has no attribute 'items'`);
  const parts: string[] = [];
  for (const [key, value] of self.entries()) {
    if (value === null || value instanceof Undefined) continue;
    if (/[\s/>=]/.test(str(key, run.budget))) refuse(`Invalid character in attribute name: ${str(key, run.budget)}`);
    parts.push(`${escaped(run, key, [], NO_NAMES)}="${escaped(run, value, [], NO_NAMES)}"`);
  }
  return (isTrue(autospace) && parts.length > 0 ? ' ' : '') + parts.join(' ');
});

const NO_NAMES: Named = new Map();

const urlEncode = builtIn({}, (run, self) => {
  const quote = (value: Value, kept: RegExp) => {
    const text = str(value, run.budget);
    run.budget.make(3 * text.length);
    return encodeURIComponent(text)
      .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
      .replace(kept, (code) => (code === '%20' ? '+' : '/'));
  };
  if (typeof self === 'string' || isNumber(self) || self === null) return quote(self, /%2F/g);
  const pairs =
    self instanceof Dict ? Array.from(self.entries(), (pair) => new Tuple(pair)) : iterate(self, run.budget);
  return pairs.map((pair) => [0, 1].map((index) => quote(run.item(pair, index), /%20/g)).join('=')).join('&');
});

const fileSize = builtIn({ binary: false }, (run, self, { binary }) => {
  const number = toFloat(run, self, [], new Map([['default', null]]));
  if (!isNumber(number))
    return typeError(`float() argument must be a string or a real number, not '${typeName(self)}'`);
  const bytes = numberOf(number);
  const base = isTrue(binary) ? 1024 : 1000;
  if (bytes === 1) return '1 Byte';
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const letters = ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
  const power = Math.min(letters.length, Math.floor(Math.log(bytes) / Math.log(base) + 1e-12));
  const letter = letters[power - 1] as string;
  return `${(bytes / base ** power).toFixed(1)} ${isTrue(binary) ? `${letter.toUpperCase()}i` : letter}B`;
});

const JSON_DEFAULTS = { ensure_ascii: false, indent: null, separators: null, sort_keys: false } as const;

const toJson = builtIn(JSON_DEFAULTS, (run, self, given) => {
  const { indent: width, separators } = given;
  const margin = width === null ? undefined : typeof width === 'string' ? width : spaces(run, integerOf(width));
  const [item, key] =
    separators === null ? [margin === undefined ? ', ' : ',', ': '] : iterate(separators, run.budget).map(textOf);
  if (item === undefined || key === undefined) return refuse('not enough values to unpack (expected 2)');
  const style: JsonStyle = {
    ensureAscii: isTrue(given.ensure_ascii),
    indent: margin,
    separators: [item, key],
    sortKeys: isTrue(given.sort_keys),
  };
  return json(self, style, run.budget);
});

const byDefault = builtIn({ default_value: '', boolean: false }, (_, self, { default_value, boolean }) =>
  self instanceof Undefined || (isTrue(boolean) && !isTrue(self)) ? default_value : self,
);
const count = builtIn({}, (run, self) => {
  if (typeof self === 'string') run.budget.scan(self.length);
  return lengthOf(self) ?? typeError(`object of type '${typeName(self)}' has no len()`);
});

const reverse = builtIn({}, (run, self) => {
  if (typeof self === 'string') {
    run.budget.make(self.length);
    return [...characters(self)].reverse().join('');
  }
  const items = [...iterate(self, run.budget)].reverse();
  run.budget.list(items.length);
  return self instanceof Stream ? items : new Stream(items);
});

const list = builtIn({}, (run, self) => {
  const items = iterate(self, run.budget);
  run.budget.list(items.length);
  return [...items];
});

const attribute = builtIn({ name: REQUIRED }, (run, self, { name }) => {
  // dictionaries have only methods as attributes
  const value = run.attribute(self, textOf(name));
  return self instanceof Dict && self.get(name) === value
    ? new Undefined(`'dict object' has no attribute ${str(name, run.budget)}`)
    : value;
});

const items = builtIn({}, (_, self) => {
  if (self instanceof Undefined) return new Stream([]);
  if (!(self instanceof Dict)) return typeError('Can only get item pairs from a mapping.');
  return new Stream(Array.from(self.entries(), (pair) => new Tuple(pair)));
});

const sort = builtIn({ reverse: false, case_sensitive: false, attribute: null }, (run, self, given) =>
  sorted(
    run,
    iterate(self, run.budget),
    sortKey(run, given.attribute, isTrue(given.case_sensitive)),
    isTrue(given.reverse),
  ),
);

const abs = builtIn({}, (_, self) => {
  if (isInteger(self)) return Math.abs(Number(self));
  return self instanceof Float
    ? new Float(Math.abs(self.value))
    : typeError(`bad operand type for abs(): '${typeName(self)}'`);
});

const formatted: BuiltIn = (run, self, positional, named) => {
  if (positional.length > 0 && named.size > 0) {
    refuse("can't handle positional and keyword arguments at the same time");
  }
  return printf(str(self, run.budget), named.size > 0 ? new Dict(named) : new Tuple(positional), run.budget);
};

export const FILTERS: ReadonlyMap<string, BuiltIn> = new Map(
  Object.entries<BuiltIn>({
    abs,
    attr: attribute,
    batch,
    capitalize: ofText(capitalize),
    center: builtIn({ width: 80 }, (run, self, { width }) => {
      const text = str(self, run.budget);
      const missing = Math.max(0, integerOf(width) - (lengthOf(text) as number));
      const left = centered(missing, integerOf(width));
      return spaces(run, left) + text + spaces(run, missing - left);
    }),
    count,
    d: byDefault,
    default: byDefault,
    dictsort: dictSort,
    e: escaped,
    escape: escaped,
    filesizeformat: fileSize,
    first: builtIn({}, first),
    float: toFloat,
    forceescape: escaped,
    format: formatted,
    groupby: groupBy,
    indent,
    int: toInteger,
    items,
    join,
    last: builtIn({}, last),
    length: count,
    list,
    lower: ofText((text) => text.toLowerCase()),
    map,
    max: extreme(1),
    min: extreme(-1),
    reject: chooser(false, false),
    rejectattr: chooser(false, true),
    replace: builtIn({ old: REQUIRED, new: REQUIRED, count: null }, (run, self, given) => {
      const [text, old, by] = [self, given.old, given.new].map((value) => str(value, run.budget)) as [
        string,
        string,
        string,
      ];
      return replace(run, text, old, by, given.count === null ? -1 : integerOf(given.count));
    }),
    reverse,
    round,
    safe: ofText((text) => text),
    select: chooser(true, false),
    selectattr: chooser(true, true),
    slice: slices,
    sort,
    string: ofText((text) => text),
    sum,
    title: ofText((text) =>
      // words begin after white space, opening brackets and hyphens
      text.replace(/[^-\s({[<]+/gu, capitalize),
    ),
    tojson: toJson,
    trim: builtIn({ chars: null }, (run, self, { chars }) => {
      const text = str(self, run.budget);
      run.budget.make(text.length);
      return strip(text, chars);
    }),
    truncate,
    unique,
    upper: ofText((text) => text.toUpperCase()),
    urlencode: urlEncode,
    wordcount: ofText((text) => text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0),
    xmlattr: xmlAttributes,
  }),
);
