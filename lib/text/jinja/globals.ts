/** Global functions of templates: Jinja's and those of transformers. */

import { LimitError } from '../bounded';
import type { Budget } from './budget';
import { type BuiltIn, builtIn, integerOf, REQUIRED, type Run, refuse, textOf } from './builtin';
import { typeError } from './errors';
import { strftime } from './format';
import { Callable, Dict, Instance, iterate, type Named, Namespace, Range, type Value } from './values';
import { str } from './writing';

/** Longest range, as in Jinja's sandbox. */
const MOST_RANGE = 100_000;

class Cycler extends Instance {
  readonly className = 'Cycler';
  readonly #items: readonly Value[];
  #at = 0;

  constructor(items: readonly Value[]) {
    super();
    this.#items = items;
  }

  field(name: string): Value | undefined {
    if (name === 'current') return this.#items[this.#at];
    if (name === 'next') return new Callable(name, () => this.#next());
    if (name !== 'reset') return undefined;
    return new Callable(name, () => {
      this.#at = 0;
      return null;
    });
  }

  #next(): Value {
    const item = this.#items[this.#at] as Value;
    this.#at = (this.#at + 1) % this.#items.length;
    return item;
  }
}

function range(positional: readonly Value[]): Value {
  const [first = 0, second, step = 1] = positional.map(integerOf);
  if (positional.length < 1 || positional.length > 3) typeError('range expected 1 to 3 arguments');
  if (step === 0) refuse('range() arg 3 must not be zero');
  const result = second === undefined ? new Range(0, first, 1) : new Range(first, second, step);
  if (result.length <= MOST_RANGE) return result;
  throw new LimitError(`makes a range of ${result.length} numbers, more than ${MOST_RANGE}`);
}

/** Returns the entries of the arguments of `dict`. */
function pairs(positional: readonly Value[], named: Named, budget: Budget): [Value, Value][] {
  if (positional.length > 1) typeError(`dict expected at most 1 argument, got ${positional.length}`);
  const [source] = positional;
  const entries: [Value, Value][] = [];
  if (source instanceof Dict) for (const [key, value] of source.entries()) entries.push([key, value]);
  else if (source !== undefined) {
    for (const item of iterate(source, budget)) {
      const [key, value, ...more] = iterate(item, budget);
      if (key === undefined || value === undefined || more.length > 0) refuse('a dictionary is made of pairs');
      entries.push([key, value]);
    }
  }
  entries.push(...named);
  budget.list(entries.length);
  return entries;
}

const FUNCTIONS: Readonly<Record<string, BuiltIn>> = {
  cycler: (_, __, positional) =>
    positional.length > 0 ? new Cycler(positional) : refuse('at least one item has to be provided'),
  dict: (run, _, positional, named) => new Dict(pairs(positional, named, run.budget)),
  joiner: builtIn({ sep: ', ' }, (_, __, { sep }) => {
    let isUsed = false;
    return new Callable('joiner', () => {
      const text = isUsed ? sep : '';
      isUsed = true;
      return text;
    });
  }),
  lipsum: () => refuse('lipsum is not supported, as its text is chance'),
  namespace: (run, _, positional, named) => {
    const namespace = new Namespace();
    for (const [key, value] of pairs(positional, named, run.budget)) setField(namespace, textOf(key), value);
    return namespace;
  },
  raise_exception: builtIn({ message: REQUIRED }, (run, _, { message }) => refuse(str(message, run.budget))),
  range: (_, __, positional) => range(positional),
  strftime_now: builtIn({ format: REQUIRED }, (run, _, { format }) => strftime(textOf(format), new Date(), run.budget)),
};

/** Sets a field of a namespace. Throws TemplateError for names that transformers refuses. */
export function setField(namespace: Namespace, name: string, value: Value): void {
  if (name.startsWith('_')) refuse(`a field of a namespace must not begin with an underscore, got '${name}'`);
  namespace.fields.set(name, value);
}

/** Returns the functions by name, for one rendering. */
export function globalsFor(run: Run): Map<string, Value> {
  return new Map(
    Object.entries(FUNCTIONS).map(([name, work]) => [
      name,
      new Callable(name, (positional, named) => work(run, null, positional, named)),
    ]),
  );
}
