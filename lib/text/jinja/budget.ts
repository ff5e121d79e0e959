/**
 * Limits on the work of a template. The counts do not depend on the machine, so a template passes everywhere or
 * nowhere.
 */

import { LimitError } from '../bounded';

/** Cost of a list element, in characters. */
const ELEMENT = 32;
/** Cost per character of a concatenation. V8 copies concatenated strings late or never. */
const JOINED = 1 / 8;
/** Characters or elements that a built-in scans in the time of one step. */
const SCANNED = 16;
/** Depth limit of nested expressions, statements and values. The stack holds twice as many. */
export const DEEPEST = 400;

/** The budget of a template and of one rendering. */
export class Budget {
  #steps: number;
  #characters: number;
  #depth = 0;

  /** `steps` limits expressions and statements, `characters` the created texts. */
  constructor(steps: number, characters: number) {
    this.#steps = steps;
    this.#characters = characters;
  }

  /** Counts steps, preferably before they are done. Throws LimitError, as all methods do. */
  step(count = 1): void {
    this.#steps -= count;
    // this form refuses NaN too
    if (!(this.#steps >= 0)) throw new LimitError('takes too long');
  }

  /** Counts characters that a built-in scans. */
  scan(characters: number): void {
    this.step(characters / SCANNED);
  }

  /** Counts a text before it is created. */
  make(characters: number): void {
    this.#spend(characters);
    this.scan(characters);
  }

  /** Counts a text concatenated from others. */
  join(characters: number): void {
    this.#spend(characters * JOINED);
  }

  /** Counts the elements of a list before it is created. */
  list(elements: number): void {
    this.#spend(elements * ELEMENT);
    this.scan(elements);
  }

  /** Enters a nesting level; {@link leave} leaves it. */
  enter(): void {
    if (++this.#depth > DEEPEST) throw new LimitError(`nests deeper than ${DEEPEST} levels`);
  }

  leave(): void {
    this.#depth--;
  }

  #spend(characters: number): void {
    this.#characters -= characters;
    if (!(this.#characters >= 0)) throw new LimitError('needs too much memory');
  }
}
