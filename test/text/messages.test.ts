/** Messages show little of values and names, however large these are. */

import { MbokError } from '../../lib/base/errors';
import { show } from '../../lib/base/validate';
import { ConfigReader } from '../../lib/models/config_reader';

/** Creates nested lists. */
function deep(levels: number): unknown {
  let value: unknown = [];
  for (let i = 0; i < levels; i++) value = [value];
  return value;
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
}

const unreadable = {
  get text(): string {
    throw new Error('not to be read');
  },
};

describe('a value is displayed', () => {
  const cases: [string, unknown, string][] = [
    ['a string in quotes', 'a "b"', '"a \\"b\\""'],
    ['a list', ['a', 1, null], '["a", 1, null]'],
    ['an object', { role: 'user', parts: [{}] }, '{"role": "user", "parts": [{}]}'],
    ['an object with keys of Object', JSON.parse('{"toString": 1, "__proto__": 2}'), '{"toString": 1, "__proto__": 2}'],
    ['an object of a class', new Date(0), 'an object of class Date'],
    ['an object of no class', Object.create(null), '{}'],
    ['bytes', new Uint8Array(3), 'Uint8Array of 3 bytes'],
    ['NaN', Number.NaN, 'NaN'],
    ['minus zero', -0, '-0'],
    ['a bigint', 12n, '12n'],
    ['a huge bigint', 1n << 100_000n, 'a huge integer'],
    ['what cannot be looked at', revoked(), 'a value that cannot be read'],
    ['a getter that throws', unreadable, 'a value that cannot be read'],
  ];
  test.each(cases)('%s', (_, value, text) => expect(show(value)).toBe(text));

  const large: [string, unknown][] = [
    ['a string of 100 MB', 'x'.repeat(1e8)],
    ['lists 100 thousand deep', deep(1e5)],
    ['a list of a million', Array(1e6).fill('x')],
    ['lists wide and deep', Array(1000).fill(Array(1000).fill(Array(1000).fill(Array(1000).fill(''))))],
    ['an object of 100 thousand keys', Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`key ${i}`, i]))],
    ['a key of 100 MB', { ['x'.repeat(1e8)]: 1 }],
  ];
  test.each(large)('in 81 characters: %s', (_, value) => expect(show(value).length).toBeLessThanOrEqual(81));
});

test.each([
  ['lists', deep(1e5)],
  ['a long text', 'x'.repeat(1e7)],
])('a configuration that has %s for a number is refused in one short message', (_, value) => {
  const config = new ConfigReader({ hidden_size: value }, 'config.json');
  expect(() => config.count('hidden_size')).toThrow(
    expect.objectContaining({
      code: 'MBOK_FORMAT',
      message: expect.stringMatching(/^config\.json: 'hidden_size' must be a positive integer, got .{1,81}$/),
    }),
  );
});

test('a long name in a message is shortened in the middle', () => {
  const { message } = new MbokError('MBOK_FORMAT', `tensor '${'n'.repeat(5e7)}' of 'a.safetensors' has no dtype`);
  expect(message).toMatch(/^tensor 'n+…n+' of 'a\.safetensors' has no dtype$/);
  expect(message.length).toBeLessThanOrEqual(2000);
  expect(new MbokError('MBOK_FORMAT', 'a'.repeat(2000)).message).toBe('a'.repeat(2000));
});
