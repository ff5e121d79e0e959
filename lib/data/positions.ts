/** A set of places in a text in ascending order, stored as ranges. */
export class Places {
  /** First place of each range. */
  readonly #firsts: number[] = [];
  /** Number of places in the ranges before each range. */
  readonly #before: number[] = [];
  #end = -1;
  #count = 0;

  /** Number of places. */
  get count(): number {
    return this.#count;
  }

  /** Adds those places from `first` to `last` that lie after all earlier ones. */
  add(first: number, last: number): void {
    const from = Math.max(first, this.#end + 1);
    if (from > last) return;
    if (this.#count === 0 || from > this.#end + 1) {
      this.#firsts.push(from);
      this.#before.push(this.#count);
    }
    this.#count += last - from + 1;
    this.#end = last;
  }

  /** Returns the place with index `index`, from 0. */
  at(index: number): number {
    let [low, high] = [0, this.#firsts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#before[middle] as number) <= index) low = middle;
      else high = middle - 1;
    }
    return (this.#firsts[low] as number) + index - (this.#before[low] as number);
  }
}
