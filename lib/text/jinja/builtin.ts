/** Signatures of filters, tests, methods and functions, and their interface to the interpreter. */

import type { Budget } from './budget';
import { TemplateError, typeError } from './errors';
import { expectDefined, isInteger, type Named, typeName, type Value } from './values';

/** The rendering in which a built-in runs. */
export interface Run {
  readonly budget: Budget;
  /** Evaluates `value.name`. */
  attribute(value: Value, name: string): Value;
  /** Evaluates `value[key]`. */
  item(value: Value, key: Value): Value;
  filter(name: string, value: Value, positional: readonly Value[], named: Named): Value;
  test(name: string, value: Value, positional: readonly Value[], named: Named): boolean;
}

/** A filter, test or method, applied to the value `self`. */
export type BuiltIn = (run: Run, self: Value, positional: readonly Value[], named: Named) => Value;

/** Marks a parameter without a default. */
export const REQUIRED: unique symbol = Symbol('required');

/**
 * Creates a built-in with parameters as in Python.
 *
 * @param parameters - defaults by name, in the order of positional arguments
 * @param work - implementation; receives the arguments by name
 */
export function builtIn<P extends Readonly<Record<string, Value | typeof REQUIRED>>>(
  parameters: P,
  work: (run: Run, self: Value, given: Readonly<Record<keyof P, Value>>) => Value,
): BuiltIn {
  const names = Object.keys(parameters);
  return (run, self, positional, named) => {
    if (positional.length > names.length) typeError(`takes ${names.length} arguments, got ${positional.length}`);
    const given: Record<string, Value> = {};
    for (const [index, name] of names.entries()) {
      const value = index < positional.length ? positional[index] : named.get(name);
      const chosen = value === undefined ? parameters[name] : value;
      if (chosen === REQUIRED || chosen === undefined) return typeError(`missing the argument '${name}'`);
      given[name] = chosen;
    }
    for (const name of named.keys()) {
      if (names.indexOf(name) < positional.length) {
        typeError(`got an unexpected keyword argument '${name}'`);
      }
    }
    return work(run, self, given as Record<keyof P, Value>);
  };
}

/** Returns an argument that must be an integer. */
export function integerOf(value: Value): number {
  if (isInteger(value)) return Number(value);
  expectDefined(value);
  return typeError(`'${typeName(value)}' object cannot be interpreted as an integer`);
}

/** Returns an argument that must be a text. */
export function textOf(value: Value): string {
  if (typeof value === 'string') return value;
  expectDefined(value);
  return typeError(`must be str, not ${typeName(value)}`);
}

/** Throws TemplateError for an argument that a built-in does not accept. */
export function refuse(message: string): never {
  throw new TemplateError(message);
}
