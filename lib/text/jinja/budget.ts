/** How much a template may do. What is counted does not depend on the machine, so a template passes everywhere or nowhere. */

import { LimitError } from '../bounded';

/** What an element of a list counts, in characters. */
const ELEMENT = 32;
/** Texts that are put together are not copied at once, and most never. */
const JOINED = 1 / 8;
/** Characters, or elements, that built-ins look at in the time of one step. */
const SCANNED = 16;
/** Nested expressions and statements, and values within values. The stack holds twice as many. */
export const DEEPEST = 400;

/** Of a template and of one rendering. */
export class Budget {
  #steps: number;
  #characters: number;
  #depth = 0;

  /** `steps`: expressions and statements; `characters`: of the texts that are made. */
  constructor(steps: number, characters: number) {
    this.#steps = steps;
    this.#characters = characters;
  }

  /** Counts steps, best before they are done. Throws LimitError, as all methods do. */
  step(count = 1): void {
    this.#steps -= count;
    // so that NaN is refused too
    if (!(this.#steps >= 0)) throw new LimitError('takes too long');
  }

  /** Counts characters that a built-in looks at. */
  scan(characters: number): void {
    this.step(characters / SCANNED);
  }

  /** Counts a text before it is made. */
  make(characters: number): void {
    this.#spend(characters);
    this.scan(characters);
  }

  /** Counts a text that is put together from others. */
  join(characters: number): void {
    this.#spend(characters * JOINED);
  }

  /** Counts the elements of a list before it is made. */
  list(elements: number): void {
    this.#spend(elements * ELEMENT);
    this.scan(elements);
  }

  /** Goes a level deeper; {@link leave} comes back. */
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
