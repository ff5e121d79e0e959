/** Read-ahead: results stay in order, the width is respected, and nothing leaks. */

import { setTimeout } from 'node:timers/promises';
import { ahead } from '../../lib/base/read_ahead';

/** Creates work that takes longer for earlier items, and counts running, peak, started and released items. */
function worker(fails?: number) {
  const seen = { now: 0, most: 0, begun: 0, released: [] as number[] };
  const work = async (item: number) => {
    seen.begun++;
    seen.most = Math.max(seen.most, ++seen.now);
    await setTimeout(20 - item);
    seen.now--;
    if (item === fails) throw new Error(`item ${item}`);
    return 10 * item;
  };
  return { seen, work, release: (result: number) => seen.released.push(result) };
}

test('results come in the order of the items, three at a time', async () => {
  const { seen, work, release } = worker();
  const got: number[] = [];
  for await (const result of ahead([0, 1, 2, 3, 4, 5, 6], 3, work, release)) got.push(result);
  expect(got).toEqual([0, 10, 20, 30, 40, 50, 60]);
  expect(seen).toEqual({ now: 0, most: 3, begun: 7, released: [] });
});

test('a failure comes in order, ends the work and releases unreceived results', async () => {
  const { seen, work, release } = worker(2);
  const got: number[] = [];
  const all = async () => {
    for await (const result of ahead([0, 1, 2, 3, 4, 5, 6], 3, work, release)) got.push(result);
  };
  await expect(all()).rejects.toThrow('item 2');
  expect(got).toEqual([0, 10]);
  expect(seen).toEqual({ now: 0, most: 3, begun: 5, released: [30, 40] });
});

test('a caller that stops early gets no more results, and nothing leaks', async () => {
  const { seen, work, release } = worker(2);
  for await (const result of ahead([0, 1, 2, 3, 4], 3, work, release)) {
    expect(result).toBe(0);
    break;
  }
  // item 2 failed although nobody awaited it
  expect(seen).toEqual({ now: 0, most: 3, begun: 3, released: [10] });
});
