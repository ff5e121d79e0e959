/** Limits of JSON, which apply before it is parsed; UTF-8 and lists that arrive in parts. */

import { isUtf8 } from 'node:buffer';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expectBounded, parseJsonObject, repeatedKey } from '../../lib/io/json';
import { JsonListSplitter } from '../../lib/io/json_list';
import { Utf8Decoder } from '../../lib/io/utf8';
import { Checkpoint } from '../../lib/train/checkpoint';
import { temporaryFolder } from '../helpers/folders';

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

  test('up to the limit of values for its kind', () => {
    expect(() => expectBounded('[1,2,3]', 'it', 4)).not.toThrow();
    expect(() => expectBounded('[1,2,3]', 'it', 3)).toThrow(refusal(/more than 3 values/));
  });
});

describe('a repeated key of an object is found', () => {
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

test('a checkpoint may contain a hundred thousand steps', async () => {
  const history = Array.from({ length: 1e5 }, (_, step) => ({ step, loss: 1.5, flips: 0, parts: { kl: 1.5 } }));
  const json = { version: 2, fingerprint: { steps: 1e5 }, step: 1e5, hasBest: false, progress: { history } };
  writeFileSync(join(temporary, 'progress.json'), JSON.stringify(json));
  await using checkpoint = await Checkpoint.open(temporary);
  expect(checkpoint.fingerprint).toEqual({ steps: 1e5 });
});

/** Cuts a text or bytes at these places. */
function cut<T extends { slice(from: number, to?: number): T; readonly length: number }>(
  whole: T,
  ends: number[],
): T[] {
  const places = [0, ...ends.map((end) => end % (whole.length + 1)).sort((a, b) => a - b)];
  return places.map((from, i) => whole.slice(from, places[i + 1] ?? whole.length));
}

const ends = fc.array(fc.nat(), { maxLength: 5 });

test('UTF-8 in parts is decoded or refused as a whole', () => {
  const texts = fc.string({ unit: 'binary', maxLength: 9 }).map((text) => Buffer.from(text));
  const pieces = fc.oneof(texts, fc.uint8Array({ maxLength: 4 }), fc.constant(Buffer.from('efbbbf', 'hex')));
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 3 }), ends, (list, places) => {
      const bytes = Buffer.concat(list);
      const decode = () => {
        const decoder = new Utf8Decoder('x');
        const text = cut(bytes, places).map((part) => decoder.push(part));
        decoder.end();
        return text.join('');
      };
      if (isUtf8(bytes)) expect(decode()).toBe(new TextDecoder().decode(bytes));
      else expect(decode).toThrow(/^x is not valid UTF-8: byte 0x[0-9a-f]{2} at offset \d+$/);
    }),
    { numRuns: 2000 },
  );
});

test('a list of objects in parts is split as by JSON.parse, and other texts are refused', () => {
  const lists = fc.array(fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 3 }), { maxLength: 4 });
  const damage = fc.option(fc.record({ at: fc.nat(), by: fc.constantFrom('', '"', ']', '{', ',', '\\', 'x') }));
  fc.assert(
    fc.property(lists, fc.nat(2), damage, ends, (list, space, change, places) => {
      const whole = JSON.stringify(list, null, space);
      const at = (change?.at ?? 0) % whole.length;
      const text = change === null ? whole : whole.slice(0, at) + change.by + whole.slice(at + 1);
      const elements = () => {
        const splitter = new JsonListSplitter('x');
        const found = cut(text, places).flatMap((part) => splitter.push(part));
        splitter.end();
        return found.map((element) => JSON.parse(element) as unknown);
      };
      let parsed: unknown;
      try {
        parsed = JSON.parse(text);
      } catch {
        expect(elements).toThrow();
        return;
      }
      expect(elements()).toEqual(parsed);
    }),
    { numRuns: 2000 },
  );
});
