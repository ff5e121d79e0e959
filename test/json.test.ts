/** Bounds of JSON, which hold before anything is made of it. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expectBounded, parseJsonObject, repeatedKey } from '../lib/io/json';
import { Checkpoint } from '../lib/train/checkpoint';
import { temporaryFolder } from './folders';

const temporary = temporaryFolder();
const nested = (open: string, close: string, levels: number) => open.repeat(levels) + close.repeat(levels);
const refusal = (message: RegExp) =>
  expect.objectContaining({ name: 'MbokError', code: 'MBOK_FORMAT', message: expect.stringMatching(message) });

describe('JSON is refused', () => {
  const cases: [string, string, RegExp][] = [
    ['deeper than 128 lists', `{"a":${nested('[', ']', 128)}}`, /^it has lists or objects more than 128 deep$/],
    ['deeper than 128 objects', nested('{"a":', '}', 1e5).replace('}', '1}'), /128 deep/],
    ['of brackets that never close', `{"a":${'['.repeat(1e7)}`, /128 deep/],
    ['of a million empty objects', `{"a":[${'{},'.repeat(1e6)}{}]}`, /^it has more than 131072 values/],
    ['of a million numbers', `{"a":[${'1,'.repeat(1e6)}1]}`, /131072 values/],
    ['of a million keys', `{${Array.from({ length: 1e6 }, (_, i) => `"${i}":1`).join(',')}}`, /131072 values/],
    ['after a string that ends in a backslash', `{"a":"\\\\","b":${'['.repeat(200)}`, /128 deep/],
    ['that ends in a string', '{"a":"', /not valid JSON/],
    ['that is a list', '[]', /must hold a JSON object/],
  ];
  test.each(cases)('%s', (_, text, message) => expect(() => parseJsonObject(text, 'it')).toThrow(refusal(message)));
});

describe('JSON is read', () => {
  const cases: [string, string, unknown][] = [
    ['128 deep', nested('{"a":', '}', 128).replace('}', '1}'), undefined],
    ['with brackets and commas in strings', `{"a":"${'[{,'.repeat(1e6)}"}`, { a: '[{,'.repeat(1e6) }],
    ['with quotes and backslashes in strings', '{"a\\"[":"\\\\","b":"\\\\\\"["}', { 'a"[': '\\', b: '\\"[' }],
    ['with a long string', `{"a":"${'x'.repeat(1e7)}"}`, { a: 'x'.repeat(1e7) }],
    ['with a hundred thousand values', `{"a":[${'0,'.repeat(99_999)}0]}`, { a: Array(100_000).fill(0) }],
    [
      'with names of Object',
      '{"__proto__":{"a":1},"constructor":2}',
      JSON.parse('{"__proto__":{"a":1},"constructor":2}'),
    ],
  ];
  test.each(cases)('%s', (_, text, value) => {
    const read = parseJsonObject(text, 'it');
    if (value !== undefined) expect(read).toEqual(value);
  });

  test('up to the number of values that its kind may have', () => {
    expect(() => expectBounded('[1,2,3]', 'it', 4)).not.toThrow();
    expect(() => expectBounded('[1,2,3]', 'it', 3)).toThrow(refusal(/more than 3 values/));
  });
});

describe('a key that an object has twice is found', () => {
  const cases: [string, string, string | undefined][] = [
    ['in the outermost object', '{"a":1,"b":2,"a":3}', 'a'],
    ['in one within a list', '{"a":[{"b":1},{"b":1, "b" : 2}]}', 'b'],
    ['however it is written', '{"a":1,"\\u0061":2}', 'a'],
    ['after a nested object', '{"a":{"b":1},"a":2}', 'a'],
    ['not where it is a value', '{"a":"a","b":["a","a"],"c":"b"}', undefined],
    ['not in different objects', '{"a":{"a":1},"b":{"a":1}}', undefined],
    ['of a long string of escapes too', `{"${'\\n'.repeat(2e7)}":1,"a":1,"a":2}`, 'a'],
  ];
  test.each(cases)('%s', (_, text, key) => expect(repeatedKey(text)).toBe(key));
});

test('a checkpoint may tell of a hundred thousand steps', async () => {
  const history = Array.from({ length: 1e5 }, (_, step) => ({ step, loss: 1.5, flips: 0, parts: { kl: 1.5 } }));
  const json = { version: 2, fingerprint: { steps: 1e5 }, step: 1e5, hasBest: false, progress: { history } };
  writeFileSync(join(temporary, 'progress.json'), JSON.stringify(json));
  await using checkpoint = await Checkpoint.open(temporary);
  expect(checkpoint.fingerprint).toEqual({ steps: 1e5 });
});
