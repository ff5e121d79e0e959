/** Python's three format languages: `%`, `str.format` and `strftime`. */

import type { Budget } from './budget';
import { TemplateError, typeError } from './errors';
import { Dict, Float, isNumber, lengthOf, numberOf, Tuple, typeName, type Value } from './values';
import { floatText, repr, str } from './writing';

/** Most digits after the point that JavaScript can write. */
const MOST_DIGITS = 100;

/** Layout of a formatted value. */
interface Layout {
  readonly fill: string;
  /** '<' left, '>' right, '^' centered, '=' with the fill after the sign. */
  readonly align: string;
  /** Sign of nonnegative numbers: '', '+' or ' '. */
  readonly sign: string;
  readonly alternate: boolean;
  /** Separator of groups of three digits. */
  readonly group: string;
  readonly width: number;
  readonly precision: number | undefined;
}

const PRINTF = /%(?:\(([^)]*)\))?([-#0 +]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?([\s\S]?)/g;

/** Evaluates `text % given`. */
export function printf(text: string, given: Value, budget: Budget): string {
  const values = given instanceof Tuple ? given.items : [given];
  const named = given instanceof Dict ? given : undefined;
  let next = 0;
  const take = () => {
    if (next >= values.length) throw typeError('not enough arguments for format string');
    return values[next++] as Value;
  };
  const number = (digits: string | undefined) => {
    if (digits !== '*') return Number(digits);
    const value = take();
    return typeof value === 'number' ? value : typeError('* wants int');
  };
  budget.scan(text.length);
  const result = text.replace(
    PRINTF,
    (
      _,
      key: string | undefined,
      flags: string,
      width: string | undefined,
      precision: string | undefined,
      type: string,
    ) => {
      if (type === '%') return '%';
      if (key !== undefined && named === undefined) typeError('format requires a mapping');
      const layout = {
        fill: flags.includes('0') ? '0' : ' ',
        align: flags.includes('-') ? '<' : flags.includes('0') ? '=' : '>',
        sign: flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '',
        alternate: flags.includes('#'),
        group: '',
        width: width === undefined ? 0 : number(width),
        precision: precision === undefined ? undefined : number(precision),
      };
      const value = key === undefined ? take() : named?.get(key);
      if (value === undefined) throw new TemplateError(repr(key as string, budget));
      return printfValue(value, type, layout, budget);
    },
  );
  if (named === undefined && next < values.length) typeError('not all arguments converted during string formatting');
  budget.make(result.length);
  return result;
}

function printfValue(value: Value, type: string, layout: Layout, budget: Budget): string {
  if (type === 's' || type === 'r' || type === 'a') {
    const text = type === 's' ? str(value, budget) : repr(value, budget);
    // zero fill is for numbers only
    return pad(cut(text, layout.precision), { ...layout, fill: ' ', align: layout.align === '<' ? '<' : '>' }, budget);
  }
  if (type === 'c')
    return pad(typeof value === 'number' ? String.fromCodePoint(value) : str(value, budget), layout, budget);
  if (!/^[diuxXoeEfFgG]$/.test(type)) {
    throw new TemplateError(type === '' ? 'incomplete format' : `unsupported format character '${type}'`);
  }
  if (!isNumber(value)) return typeError(`%${type} format: a real number is required, not ${typeName(value)}`);
  const isFloat = /[eEfFgG]/.test(type);
  const converted = isFloat ? new Float(numberOf(value)) : Math.trunc(numberOf(value));
  return formatNumber(converted, /[iu]/.test(type) ? 'd' : type, layout, budget);
}

const SPEC = /^(?:([\s\S])?([<>=^]))?([-+ ])?z?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/u;

/** Formats a value by a format specification of `str.format`. */
export function formatValue(value: Value, spec: string, budget: Budget): string {
  if (spec === '') return str(value, budget);
  const match = SPEC.exec(spec);
  if (match === null) throw new TemplateError(`Invalid format specifier '${spec}'`);
  const [, fill, align, sign, alternate, zero, width, group, precision, type = ''] = match;
  const isNumeric = isNumber(value);
  if (!isNumeric && typeof value !== 'string')
    typeError(`unsupported format string passed to ${typeName(value)}.__format__`);
  const layout = {
    fill: fill ?? (zero ? '0' : ' '),
    align: align ?? (isNumeric ? (zero ? '=' : '>') : '<'),
    sign: sign === '-' || sign === undefined ? '' : sign,
    alternate: alternate !== undefined,
    group: group ?? '',
    width: Number(width ?? 0),
    precision: precision === undefined ? undefined : Number(precision),
  };
  if (!isNumeric) {
    if (type !== '' && type !== 's') throw new TemplateError(`Unknown format code '${type}' for object of type 'str'`);
    return pad(cut(value as string, layout.precision), layout, budget);
  }
  if (typeof value === 'boolean' && type === '') return pad(str(value, budget), layout, budget);
  if (!/^[bcdeEfFgGnoxX%]?$/.test(type) || (value instanceof Float && /[bcdoxX]/.test(type))) {
    throw new TemplateError(`Unknown format code '${type}' for object of type '${typeName(value)}'`);
  }
  if (type === 'c') return pad(String.fromCodePoint(numberOf(value)), layout, budget);
  const isFloat = value instanceof Float || /[eEfFgG%]/.test(type);
  return formatNumber(isFloat ? new Float(numberOf(value)) : Number(value), type === 'n' ? '' : type, layout, budget);
}

function formatNumber(value: number | Float, type: string, layout: Layout, budget: Budget): string {
  const number = numberOf(value);
  const isNegative = number < 0 || Object.is(number, -0);
  let digits =
    value instanceof Float
      ? floatDigits(Math.abs(number), type, layout)
      : integerDigits(Math.abs(number), type || 'd', layout);
  if (layout.group !== '') digits = digits.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, layout.group));
  return pad(digits, layout, budget, isNegative ? '-' : layout.sign);
}

