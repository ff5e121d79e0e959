/** Python's values, with which templates compute. Integers are JavaScript numbers, most other values have classes. */

import type { JsonObject } from '../../io/json';
import { LimitError } from '../bounded';
import { type Budget, DEEPEST } from './budget';
import { TemplateError, typeError } from './errors';

export type Value =
  | null
  | boolean
  | number
  | string
  | Float
  | Undefined
  | readonly Value[]
  | Tuple
  | Dict
  | DictView
  | Range
  | Stream
  | Namespace
  | Callable
  | Instance;

/** A Python float, such as 1.0. */
export class Float {
  constructor(readonly value: number) {}
}

/** The value of an undefined name. It prints as nothing; most other uses are errors. */
export class Undefined {
  constructor(readonly message: string) {}
}

export class Tuple {
  constructor(readonly items: readonly Value[]) {}
}

/** A group of `groupby`. */
export class Group extends Tuple {
  constructor(
    readonly grouper: Value,
    readonly list: readonly Value[],
  ) {
    super([grouper, list]);
  }
}

type Key = string | number | object | null;

/** A dictionary in insertion order. */
export class Dict {
  readonly #entries = new Map<Key, readonly [Value, Value]>();

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(keyOf(key))?.[1];
  }

  has(key: Value): boolean {
    return this.#entries.has(keyOf(key));
  }

  /** Sets an entry. Only the code that builds a dictionary calls it, since templates cannot mutate values. */
  set(key: Value, value: Value): void {
    const known = keyOf(key);
    this.#entries.set(known, [this.#entries.get(known)?.[0] ?? key, value]);
  }

  entries(): IterableIterator<readonly [Value, Value]> {
    return this.#entries.values();
  }

  keys(): Value[] {
    return Array.from(this.#entries.values(), ([key]) => key);
  }

  values(): Value[] {
    return Array.from(this.#entries.values(), ([, value]) => value);
  }
}

/** The result of `dict.keys()`, `dict.values()` or `dict.items()`. */
export class DictView {
  constructor(
    readonly dict: Dict,
    readonly kind: 'keys' | 'values' | 'items',
  ) {}

  items(): Value[] {
    if (this.kind === 'keys') return this.dict.keys();
    return this.kind === 'values' ? this.dict.values() : Array.from(this.dict.entries(), (pair) => new Tuple(pair));
  }
}

export class Range {
  readonly length: number;

  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): number {
    return this.start + index * this.step;
  }
}

/** A generator, which can be iterated once. */
export class Stream {
  #items: readonly Value[];

  constructor(items: readonly Value[]) {
    this.#items = items;
  }

  take(): readonly Value[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }
}

/** The result of `namespace()`: fields that a template may assign. */
export class Namespace {
  readonly fields = new Map<string, Value>();
}

/** Keyword arguments of a call. */
export type Named = ReadonlyMap<string, Value>;

/** A function that a template can call. */
export class Callable {
  constructor(
    readonly name: string,
    readonly call: (positional: readonly Value[], named: Named) => Value,
  ) {}
}

/** An object with fields, such as the state of a loop. Some are callable. */
export abstract class Instance {
  abstract readonly className: string;
  /** Returns the value of a field; undefined if there is none. */
  abstract field(name: string): Value | undefined;

  get isCallable(): boolean {
    return false;
  }

  call(_positional: readonly Value[]): Value {
    return typeError(`'${this.className}' object is not callable`);
  }
}

function keyOf(value: Value): Key {
  // tuple keys start with a zero character, so escape it in texts
  if (typeof value === 'string') return value.startsWith('\0') ? `\0${value}` : value;
  if (typeof value === 'number' || value === null) return value;
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Float) return value.value;
  if (value instanceof Tuple) return tupleKey(value);
  if (value instanceof Undefined) return '\0undefined';
  if (isList(value) || value instanceof Dict) return typeError(`unhashable type: '${typeName(value)}'`);
  return value;
}

