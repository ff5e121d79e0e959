/** Work that waits for files: some of it is under way while the result of earlier work is used. */

/**
 * Does `work` for every item, `width` of them at a time, and yields the results in the order of the items. When the caller
 * leaves, or work fails, no more begins, and results that nobody gets are given to `release`.
 */
export async function* ahead<Item, Result>(
  items: Iterable<Item>,
  width: number,
  work: (item: Item) => Promise<Result>,
  release: (result: Result) => void,
): AsyncGenerator<Result, void, undefined> {
  const waiting = items[Symbol.iterator]();
  const underWay: Promise<Result>[] = [];
  try {
    for (;;) {
      while (underWay.length < width) {
        const { done, value } = waiting.next();
        if (done) break;
        const result = work(value);
        // looked at in its turn; until then it is not an error that nobody handles
        result.catch(() => undefined);
        underWay.push(result);
      }
      const next = underWay.shift();
      if (next === undefined) return;
      yield await next;
    }
  } finally {
    for (const left of await Promise.allSettled(underWay)) if (left.status === 'fulfilled') release(left.value);
  }
}
