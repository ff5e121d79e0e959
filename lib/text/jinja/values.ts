/** Values as Python has them: what a template computes with. Integers are numbers, other values have classes. */

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

/** A number that is no integer to Python, such as 1.0. */
export class Float {
  constructor(readonly value: number) {}
}

/** What a name without a value stands for: nothing where it is written, an error where more is asked of it. */
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

/** A dictionary in the order in which its keys came. */
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

  /** Only for one who builds it: templates cannot change what there is. */
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

/** `dict.keys()`, `dict.values()` and `dict.items()`. */
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

/** What Python's generators are: something to go through once. */
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

/** What `namespace()` gives: fields that a template may assign to. */
export class Namespace {
  readonly fields = new Map<string, Value>();
}

/** Values with names, as a call gives them. */
export type Named = ReadonlyMap<string, Value>;

/** What a template can call. */
export class Callable {
  constructor(
    readonly name: string,
    readonly call: (positional: readonly Value[], named: Named) => Value,
  ) {}
}

/** An object with fields of its own, such as the state of a loop; some can be called. */
export abstract class Instance {
  abstract readonly className: string;
  /** The value of a field; undefined where there is none. */
  abstract field(name: string): Value | undefined;

  get isCallable(): boolean {
    return false;
  }

  call(_positional: readonly Value[]): Value {
    return typeError(`'${this.className}' object is not callable`);
  }
}

function keyOf(value: Value): Key {
  // what begins with a zero character would be taken for a tuple
  if (typeof value === 'string') return value.startsWith('\0') ? `\0${value}` : value;
  if (typeof value === 'number' || value === null) return value;
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Float) return value.value;
  if (value instanceof Tuple) return tupleKey(value);
  if (value instanceof Undefined) return '\0undefined';
  if (isList(value) || value instanceof Dict) return typeError(`unhashable type: '${typeName(value)}'`);
  return value;
}

/** Characters of the longest key: tuples of tuples can be far larger than what makes them. */
const LONGEST_KEY = 1 << 16;

/** What tells a tuple from every other key. */
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
      // with its length, so that no text can be taken for two
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

/** Tells an object, which is a key by itself, from every other. */
function objectKey(value: object | null): string {
  if (value === null) return 'null';
  const key = objectKeys.get(value) ?? `object ${objects++}`;
  objectKeys.set(value, key);
  return key;
}

/** Whether the value is an integer, or counts as one. */
export function isInteger(value: Value): value is number | boolean {
  return typeof value === 'number' || typeof value === 'boolean';
}

export function isNumber(value: Value): value is number | boolean | Float {
  return isInteger(value) || value instanceof Float;
}

export function numberOf(value: number | boolean | Float): number {
  return value instanceof Float ? value.value : Number(value);
}

/** Checks an integer that was computed. Python's have no bounds. */
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

/** Characters as Python counts them: a character beyond U+FFFF is one. */
export function characters(text: string): readonly string[] {
  return isBasic(text) ? text.split('') : Array.from(text);
}

/** Whether all characters are single units, so that places in the text are Python's. */
export function isBasic(text: string): boolean {
  return !/[\ud800-\udfff]/.test(text);
}

/** How many items or characters there are; undefined for what has no length. */
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

/** What a loop over a value goes through. Undefined for what has no items. */
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

/** The same for what must have items. */
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

/** Negative where a comes before b, positive where it comes after b. */
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

/** By characters, of which JavaScript's units of those beyond U+FFFF come before some others. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  if (isBasic(a) && isBasic(b)) return a < b ? -1 : 1;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a[at] === b[at]) at++;
  const [x, y] = [a.codePointAt(at), b.codePointAt(at)];
  return (x ?? -1) - (y ?? -1);
}

/** Throws where one of some values is undefined. */
export function expectDefined(...values: readonly Value[]): void {
  for (const value of values) if (value instanceof Undefined) throw new TemplateError(value.message);
}

/** What JSON says. */
export function fromJson(value: unknown, budget: Budget): Value {
  budget.step();
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : new Float(value);
  if (Array.isArray(value)) return deeper(budget, () => value.map((item) => fromJson(item, budget)));
  const entries = Object.entries(value as JsonObject);
  return deeper(budget, () => new Dict(entries.map(([key, item]) => [key, fromJson(item, budget)])));
}