/** Longest key in characters: tuples of shared tuples can expand to far more than the text that creates them. */
const LONGEST_KEY = 1 << 16;

/** Returns a string that is unique among the keys of a dictionary. */
function tupleKey(tuple: Tuple): string {
  const parts = ['\0'];
  let length = 0;
  const add = (text: string) => {
    length += text.length;
    if (length > LONGEST_KEY) throw new LimitError('takes too long');
    parts.push(text);
  };
  const visit = (value: Value, depth: number) => {
    if (!(value instanceof Tuple)) {
      const key = keyOf(value);
      // the length prefix prevents that one text reads as two
      add(typeof key === 'string' ? `${key.length}:${key}` : `${typeof key === 'object' ? objectKey(key) : key},`);
      return;
    }
    if (depth > DEEPEST) throw new LimitError(`nests deeper than ${DEEPEST} levels`);
    add('(');
    for (const item of value.items) visit(item, depth + 1);
    add(')');
  };
  visit(tuple, 1);
  return parts.join('');
}

const objectKeys = new WeakMap<object, string>();
let objects = 0;

/** Returns a key that identifies an object. */
function objectKey(value: object | null): string {
  if (value === null) return 'null';
  const key = objectKeys.get(value) ?? `object ${objects++}`;
  objectKeys.set(value, key);
  return key;
}

/** Tells whether the value is an integer or a boolean, which Python counts as an integer. */
export function isInteger(value: Value): value is number | boolean {
  return typeof value === 'number' || typeof value === 'boolean';
}

export function isNumber(value: Value): value is number | boolean | Float {
  return isInteger(value) || value instanceof Float;
}

export function numberOf(value: number | boolean | Float): number {
  return value instanceof Float ? value.value : Number(value);
}

/** Returns a computed integer. Throws TemplateError beyond 2^53, where Python's integers go on. */
export function integer(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw new TemplateError('integers beyond 2^53 are not supported');
}

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return 'int';
  if (typeof value === 'string') return 'str';
  if (Array.isArray(value)) return 'list';
  if (value instanceof DictView) return `dict_${value.kind}`;
  if (value instanceof Instance) return value.className;
  return TYPE_NAMES.get((value as object).constructor) ?? 'object';
}

const TYPE_NAMES = new Map<unknown, string>([
  [Float, 'float'],
  [Undefined, 'Undefined'],
  [Tuple, 'tuple'],
  [Group, '_GroupTuple'],
  [Dict, 'dict'],
  [Range, 'range'],
  [Stream, 'generator'],
  [Namespace, 'Namespace'],
  [Callable, 'function'],
]);

export function isTrue(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Float) return value.value !== 0;
  if (typeof value === 'object') return (lengthOf(value) ?? 1) > 0;
  return Boolean(value);
}

/** Splits a text into characters as Python counts them: a character beyond U+FFFF is one. */
export function characters(text: string): readonly string[] {
  return isBasic(text) ? text.split('') : Array.from(text);
}

/** Tells whether all characters are single UTF-16 units, so that positions equal Python's. */
export function isBasic(text: string): boolean {
  return !/[\ud800-\udfff]/.test(text);
}

/** Returns the number of items or characters; undefined for values without a length. */
export function lengthOf(value: Value): number | undefined {
  if (typeof value === 'string') return isBasic(value) ? value.length : characters(value).length;
  if (isList(value)) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof DictView) return value.dict.size;
  if (value instanceof Range) return value.length;
  return value instanceof Undefined ? 0 : undefined;
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** Returns the items over which a loop iterates; undefined for values without items. */
export function itemsOf(value: Value, budget: Budget): readonly Value[] | undefined {
  if (isList(value)) return value;
  if (value instanceof Tuple) return value.items;
  if (value instanceof Stream) return value.take();
  if (value instanceof Undefined) return [];
  const length = typeof value === 'string' ? value.length : lengthOf(value);
  if (length === undefined) return undefined;
  budget.list(length);
  if (typeof value === 'string') return characters(value);
  if (value instanceof Dict) return value.keys();
  if (value instanceof DictView) return value.items();
  return value instanceof Range ? Array.from({ length }, (_, index) => value.at(index)) : undefined;
}

