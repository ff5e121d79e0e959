/** Realms for packages that process untrusted files: their built-ins count the memory that is used. */

import { createContext, Script } from 'node:vm';
import { LimitError } from './bounded';

/** Cost of an array element in characters: its slot, and part of the value. */
const ELEMENT = 16;
/** Cost per character of a text whose matches are replaced: V8 stores all matches before it replaces the first. */
const MATCH = 4;

type Method = (this: unknown, ...given: never[]) => unknown;
type Globals = Record<string, unknown> & {
  readonly String: { readonly prototype: object };
  readonly Array: { readonly prototype: object; from<T>(items: Iterable<T>): T[] };
};

/**
 * Globals that are passed to the package's function as parameters, since lookups in a context's global object are slow.
 */
const GLOBALS = new Script(`Object.fromEntries(
  Object.getOwnPropertyNames(globalThis)
    .filter((name) => /^[A-Z]/.test(name) && typeof globalThis[name] !== 'number')
    .map((name) => [name, globalThis[name]]),
)`);

/** A package of one CommonJS file, loaded in a separate context. */
export class Realm<Exports> {
  readonly exports: Exports;
  readonly #globals: Globals;
  #left = Infinity;

  /** @param source - text of the package */
  constructor(name: string, source: string) {
    const context = createContext({ TextDecoder, TextEncoder });
    const globals = GLOBALS.runInContext(context) as Globals;
    this.#globals = globals;
    this.#count(globals);
    const wrapped = `(function (module, exports, ${Object.keys(globals)}) {${source}\n})`;
    const module = { exports: {} };
    const load = new Script(wrapped, { filename: name }).runInContext(context) as (...given: unknown[]) => void;
    load(module, module.exports, ...Object.values(globals));
    this.exports = module.exports as Exports;
  }

  /**
   * Runs `work` with a limit.
   *
   * @param characters - limit on the created text; array elements count as {@link ELEMENT} characters
   * @throws LimitError if the work exceeds it
   */
  within<T>(characters: number, work: () => T): T {
    this.#left = characters;
    try {
      return work();
    } finally {
      this.#left = Infinity;
    }
  }

  /** Creates an array of the realm. */
  list<T>(items: Iterable<T> = []): T[] {
    return this.#globals.Array.from(items);
  }

  /** Counts created characters, preferably in advance. Throws LimitError beyond the limit. */
  #spend(characters: number): void {
    this.#left -= characters;
    // this form refuses NaN too
    if (!(this.#left >= 0)) throw new LimitError('needs too much memory');
  }

  /** Replaces the methods whose output may be much larger than their input. */
  #count({ String: { prototype: text }, Array: list }: Globals): void {
    const spend = (characters: number) => this.#spend(characters);
    replace(text, 'repeat', (repeat, self: string, [count = 0]: number[]) => {
      spend(self.length * (Math.trunc(count) || 0));
      return repeat(self, [count]);
    });
    replace(text, 'replaceAll', (replaceAll, self: string, [pattern, by]: unknown[]) => {
      spend(MATCH * self.length);
      const replacement = (...match: unknown[]) => {
        // insert the text as it is: tokenizers do not mean `$&` as a special pattern
        const written = typeof by === 'function' ? String(by(...match)) : String(by);
        spend(written.length);
        return written;
      };
      return replaceAll(self, [pattern, replacement]);
    });
    replace(text, 'split', (split, self: string, given: unknown[]) => {
      const parts = split(self, given) as unknown[];
      spend(ELEMENT * parts.length);
      return parts;
    });
    replace(list.prototype, 'join', (join, self: unknown[], [separator = ',']: string[]) => {
      const parts = self.map((part) => (part === null || part === undefined ? '' : String(part)));
      spend(parts.reduce((sum, { length }) => sum + length, separator.length * parts.length));
      return join(parts, [separator]);
    });
    replace(list.prototype, 'concat', (concat, self: unknown[], given: unknown[]) => {
      const joined = concat(self, given) as unknown[];
      spend(ELEMENT * joined.length);
      return joined;
    });
    replace(list.prototype, 'push', (push, self: unknown[], items: unknown[]) => {
      spend(ELEMENT * items.length);
      // one by one: spreading them would put the arguments on the stack a second time
      for (const item of items) push(self, [item]);
      return self.length;
    });
    replace(list, 'from', (from, self: unknown, given: unknown[]) => {
      const [source] = given;
      if (typeof source === 'string') spend(ELEMENT * source.length);
      return from(self, given);
    });
  }
}

type Apply = (self: unknown, given: readonly unknown[]) => unknown;

/** Replaces a method. `instead` receives the original method, its receiver and its arguments. */
function replace<Self, Given extends unknown[]>(
  object: object,
  name: string,
  instead: (was: Apply, self: Self, given: Given) => unknown,
): void {
  const method = Reflect.get(object, name) as Method;
  const was: Apply = (self, given) => Reflect.apply(method, self, given);
  function value(this: Self, ...given: Given): unknown {
    return instead(was, this, given);
  }
  Reflect.defineProperty(object, name, { value, writable: true, configurable: true });
}
