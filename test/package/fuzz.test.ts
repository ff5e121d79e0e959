/**
 * Made-up files of models give a result or one MbokError, in bounded time and memory; `npm run test:fuzz` tries many more.
 * The processes are watched by way of /proc, which only Linux has.
 */

import { createHash } from 'node:crypto';
import { Draw } from '../fuzz/draw';
import { GENERATORS, type GeneratorName } from '../fuzz/generators';
import { PLANTED } from '../fuzz/planted';
import { fuzz } from '../fuzz/runner';

const CASES = 250;
const NAMES: readonly GeneratorName[] = ['templates', 'tokenizers', 'configurations'];
const onLinux = process.platform === 'linux' ? describe : describe.skip;

test.each(NAMES)('a case of %s is the same every time', (name) => {
  const digest = (number: number) => {
    const { label, files } = GENERATORS[name].make(new Draw(9, number));
    const hash = createHash('sha256').update(label);
    for (const [file, content] of Object.entries(files)) hash.update(file).update(content);
    return hash.digest('hex');
  };
  for (let number = 0; number < 20; number++) expect(digest(number)).toBe(digest(number));
  expect(digest(0)).not.toBe(digest(1));
});

onLinux('the runner', () => {
  /** The kind of finding that each planted fault must give; undefined for none. */
  const expected: Record<keyof typeof PLANTED, string | undefined> = {
    none: undefined,
    refused: undefined,
    error: 'error',
    message: 'message',
    code: 'error',
    internal: 'error',
    wrong: 'wrong',
    polluted: 'polluted',
    slow: 'slow',
    hang: 'hang',
    wait: 'hang',
    memory: 'memory',
    exit: 'crash',
    abort: 'crash',
    uncaught: 'crash',
  };

  test('finds every planted fault and continues after it', async () => {
    const cases = Object.keys(PLANTED).length;
    const { groups, outcomes } = await fuzz({
      generators: ['planted'],
      from: 0,
      to: cases,
      seed: 1,
      jobs: 2,
      // a case that is slow, but ends, must end before
      seconds: 6,
    });
    const found = Object.fromEntries([...groups.values()].map(({ smallest }) => [smallest.label, smallest.kind]));
    expect(found).toEqual(Object.fromEntries(Object.entries(expected).filter(([, kind]) => kind !== undefined)));
    expect(outcomes.planted).toMatchObject({ result: 1, MBOK_FORMAT: 1 });
  });
});

onLinux('a result or one MbokError', () => {
  test.each(NAMES)(`${CASES} cases of %s`, async (name) => {
    const { groups, outcomes } = await fuzz({ generators: [name], from: 0, to: CASES, seed: 1, jobs: 2, seconds: 25 });
    // how slow a case is depends on what else the machine does: `npm run test:fuzz` tells
    const faults = [...groups.values()].map(({ smallest }) => smallest).filter(({ kind }) => kind !== 'slow');
    expect(faults).toEqual([]);
    // cases that are all refused at once would try nothing
    expect(outcomes[name]?.result).toBeGreaterThan(CASES / 20);
  });
});
