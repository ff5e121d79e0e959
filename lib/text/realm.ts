/** Packages that work on what unknown files say, each in a realm whose built-ins count what they make. */

import { readFileSync } from 'node:fs';
import { createContext, Script } from 'node:vm';
import { LimitError } from './bounded';

/** What an element of an array counts: its place, and some of what it refers to. */
const ELEMENT = 16;
/** What a character counts in a text where matches are replaced: all of them are stored before the first is. */
const MATCH = 4;

type Method = (this: unknown, ...given: never[]) => unknown;
type Globals = Record<string, unknown> & {
  readonly String: { readonly prototype: object };
  readonly Array: { readonly prototype: object; from<T>(items: Iterable<T>): T[] };
};

/** As parameters of a package's function: asking the global object of a context takes long. */
const GLOBALS = new Script(`Object.fromEntries(
  Object.getOwnPropertyNames(globalThis)
    .filter((name) => /^[A-Z]/.test(name) && typeof globalThis[name] !== 'number')
    .map((name) => [name, globalThis[name]]),
)`);

/** A package that is one CommonJS file, loaded apart from all other code. */
export class Realm<Exports> {
  readonly exports: Exports;
  readonly #globals: Globals;
  #left = Infinity;

  /** @param name - as `require` takes it */
  constructor(name: string) {
    const context = createContext({ TextDecoder, TextEncoder });
    const globals = GLOBALS.runInContext(context) as Globals;
    this.#globals = globals;
    this.#count(globals);
    const filename = require.resolve(name);
    const source = `(function (module, exports, ${Object.keys(globals)}) {${readFileSync(filename, 'utf8')}\n})`;
    const module = { exports: {} };
    const load = new Script(source, { filename }).runInContext(context) as (...given: unknown[]) => void;
    load(module, module.exports, ...Object.values(globals));
    this.exports = module.exports as Exports;
  }

  /**
   * Does some work within a limit.
   *
   * @param characters - of text that may be made; elements of arrays count as {@link ELEMENT} characters
   * @throws LimitError where it is more
   */
  within<T>(characters: number, work: () => T): T {
    this.#left = characters;
    try {
      return work();
    } finally {
      this.#left = Infinity;
    }
  }

  /** A list of the realm. */
  list<T>(items: Iterable<T> = []): T[] {
    return this.#globals.Array.from(items);
  }

  /** Counts what is made, best before it is. Throws LimitError where no more may be. */
  #spend(characters: number): void {
    this.#left -= characters;
    // so that NaN is refused too
    if (!(this.#left >= 0)) throw new LimitError('needs too much memory');
  }

  /** Replaces the methods that make much of little. */
  #count({ String: { prototype: text }, Array: list }: Globals): void {
    const spend = (characters: number) => this.#spend(characters);
    replace(text, 'repeat', (repeat, self: string, [count = 0]: number[]) => {
      spend(self.length * (Math.trunc(count) || 0));
      return repeat(self, [count]);
    });
    replace(text, 'replaceAll', (replaceAll, self: string, [pattern, by]: unknown[]) => {
      spend(MATCH * self.length);
      const replacement = (...match: unknown[]) => {
        // a text stands for itself: `$&` is no special pattern for those who write tokenizers
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
      // one by one: arguments lie on the stack, and these do already
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

/** `instead` is given the method that was there, what it is called on and the arguments. */
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