function integerDigits(value: number, type: string, { alternate, precision = 0 }: Layout): string {
  const base = { b: 2, o: 8, x: 16, X: 16 }[type] ?? 10;
  const digits = value.toString(base).padStart(Math.min(precision, MOST_DIGITS), '0');
  const prefixed = alternate && base !== 10 ? `0${type.toLowerCase()}${digits}` : digits;
  return type === 'X' ? prefixed.toUpperCase() : prefixed;
}

function floatDigits(value: number, type: string, { precision, alternate }: Layout): string {
  if (!Number.isFinite(value)) return floatText(value);
  const digits = Math.min(precision ?? 6, MOST_DIGITS);
  const kind = type.toLowerCase();
  let text: string;
  if (kind === 'f') text = fixed(value, digits);
  else if (kind === '%') text = `${fixed(value * 100, digits)}%`;
  else if (kind === 'e') text = exponential(value, digits);
  else if (kind === '' && precision === undefined) text = floatText(value);
  else text = general(value, Math.max(1, digits), alternate, kind === '');
  return type === 'E' || type === 'G' || type === 'F' ? text.toUpperCase() : text;
}

/** Formats in fixed-point notation. JavaScript's toFixed switches to an exponent from 10^21 on. */
function fixed(value: number, digits: number): string {
  return value < 1e21 ? value.toFixed(digits) : BigInt(value) + (digits > 0 ? `.${'0'.repeat(digits)}` : '');
}

function exponential(value: number, digits: number): string {
  return value.toExponential(digits).replace(/e([-+])(\d)$/, 'e$10$2');
}

