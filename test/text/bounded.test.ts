/** Limits of time, stack and memory for work that depends on files. */

import { bounded, LimitError, limited } from '../../lib/text/bounded';
import { Realm } from '../../lib/text/realm';
import { tokenizersSource } from '../../lib/text/tokenizers_source';

const format = (message: RegExp) =>
  expect.objectContaining({ code: 'MBOK_FORMAT', message: expect.stringMatching(message) });

function recursion(): number {
  return recursion() + 1;
}

test('results and errors of the work are passed on', () => {
  expect(bounded(100, 'it', () => 7)).toBe(7);
  expect(limited('it', () => 7)).toBe(7);
  const error = new TypeError('other');
  for (const run of [
    () =>
      bounded(100, 'it', () => {
        throw error;
      }),
    () =>
      limited('it', () => {
        throw error;
      }),
  ]) {
    expect(run).toThrow(error);
  }
});

test.each<[string, () => unknown, RegExp]>([
  [
    'a loop',
    () => {
      for (;;);
    },
    /^it takes more than \d+ ms$/,
  ],
  [
    'a loop that catches all errors',
    () => {
      for (;;)
        try {
          for (;;);
        } catch {}
    },
    /^it takes more than \d+ ms$/,
  ],
  ['an expression', () => /(a|a)+Q/u.test('a'.repeat(60)), /^it takes more than \d+ ms$/],
  ['a recursion', recursion, /^it needs more than there is: Maximum call stack/],
  [
    'a text longer than there are',
    () => 'x'.repeat(2 ** 28).repeat(2 ** 10),
    /^it needs more than there is: Invalid string/,
  ],
  [
    'a limit of its own',
    () => {
      throw new LimitError('has too many');
    },
    /^it has too many$/,
  ],
])('%s ends', (_, work, message) => {
  expect(() => bounded(50, 'it', work)).toThrow(format(message));
  expect(bounded(50, 'it', () => 'after')).toBe('after');
});

describe('a realm', () => {
  const realm = new Realm<object>('@huggingface/tokenizers', tokenizersSource());
  const list = realm.list(['ab', 'cd']);

  test('counts the output of its methods, but only within a limit', () => {
    const joined = () => list.join(', ');
    expect(joined()).toBe('ab, cd');
    expect(realm.within(10, joined)).toBe('ab, cd');
    expect(() => realm.within(5, joined)).toThrow(LimitError);
    expect(joined()).toBe('ab, cd');
  });

  test('leaves the methods of other code unchanged', () => {
    expect(realm.within(0, () => [...'abc'].join('-').repeat(2))).toBe('a-b-ca-b-c');
  });
});
