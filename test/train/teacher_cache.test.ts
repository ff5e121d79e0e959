/** Training on stored predictions of a teacher. */

import { existsSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBytes } from '../../lib/cli/bytes';
import type { Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import type { FinetuneOptions } from '../../lib/train/finetune_options';
import { contents, learnableIds, loadTeacher, makeStudent } from '../helpers/training_models';

const folder = mkdtempSync(join(tmpdir(), 'mbok-cache-'));
afterAll(() => rmSync(folder, { recursive: true }));
const place = (name: string) => join(folder, name);

let teacher: Model;
beforeAll(async () => {
  teacher = await loadTeacher();
});
afterAll(() => teacher.dispose());

const options = { data: learnableIds(4000), window: 32, batch: 4, steps: 12, learningRate: 3e-3, gamma: 0 } as const;

async function train(more: Partial<FinetuneOptions>) {
  const student = await makeStudent(teacher);
  const result = await finetune(student, { ...options, ...more });
  return { after: contents(student), result, losses: result.history.map(({ loss }) => loss) };
}

test('training on almost all stored tokens equals training on the teacher, and few tokens also lower the divergence', async () => {
  const itself = await train({ teacher });
  const vocabulary = teacher.config.vocabularySize;
  const all = await train({ teacher, teacherCache: { file: place('all'), topK: vocabulary - 1 } });
  for (const [i, loss] of all.losses.slice(0, 3).entries()) {
    expect(Math.abs(loss - (itself.losses[i] as number))).toBeLessThan(2e-3);
  }
  const few = await train({ teacher, teacherCache: { file: place('few'), topK: 8 } });
  expect(few.losses.at(-1)).toBeLessThan(few.losses[0] as number);
  const error = ({ result }: typeof few) => result.teacherCacheError as number;
  expect(error(all)).toBeLessThan(1e-3);
  expect(error(few)).toBeGreaterThan(error(all));
  expect(itself.result.teacherCacheError).toBeUndefined();
});

test('a cache is reused, also without the teacher and with any micro-batch', async () => {
  const cache = { file: place('again'), topK: 16 };
  const first = await train({ teacher, teacherCache: cache });
  const { mtimeMs, size } = statSync(cache.file);
  // f16 logarithms of 17, 16-bit ids of 16
  expect(size).toBe(1024 + 12 * 4 * 32 * (17 * 2 + 16 * 2) + 64);
  const second = await train({ teacherCache: cache });
  expect(second.after).toEqual(first.after);
  expect(second.result.teacherCacheError).toBe(first.result.teacherCacheError);
  expect(second.result.memory.teacher).toBe(0);
  expect(statSync(cache.file).mtimeMs).toBe(mtimeMs);
  const parts = await train({ teacherCache: cache, microBatch: 1, flipRate: 0 });
  const whole = await train({ teacherCache: cache, flipRate: 0 });
  for (const [i, loss] of parts.losses.entries()) expect(loss).toBeCloseTo(whole.losses[i] as number, 4);
});

test.each([
  ['another seed', { seed: 5 }],
  ['other data', { data: learnableIds(3000) }],
  ['more steps', { steps: 13 }],
  ['another k', { teacherCache: { file: place('changed'), topK: 9 } }],
] as [string, Partial<FinetuneOptions>][])('a cache made for something else is made anew: %s', async (_, other) => {
  const teacherCache = { file: place('changed'), topK: 8 };
  await train({ teacher, teacherCache });
  const wanted = await train({ teacher, teacherCache: { file: place(`fresh ${_}`), topK: 8 }, ...other, steps: 13 });
  const remade = await train({ teacher, teacherCache, ...other, steps: 13 });
  expect(remade.losses).toEqual(wanted.losses);
});

test('a truncated cache is written again', async () => {
  const teacherCache = { file: place('cut'), topK: 8 };
  const whole = await train({ teacher, teacherCache });
  truncateSync(teacherCache.file, statSync(teacherCache.file).size - 1);
  expect((await train({ teacher, teacherCache })).after).toEqual(whole.after);
});

test.each([
  ['a hidden-state loss', { gamma: 10 }, 'MBOK_INVALID_ARGUMENT', /'gamma' must be 0 with 'teacherCache'/],
  ['no teacher to make it', { teacher: undefined }, 'MBOK_INVALID_ARGUMENT', /pass 'teacher'/],
  ['as many tokens as there are', { teacherCache: { file: 'x', topK: 5000 } }, 'MBOK_INVALID_ARGUMENT', /topK/],
  ['a place that cannot be written', { teacherCache: { file: '/dev/null/x' } }, 'MBOK_IO', /\/dev\/null\/x/],
] as [string, Partial<FinetuneOptions>, string, RegExp][])('refuses %s', async (_, more, code, message) => {
  const file = place('refused');
  const run = train({ teacher, teacherCache: { file }, ...more });
  await expect(run).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  expect(existsSync(file)).toBe(false);
});

test('sizes are read with their units', () => {
  expect(['8GB', '1.5 gib', '100', '3mb'].map((text) => readBytes('memory', text))).toEqual([
    8e9,
    1.5 * 2 ** 30,
    100,
    3e6,
  ]);
  for (const wrong of ['', 'GB', '8XB', '-1GB', '1e9'])
    expect(() => readBytes('memory', wrong)).toThrow(/--memory takes a size/);
});