/** Formats as `%g`: an exponent for very small or large numbers, fixed-point otherwise, without trailing zeros. */
function general(value: number, digits: number, alternate: boolean, point: boolean): string {
  const power = Number(value.toExponential(digits - 1).split('e')[1]);
  const usesExponent = power < -4 || power >= (point ? digits - 1 || 1 : digits);
  const text = usesExponent ? exponential(value, digits - 1) : fixed(value, digits - 1 - power);
  const short = alternate || !text.includes('.') ? text : text.replace(/\.?0+(?=e|$)/, '');
  return point && !usesExponent && !short.includes('.') ? `${short}.0` : short;
}

function cut(text: string, length: number | undefined): string {
  return length === undefined
    ? text
    : Array.from(text.slice(0, 2 * length))
        .slice(0, length)
        .join('');
}

/** Fills a text up to a width, with `sign` before it. */
function pad(text: string, { fill, align, width }: Layout, budget: Budget, sign = ''): string {
  const missing = width - (lengthOf(text) as number) - sign.length;
  if (missing <= 0) return sign + text;
  budget.make(width);
  if (align === '=') return sign + fill.repeat(missing) + text;
  const before = align === '>' ? missing : align === '^' ? Math.floor(missing / 2) : 0;
  return fill.repeat(before) + sign + text + fill.repeat(missing - before);
}

/** Attribute and item lookup for the fields of `str.format`. */
export interface Lookup {
  attribute(value: Value, name: string): Value;
  item(value: Value, key: Value): Value;
}

/** Evaluates `text.format(*positional, **named)`. */
export function format(
  text: string,
  positional: readonly Value[],
  named: ReadonlyMap<string, Value>,
  lookup: Lookup,
  budget: Budget,
): string {
  let next = 0;
  const field = (name: string): Value => {
    const [first = '', ...steps] = name.split(/(?=[.[])/);
    let value: Value | undefined;
    if (/^\d*$/.test(first)) value = positional[first === '' ? next++ : Number(first)];
    else value = named.get(first);
    if (value === undefined) throw new TemplateError(`no value for the place '{${name}}' of a format`);
    for (const step of steps) {
      const key = step.slice(1).replace(/\]$/, '');
      if (step.startsWith('.')) value = lookup.attribute(value, key);
      else value = lookup.item(value, /^\d+$/.test(key) ? Number(key) : key);
    }
    return value;
  };
  const expand = (template: string, depth: number): string => {
    if (depth > 2) throw new TemplateError('Max string recursion exceeded');
    let result = '';
    for (let at = 0; at < template.length; ) {
      const begin = template.slice(at).search(/[{}]/);
      if (begin < 0) return result + template.slice(at);
      result += template.slice(at, at + begin);
      at += begin;
      const character = template[at] as string;
      if (template[at + 1] === character) {
        result += character;
        at += 2;
        continue;
      }
      const end = character === '{' ? closing(template, at) : -1;
      if (end < 0) throw new TemplateError(`Single '${character}' encountered in format string`);
      result += place(template.slice(at + 1, end), depth);
      at = end + 1;
      budget.make(result.length);
    }
    return result;
  };
  const place = (inner: string, depth: number): string => {
    const [, name = '', , conversion, , spec = ''] = /^([^!:]*)(!([\s\S]))?(:([\s\S]*))?$/.exec(inner) ?? [];
    let value = field(name);
    if (conversion === 'r' || conversion === 'a') value = repr(value, budget);
    else if (conversion === 's') value = str(value, budget);
    else if (conversion !== undefined) throw new TemplateError(`Unknown conversion specifier '${conversion}'`);
    return formatValue(value, expand(spec, depth + 1), budget);
  };
  return expand(text, 1);
}

/** Returns the position of the matching closing brace. */
function closing(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0) return i;
  }
  return -1;
}

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July'].concat([
  'August',
  'September',
  'October',
  'November',
  'December',
]);
/** Codes that abbreviate others. */
const COMPOUND: Readonly<Record<string, string>> = {
  c: '%a %b %e %H:%M:%S %Y',
  D: '%m/%d/%y',
  F: '%Y-%m-%d',
  r: '%I:%M:%S %p',
  R: '%H:%M',
  T: '%H:%M:%S',
  x: '%m/%d/%y',
  X: '%H:%M:%S',
};
const DAY = 86_400_000;

