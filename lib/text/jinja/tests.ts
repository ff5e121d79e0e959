/** Jinja's tests, which follow `is`. */

import { type BuiltIn, builtIn, REQUIRED } from './builtin';
import { FILTERS } from './filters';
import { isLower, isUpper } from './methods';
import { arithmetic, contains, holds } from './operators';
import {
  areEqual,
  Callable,
  Dict,
  DictView,
  Float,
  Instance,
  isInteger,
  isList,
  isNumber,
  Range,
  Stream,
  Tuple,
  Undefined,
  type Value,
} from './values';
import { str } from './writing';

function plain(work: (value: Value) => boolean): BuiltIn {
  return builtIn({}, (_, self) => work(self));
}

function comparison(operator: string): BuiltIn {
  return builtIn({ other: REQUIRED }, (run, self, { other }) => holds(operator, self, other, run.budget));
}

/** Creates a test of the remainder of a division. */
function remainder(divisor: number, rest: number): BuiltIn {
  return builtIn({}, (run, self) => areEqual(arithmetic('%', self, divisor, run.budget), rest, run.budget));
}

const isSequence = (value: Value) =>
  typeof value === 'string' ||
  isList(value) ||
  value instanceof Tuple ||
  value instanceof Dict ||
  value instanceof Range;

/** Tells whether Python's type has `__iter__`. An undefined value has it, and fails only when it is iterated. */
const isIterable = (value: Value) =>
  isSequence(value) || value instanceof DictView || value instanceof Stream || value instanceof Undefined;

const equal = comparison('==');
const unequal = comparison('!=');
const greater = comparison('>');
const less = comparison('<');
const atLeast = comparison('>=');
const atMost = comparison('<=');

export const TESTS: ReadonlyMap<string, BuiltIn> = new Map(
  Object.entries<BuiltIn>({
    boolean: plain((value) => typeof value === 'boolean'),
    // an undefined value counts as callable, and fails when it is called
    callable: plain(
      (value) =>
        value instanceof Callable || value instanceof Undefined || (value instanceof Instance && value.isCallable),
    ),
    defined: plain((value) => !(value instanceof Undefined)),
    divisibleby: builtIn({ num: REQUIRED }, (run, self, { num }) =>
      areEqual(arithmetic('%', self, num, run.budget), 0, run.budget),
    ),
    eq: equal,
    equalto: equal,
    '==': equal,
    escaped: plain(() => false),
    even: remainder(2, 0),
    false: plain((value) => value === false),
    filter: builtIn({}, (_, self) => typeof self === 'string' && FILTERS.has(self)),
    float: plain((value) => value instanceof Float),
    ge: atLeast,
    '>=': atLeast,
    greaterthan: greater,
    gt: greater,
    '>': greater,
    in: builtIn({ seq: REQUIRED }, (run, self, { seq }) => contains(seq, self, run.budget)),
    integer: plain((value) => isInteger(value) && typeof value === 'number'),
    iterable: plain(isIterable),
    le: atMost,
    '<=': atMost,
    lessthan: less,
    lower: builtIn({}, (run, self) => isLower(str(self, run.budget))),
    lt: less,
    '<': less,
    mapping: plain((value) => value instanceof Dict),
    ne: unequal,
    '!=': unequal,
    none: plain((value) => value === null),
    number: plain(isNumber),
    odd: remainder(2, 1),
    sameas: builtIn({ other: REQUIRED }, (_, self, { other }) => self === other),
    sequence: plain((value) => isSequence(value) || value instanceof Undefined),
    string: plain((value) => typeof value === 'string'),
    test: builtIn({}, (_, self) => typeof self === 'string' && TESTS.has(self)),
    true: plain((value) => value === true),
    undefined: plain((value) => value instanceof Undefined),
    upper: builtIn({}, (run, self) => isUpper(str(self, run.budget))),
  }),
);
