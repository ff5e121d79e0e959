/** Read-ahead: later work runs while the caller uses earlier results. */

/**
 * Runs `work` for every item, `width` at a time, and yields the results in the order of the items. If the caller stops
 * or work fails, no more work starts. Results that nobody received go to `release`.
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
        // it is awaited later; until then its rejection must not count as unhandled
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