/** Formats a time by Python's codes, in the C locale and local time. `%-d` and similar codes drop leading zeros. */
export function strftime(format: string, time: Date, budget: Budget): string {
  budget.make(format.length);
  return format.replace(/%([-_0^])?([a-zA-Z%])/g, (code, flag: string | undefined, letter: string) => {
    budget.step();
    const compound = COMPOUND[letter];
    const text = compound === undefined ? timeField(letter, time) : strftime(compound, time, budget);
    if (text === undefined) return code;
    budget.make(text.length);
    if (flag === '-') return text.replace(/^[0 ]+(?=.)/, '');
    if (flag === '_') return text.replace(/^0+(?=.)/, (zeros) => ' '.repeat(zeros.length));
    return flag === '^' ? text.toUpperCase() : text;
  });
}

function timeField(letter: string, time: Date): string | undefined {
  const digits = (value: number, width = 2) => String(value).padStart(width, '0');
  const [day, month, year, hour] = [time.getDay(), time.getMonth(), time.getFullYear(), time.getHours()];
  switch (letter) {
    case 'a':
      return DAYS[day]?.slice(0, 3);
    case 'A':
      return DAYS[day];
    case 'b':
    case 'h':
      return MONTHS[month]?.slice(0, 3);
    case 'B':
      return MONTHS[month];
    case 'C':
      return digits(Math.floor(year / 100));
    case 'd':
      return digits(time.getDate());
    case 'e':
      return String(time.getDate()).padStart(2);
    case 'f':
      return digits(time.getMilliseconds() * 1000, 6);
    case 'G':
      return String(isoWeek(time).year);
    case 'g':
      return digits(isoWeek(time).year % 100);
    case 'H':
      return digits(hour);
    case 'I':
      return digits(hour % 12 || 12);
    case 'j':
      return digits(dayOfYear(time), 3);
    case 'k':
      return String(hour).padStart(2);
    case 'l':
      return String(hour % 12 || 12).padStart(2);
    case 'm':
      return digits(month + 1);
    case 'M':
      return digits(time.getMinutes());
    case 'n':
      return '\n';
    case 'p':
      return hour < 12 ? 'AM' : 'PM';
    case 'P':
      return hour < 12 ? 'am' : 'pm';
    case 's':
      return String(Math.floor(time.getTime() / 1000));
    case 'S':
      return digits(time.getSeconds());
    case 't':
      return '\t';
    case 'u':
      return String(day || 7);
    case 'U':
      return digits(Math.floor((dayOfYear(time) + 6 - day) / 7));
    case 'V':
      return digits(isoWeek(time).week);
    case 'w':
      return String(day);
    case 'W':
      return digits(Math.floor((dayOfYear(time) + 6 - ((day + 6) % 7)) / 7));
    case 'y':
      return digits(year % 100);
    case 'Y':
      return String(year);
    case 'z':
    case 'Z':
      // as Python's local time without a time zone
      return '';
    case '%':
      return '%';
    default:
      return undefined;
  }
}

/** Returns the day of the year, from 1. It computes in UTC, where all days have the same length. */
function dayOfYear(time: Date): number {
  const year = time.getFullYear();
  return (Date.UTC(year, time.getMonth(), time.getDate()) - Date.UTC(year, 0, 1)) / DAY + 1;
}

/** Returns the ISO week. A week belongs to the year of its Thursday. */
function isoWeek(time: Date): { readonly year: number; readonly week: number } {
  const thursday = new Date(time.getFullYear(), time.getMonth(), time.getDate() + 4 - (time.getDay() || 7));
  return { year: thursday.getFullYear(), week: Math.ceil(dayOfYear(thursday) / 7) };
}