/** Returns the items over which a loop iterates. Throws TemplateError for values without items. */
export function iterate(value: Value, budget: Budget): readonly Value[] {
  return itemsOf(value, budget) ?? typeError(`'${typeName(value)}' object is not iterable`);
}

export function areEqual(a: Value, b: Value, budget: Budget): boolean {
  budget.step();
  if (isNumber(a) && isNumber(b)) return numberOf(a) === numberOf(b);
  if (typeof a === 'string' && typeof b === 'string') {
    budget.scan(a.length);
    return a === b;
  }
  if (isList(a) && isList(b)) return areAllEqual(a, b, budget);
  if (a instanceof Tuple && b instanceof Tuple) return areAllEqual(a.items, b.items, budget);
  if (a instanceof Undefined) return b instanceof Undefined;
  if (!(a instanceof Dict && b instanceof Dict)) return a === b;
  if (a.size !== b.size) return false;
  return deeper(budget, () => {
    for (const [key, value] of a.entries()) {
      const other = b.get(key);
      if (other === undefined || !areEqual(value, other, budget)) return false;
    }
    return true;
  });
}

function areAllEqual(a: readonly Value[], b: readonly Value[], budget: Budget): boolean {
  if (a.length !== b.length) return false;
  return deeper(budget, () => a.every((item, index) => areEqual(item, b[index] as Value, budget)));
}

function deeper<T>(budget: Budget, work: () => T): T {
  budget.enter();
  const result = work();
  budget.leave();
  return result;
}

/** Compares two values: negative if a comes before b, positive if it comes after b. */
export function compare(a: Value, b: Value, budget: Budget, operator = '<'): number {
  budget.step();
  if (isNumber(a) && isNumber(b)) return numberOf(a) - numberOf(b);
  if (typeof a === 'string' && typeof b === 'string') {
    budget.scan(Math.min(a.length, b.length));
    return compareTexts(a, b);
  }
  const lists = isList(a) && isList(b) ? ([a, b] as const) : undefined;
  const tuples = a instanceof Tuple && b instanceof Tuple ? ([a.items, b.items] as const) : undefined;
  const [left, right] = lists ?? tuples ?? [];
  if (left === undefined || right === undefined) {
    expectDefined(a, b);
    return typeError(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
  }
  return deeper(budget, () => {
    const length = Math.min(left.length, right.length);
    for (let i = 0; i < length; i++) {
      if (!areEqual(left[i] as Value, right[i] as Value, budget)) {
        return compare(left[i] as Value, right[i] as Value, budget, operator);
      }
    }
    return left.length - right.length;
  });
}

/** Compares by code points. JavaScript compares code units, which order characters beyond U+FFFF differently. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  if (isBasic(a) && isBasic(b)) return a < b ? -1 : 1;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a[at] === b[at]) at++;
  const [x, y] = [a.codePointAt(at), b.codePointAt(at)];
  return (x ?? -1) - (y ?? -1);
}

/** Throws TemplateError if one of the values is undefined. */
export function expectDefined(...values: readonly Value[]): void {
  for (const value of values) if (value instanceof Undefined) throw new TemplateError(value.message);
}

/** Converts a JSON value. */
export function fromJson(value: unknown, budget: Budget): Value {
  budget.step();
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : new Float(value);
  if (Array.isArray(value)) return deeper(budget, () => value.map((item) => fromJson(item, budget)));
  const entries = Object.entries(value as JsonObject);
  return deeper(budget, () => new Dict(entries.map(([key, item]) => [key, fromJson(item, budget)])));
}
