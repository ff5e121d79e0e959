/** Operators of expressions, with Python's semantics. */

import type { Budget } from './budget';
import { integerOf } from './builtin';
import { TemplateError, typeError } from './errors';
import { printf } from './format';
import {
  areEqual,
  characters,
  compare,
  Dict,
  DictView,
  expectDefined,
  Float,
  integer,
  isBasic,
  isInteger,
  isList,
  isNumber,
  itemsOf,
  numberOf,
  Range,
  Tuple,
  typeName,
  type Value,
} from './values';

/** Evaluates `left operator right` for arithmetic operators. */
export function arithmetic(operator: string, left: Value, right: Value, budget: Budget): Value {
  expectDefined(left, right);
  if (operator === '%' && typeof left === 'string') return printf(left, right, budget);
  if (isNumber(left) && isNumber(right)) {
    const isFloat = !isInteger(left) || !isInteger(right);
    return compute(operator, numberOf(left), numberOf(right), isFloat);
  }
  const result =
    operator === '+' ? joined(left, right, budget) : operator === '*' ? repeated(left, right, budget) : null;
  if (result !== null) return result;
  if (operator === '+' && typeof left === 'string') {
    typeError(`can only concatenate str (not "${typeName(right)}") to str`);
  }
  return typeError(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

function compute(operator: string, a: number, b: number, isFloat: boolean): Value {
  const number = (value: number) => (isFloat ? new Float(value) : integer(value));
  switch (operator) {
    case '+':
      return number(a + b);
    case '-':
      return number(a - b);
    case '*':
      return number(a * b);
    case '/':
      return new Float(a / divisor(b));
    case '//':
      return number(Math.floor(a / divisor(b)));
    case '%':
      return number(a - b * Math.floor(a / divisor(b)));
    default:
      if (a === 0 && b < 0) throw new TemplateError('0.0 cannot be raised to a negative power');
      return isFloat || b < 0 ? new Float(a ** b) : integer(a ** b);
  }
}

function divisor(value: number): number {
  if (value === 0) throw new TemplateError('division by zero');
  return value;
}

function joined(left: Value, right: Value, budget: Budget): Value {
  if (typeof left === 'string' && typeof right === 'string') {
    budget.join(left.length + right.length);
    return left + right;
  }
  if (isList(left) && isList(right)) {
    budget.list(left.length + right.length);
    return [...left, ...right];
  }
  if (!(left instanceof Tuple && right instanceof Tuple)) return null;
  budget.list(left.items.length + right.items.length);
  return new Tuple([...left.items, ...right.items]);
}

function repeated(left: Value, right: Value, budget: Budget): Value {
  if (isInteger(left)) return isInteger(right) ? null : repeated(right, left, budget);
  if (!isInteger(right)) return null;
  const times = Math.max(0, Number(right));
  if (typeof left === 'string') {
    budget.make(left.length * times);
    return left.repeat(times);
  }
  const items = isList(left) ? left : left instanceof Tuple ? left.items : undefined;
  if (items === undefined) return null;
  budget.list(items.length * times);
  const all = Array.from({ length: times }, () => items).flat();
  return isList(left) ? all : new Tuple(all);
}

/** Evaluates `-value` and `+value`. */
export function signed(value: Value, sign: 1 | -1): Value {
  expectDefined(value);
  if (!isNumber(value)) return typeError(`bad operand type for unary ${sign > 0 ? '+' : '-'}: '${typeName(value)}'`);
  return value instanceof Float ? new Float(sign * value.value) : sign * Number(value);
}

/** Evaluates `left operator right` for comparisons. */
export function holds(operator: string, left: Value, right: Value, budget: Budget): boolean {
  switch (operator) {
    case '==':
      return areEqual(left, right, budget);
    case '!=':
      return !areEqual(left, right, budget);
    case 'in':
      return contains(right, left, budget);
    case 'not in':
      return !contains(right, left, budget);
    case '<':
      return compare(left, right, budget, operator) < 0;
    case '<=':
      return compare(left, right, budget, operator) <= 0;
    case '>':
      return compare(left, right, budget, operator) > 0;
    default:
      return compare(left, right, budget, operator) >= 0;
  }
}

/** Evaluates `part in whole`. */
export function contains(whole: Value, part: Value, budget: Budget): boolean {
  if (typeof whole === 'string') {
    if (typeof part !== 'string') {
      expectDefined(part);
      return typeError(`'in <string>' requires string as left operand, not ${typeName(part)}`);
    }
    budget.scan(whole.length);
    return whole.includes(part);
  }
  if (whole instanceof Dict) return whole.has(part);
  if (whole instanceof DictView && whole.kind === 'keys') return whole.dict.has(part);
  if (whole instanceof Range) {
    const index = isNumber(part) ? (numberOf(part) - whole.start) / whole.step : -1;
    return Number.isInteger(index) && index >= 0 && index < whole.length;
  }
  const items = itemsOf(whole, budget) ?? typeError(`argument of type '${typeName(whole)}' is not iterable`);
  return items.some((item) => areEqual(item, part, budget));
}

/** Evaluates `value[start:stop:step]`; undefined for values without slices. */
export function slice(
  value: Value,
  bounds: { readonly start: Value; readonly stop: Value; readonly step: Value },
  budget: Budget,
): Value | undefined {
  const step = bounds.step === null ? 1 : integerOf(bounds.step);
  if (step === 0) throw new TemplateError('slice step cannot be zero');
  if (typeof value === 'string') {
    const isPlain = isBasic(value);
    const [start, stop] = sliceEnds(bounds, step, isPlain ? value.length : characters(value).length);
    budget.scan(value.length);
    if (isPlain && step === 1) {
      budget.make(Math.max(0, stop - start));
      return value.slice(start, stop);
    }
    return taken(characters(value), { start, stop, step }, budget).join('');
  }
  if (value instanceof Range) {
    const [start, stop] = sliceEnds(bounds, step, value.length);
    return new Range(value.at(start), value.at(stop), value.step * step);
  }
  const items = isList(value) ? value : value instanceof Tuple ? value.items : undefined;
  if (items === undefined) return undefined;
  const [start, stop] = sliceEnds(bounds, step, items.length);
  const part = taken(items, { start, stop, step }, budget);
  return isList(value) ? part : new Tuple(part);
}

function taken<T>(
  items: readonly T[],
  { start, stop, step }: { readonly start: number; readonly stop: number; readonly step: number },
  budget: Budget,
): T[] {
  budget.list(Math.max(0, (stop - start) / step));
  const part: T[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) part.push(items[i] as T);
  return part;
}

function sliceEnds(
  { start, stop }: { readonly start: Value; readonly stop: Value },
  step: number,
  length: number,
): [number, number] {
  const [first, last] = step > 0 ? [0, length] : [-1, length - 1];
  const place = (value: Value, byDefault: number) => {
    if (value === null) return byDefault;
    const index = integerOf(value);
    return Math.min(Math.max(index < 0 ? index + length : index, first), last);
  };
  return step > 0 ? [place(start, 0), place(stop, length)] : [place(start, length - 1), place(stop, -1)];
}
