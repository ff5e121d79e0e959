/** Values as text: `str`, `repr` and JSON in Python's format. */

import type { Budget } from './budget';
import { typeError } from './errors';
import {
  Callable,
  compare,
  Dict,
  DictView,
  Float,
  Instance,
  isList,
  Namespace,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values';

/** Formats a value as a template prints it. */
export function str(value: Value, budget: Budget): string {
  if (typeof value === 'string') return value;
  if (value instanceof Undefined) return '';
  return new Writer(budget).repr(value);
}

/** Formats a value as Python shows it inside other values. */
export function repr(value: Value, budget: Budget): string {
  return new Writer(budget).repr(value);
}

class Writer {
  constructor(readonly budget: Budget) {}

  repr(value: Value): string {
    const text = this.#write(value);
    this.budget.make(text.length);
    return text;
  }

  #write(value: Value): string {
    if (value === null) return 'None';
    if (value === true) return 'True';
    if (value === false) return 'False';
    if (typeof value === 'number') return String(value);
    if (typeof value === 'string') return quote(value);
    if (value instanceof Float) return floatText(value.value);
    if (value instanceof Undefined) return 'Undefined';
    this.budget.enter();
    const text = this.#writeParts(value);
    this.budget.leave();
    return text;
  }

  #writeParts(value: Exclude<Value, null | boolean | number | string>): string {
    if (isList(value)) return `[${this.#list(value)}]`;
    if (value instanceof Tuple) return `(${this.#list(value.items)}${value.items.length === 1 ? ',' : ''})`;
    if (value instanceof Dict) return this.#dict(value.entries());
    if (value instanceof DictView) return `dict_${value.kind}([${this.#list(value.items())}])`;
    if (value instanceof Range) {
      const { start, stop, step } = value;
      return `range(${start}, ${stop}${step === 1 ? '' : `, ${step}`})`;
    }
    if (value instanceof Namespace) return `<Namespace ${this.#dict(value.fields)}>`;
    if (value instanceof Callable || value instanceof Instance) return `<${typeName(value)}>`;
    return `<${typeName(value)} object>`;
  }

  #list(items: readonly Value[]): string {
    return items.map((item) => this.repr(item)).join(', ');
  }

  #dict(entries: Iterable<readonly [Value, Value]>): string {
    return `{${Array.from(entries, ([key, value]) => `${this.repr(key)}: ${this.repr(value)}`).join(', ')}}`;
  }
}

const UNPRINTABLE = /[\p{C}\p{Z}\\']/gu;
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t', ' ': ' ' };

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(UNPRINTABLE, (character) => {
    if (character === "'") return mark === "'" ? "\\'" : "'";
    return ESCAPES[character] ?? escapeCode(character.codePointAt(0) as number);
  });
  return mark + inner + mark;
}

function escapeCode(code: number): string {
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${digits.padStart(4, '0')}` : `\\U${digits.padStart(8, '0')}`;
}

/** Formats a float with the shortest digits that identify it, and with an exponent where Python uses one. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [mantissa = '', exponent = ''] = value.toExponential().split('e');
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  // below 10^-6 JavaScript's String() already uses an exponent
  const text = Math.abs(value) < 1e-6 ? value.toFixed(mantissa.replace(/\D/g, '').length - 1 - power) : String(value);
  return text.includes('.') ? text : `${text}.0`;
}

/** Options of {@link json}, as those of Python's `json.dumps`. */
export interface JsonStyle {
  readonly ensureAscii: boolean;
  readonly indent: string | undefined;
  /** Between items, and between a key and its value. */
  readonly separators: readonly [string, string];
  readonly sortKeys: boolean;
}

/** Formats a value as JSON. */
export function json(value: Value, style: JsonStyle, budget: Budget): string {
  const write = (item: Value, breaks: string): string => {
    const text = writeOne(item, breaks);
    budget.make(text.length);
    return text;
  };
  const writeOne = (item: Value, breaks: string): string => {
    if (item === null || typeof item === 'boolean' || typeof item === 'number') return String(item);
    if (typeof item === 'string') return jsonString(item, style.ensureAscii);
    if (item instanceof Float) return jsonFloat(item.value);
    const isDict = item instanceof Dict;
    if (!isDict && !isList(item) && !(item instanceof Tuple)) {
      return typeError(`Object of type ${typeName(item)} is not JSON serializable`);
    }
    budget.enter();
    const inner = style.indent === undefined ? '' : breaks + style.indent;
    const parts = isDict ? members(item, inner) : (isList(item) ? item : item.items).map((part) => write(part, inner));
    budget.leave();
    const [open, close] = isDict ? '{}' : '[]';
    if (parts.length === 0) return `${open}${close}`;
    // the indent is repeated for every item
    budget.make(parts.length * inner.length);
    const outer = style.indent === undefined ? '' : breaks;
    return open + inner + parts.join(style.separators[0] + inner) + outer + close;
  };
  const members = (dict: Dict, breaks: string): string[] => {
    const entries = [...dict.entries()];
    if (style.sortKeys) entries.sort(([a], [b]) => compare(a, b, budget));
    return entries.map(
      ([key, item]) => jsonString(jsonKey(key), style.ensureAscii) + style.separators[1] + write(item, breaks),
    );
  };
  return write(value, '\n');
}

function jsonKey(key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null || typeof key === 'boolean' || typeof key === 'number') return String(key);
  if (key instanceof Float) return jsonFloat(key.value);
  return typeError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) return floatText(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

function jsonString(text: string, ensureAscii: boolean): string {
  const written = JSON.stringify(text);
  if (!ensureAscii) return written;
  return written.replace(/[^\0-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
