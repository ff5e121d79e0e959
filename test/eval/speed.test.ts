/** Speed: the figures match the request, and measurements can be stopped. */

import { measureSpeed } from '../../lib/eval/speed';
import type { Model } from '../../lib/model';
import { runMbok } from '../helpers/command_line';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { loadTeacher, makeStudent } from '../helpers/training_models';

const folder = temporaryFolder();
let dense: Model;
let boolean: Model;
beforeAll(async () => {
  dense = await loadTeacher();
  boolean = await makeStudent(dense);
});
afterAll(() => {
  for (const model of [dense, boolean]) model.dispose();
});

test.each(['dense', 'Boolean'])('tokens a second of a %s model, with their range', async (kind) => {
  const model = kind === 'dense' ? dense : boolean;
  const result = await measureSpeed(model, { prompt: 20, tokens: 5, repeats: 4 });
  expect(result).toMatchObject({ prompt: 20, tokens: 5, repeats: 4, precision: 'f32' });
  expect(result.cacheBytes).toBeGreaterThan(0);
  for (const { median, least, most } of [result.prefill, result.decode]) {
    expect(least).toBeGreaterThan(0);
    expect(median).toBeGreaterThanOrEqual(least);
    expect(most).toBeGreaterThanOrEqual(median);
  }
});

test("the prompt is cut to the model's limit, unless it was asked for", async () => {
  const limit = dense.config.maxPositions;
  expect((await measureSpeed(dense, { tokens: 1, repeats: 1 })).prompt).toBe(Math.min(512, limit));
  await expect(measureSpeed(dense, { prompt: limit + 1 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  await expect(measureSpeed(dense, { tokens: limit + 1 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
});

test('a measurement can be stopped', async () => {
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  const stopped = measureSpeed(dense, { signal: controller.signal, onProgress });
  await expect(stopped).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
});

test('the command line prints the conditions of the measurement', () => {
  const args = [
    'eval',
    'speed',
    TINY_STORIES,
    '--prompt',
    '32',
    '--tokens',
    '4',
    '--repeats',
    '2',
    '--precision',
    'bf16',
  ];
  const { status, stdout, stderr } = runMbok(folder, [...args, '--json']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const result = JSON.parse(stdout) as { loadSeconds: number; resources: { seconds: number; peakMemory: number } };
  expect(result).toMatchObject({
    precision: 'bf16',
    bytes: 5515976,
    threads: expect.any(Number),
    isa: expect.any(String),
  });
  expect(result.resources.seconds).toBeGreaterThan(result.loadSeconds);
  expect(result.resources.peakMemory).toBeGreaterThan(5515976);
  expect(runMbok(folder, args).stdout).toMatch(/prefill .* tokens\/s .*\n.*decode .* of 4 tokens\n.*bf16/);
});
