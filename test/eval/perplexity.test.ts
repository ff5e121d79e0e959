/**
 * Perplexity: its definition, and its independence of grouping and threads. Figures are in conversion_table.test.ts.
 */

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { loadDataset } from '../../lib/data/load_dataset';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Model } from '../../lib/model';
import { encodeCorpus } from '../../lib/text/corpus';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { runTypeScript } from '../helpers/run_typescript';

const VALID = join(TINY_STORIES, 'corpus/valid.txt');
const text = readFileSync(VALID, 'utf8');
const folder = temporaryFolder();
let model: Model;

beforeAll(async () => {
  model = await Model.load(TINY_STORIES);
});
afterAll(() => model.dispose());

/** Computes the mean negative log-likelihood of all but the first token of each window, in float64 from the logits. */
async function reference(ids: ArrayLike<number>, window: number): Promise<{ perplexity: number; tokens: number }> {
  let sum = 0;
  let tokens = 0;
  for (let start = 0; start + window <= ids.length; start += window) {
    const part = Array.from({ length: window }, (_, i) => ids[start + i] as number);
    const { data, shape } = await model.logits(part);
    for (let row = 0; row + 1 < window; row++) {
      const logits = data.subarray(row * shape[1], (row + 1) * shape[1]);
      const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
      const total = logits.reduce((all, value) => all + Math.exp(value - largest), 0);
      sum += Math.log(total) + largest - (logits[part[row + 1] as number] as number);
      tokens++;
    }
  }
  return { perplexity: Math.exp(sum / tokens), tokens };
}

test('is exp of the mean negative log-likelihood of every position but the first of a window', async () => {
  const ids = (await encodeCorpus(model.tokenizer, text)).subarray(0, 64 * 7 + 30);
  const result = await evaluatePerplexity(model, ids, { window: 64 });
  const expected = await reference(ids, 64);
  expect(result).toMatchObject({ tokens: expected.tokens, windows: 7 });
  expect(Math.abs(result.perplexity / expected.perplexity - 1)).toBeLessThan(1e-5);
});

test('of a text is that of its documents, each after the document start token', async () => {
  const [first, second] = ['Once upon a time there was a cat.', 'The end of the day came.'];
  const start = model.tokenizer.documentStartId as number;
  const encode = (part: string) => [start, ...model.tokenizer.encode(part, { addSpecialTokens: false })];
  const joined = await evaluatePerplexity(model, `${first}<|endoftext|>${second}`, { window: 12 });
  const ids = await evaluatePerplexity(model, [...encode(first), ...encode(second)], { window: 12 });
  expect(joined).toEqual(ids);
});

describe('of a single document', () => {
  const story = 'Once upon a time there was a cat. The cat was very happy and sat in the sun.';
  /** Creates the same model with a tokenizer that does or does not put a token before a text. */
  async function variant(name: string, addsStart: boolean): Promise<Model> {
    const path = join(folder, name);
    cpSync(TINY_STORIES, path, { recursive: true });
    const config = JSON.parse(readFileSync(join(path, 'tokenizer_config.json'), 'utf8'));
    writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify({ ...config, add_bos_token: addsStart }));
    return Model.load(path);
  }

  test.each([true, false])(
    'is that of the text as its tokenizer gives it: with a start token %p',
    async (addsStart) => {
      await using varied = await variant(`start-${addsStart}`, addsStart);
      const plain = varied.tokenizer.encode(story, { addSpecialTokens: false }).length;
      const ids = varied.tokenizer.encode(story);
      expect(ids.length).toBe(plain + Number(addsStart));
      const alone = await evaluatePerplexity(varied, story, { window: 10 });
      expect(alone).toEqual(await evaluatePerplexity(varied, ids, { window: 10 }));
      expect(alone.textTokens).toBe(ids.length);
      writeFileSync(join(folder, 'story.txt'), story);
      await using dataset = await loadDataset({ files: join(folder, 'story.txt'), cache: false }, varied);
      expect(await evaluatePerplexity(varied, dataset, { window: 10 })).toEqual(alone);
      writeFileSync(join(folder, 'stories.jsonl'), `${JSON.stringify({ text: story })}\n`.repeat(2));
      await using lines = await loadDataset({ files: join(folder, 'stories.jsonl'), cache: false }, varied);
      expect((await evaluatePerplexity(varied, lines, { window: 10 })).textTokens).toBe(2 * (plain + 1));
    },
  );
});

describe('windows', () => {
  test('that overlap score every token once, after all earlier tokens of the window', async () => {
    const ids = (await encodeCorpus(model.tokenizer, text)).subarray(0, 30);
    let sum = 0;
    for (let at = 1; at + 1 <= 28; at++) {
      // windows of 12 begin at 0, 4, 8, …; the first window that contains a token scores it
      const start = at < 12 ? 0 : 4 * Math.ceil((at - 11) / 4);
      const before = ids.subarray(start, at);
      const { data, shape } = await model.logits(before);
      const logits = data.subarray((shape[0] - 1) * shape[1]);
      const total = logits.reduce((all, value) => all + Math.exp(value), 0);
      sum += Math.log(total) - (logits[ids[at] as number] as number);
    }
    const result = await evaluatePerplexity(model, ids, { window: 12, stride: 4 });
    expect(result).toMatchObject({ tokens: 27, textTokens: 30, windows: 5, window: 12, stride: 4, precision: 'f32' });
    expect(Math.abs(result.perplexity / Math.exp(sum / 27) - 1)).toBeLessThan(1e-5);
  });

  test('must not exceed the text, nor the stride the window', async () => {
    const refused = (options: object) => expect(evaluatePerplexity(model, [1, 2, 3, 4], options)).rejects;
    await refused({ window: 5 }).toMatchObject({
      message: expect.stringContaining('4 tokens, fewer than a window of 5'),
    });
    await refused({ window: 3, stride: 4 }).toMatchObject({ message: expect.stringContaining("'stride' must be") });
    await refused({ window: 9999 }).toMatchObject({ message: expect.stringContaining("model's limit of") });
  });
});

test.each(['bf16', 'int8'] as const)('of a Boolean model in %s is close to that in f32', async (precision) => {
  await using small = await binarize(model, { kernels: 2 });
  const windows = { window: 200, maxWindows: 13 };
  const { perplexity: exact } = await evaluatePerplexity(small, text, windows);
  const rounded = await evaluatePerplexity(small, text, { ...windows, precision });
  expect(rounded.precision).toBe(precision);
  expect(Math.abs(rounded.perplexity / exact - 1)).toBeLessThan(5e-3);
});

test('of a Boolean model grows as its activations lose bits', async () => {
  await using small = await binarize(model, { kernels: 4, method: 'refit' });
  const windows = { window: 128, maxWindows: 4 };
  const perplexities: number[] = [];
  for (const activations of [undefined, 8, 4, 2, 1] as const) {
    const result = await evaluatePerplexity(small, text, { ...windows, activations });
    expect(result.activations).toBe(activations);
    perplexities.push(result.perplexity);
  }
  const [exact, ...rounded] = perplexities as [number, ...number[]];
  expect(Math.abs((rounded[0] as number) / exact - 1)).toBeLessThan(0.005);
  expect(perplexities.slice(1)).toEqual([...rounded].sort((a, b) => a - b));
  expect(rounded[1] as number).toBeLessThan(1.2 * exact);
  const [plain, coarse] = [await small.logits([1, 2, 3]), await small.logits([1, 2, 3], { activations: 4 })];
  expect(coarse.data).not.toEqual(plain.data);
  await expect(small.logits([1], { activations: 3 as 4 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  await expect(evaluatePerplexity(small, text, { activations: 3 as 4 })).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringContaining('activations'),
  });
});

test('does not depend on how windows are grouped, and stops at maxWindows', async () => {
  const shown: number[] = [];
  const all = await evaluatePerplexity(model, text, {
    window: 200,
    maxWindows: 13,
    onProgress: ({ done }) => shown.push(done),
  });
  expect(all).toMatchObject({ windows: 13, tokens: 13 * 199 });
  expect(shown.at(-1)).toBe(1);
  const ids = await encodeCorpus(model.tokenizer, text);
  const separate = [];
  for (let i = 0; i < 13; i++) {
    separate.push(await evaluatePerplexity(model, ids.subarray(200 * i, 200 * (i + 1)), { window: 200 }));
  }
  const mean = separate.reduce((sum, { perplexity }) => sum + Math.log(perplexity), 0) / 13;
  expect(Math.abs(Math.exp(mean) / all.perplexity - 1)).toBeLessThan(1e-9);
});

test("takes the model's limit for a window unless told otherwise", async () => {
  await using small = await Model.load(join(GOLDEN, 'llama'));
  const ids = Int32Array.from({ length: 130 }, (_, i) => i);
  expect(await evaluatePerplexity(small, ids)).toMatchObject({ windows: 2, tokens: 126 });
});

test('can be stopped', async () => {
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  await expect(
    evaluatePerplexity(model, text, { window: 64, signal: controller.signal, onProgress }),
  ).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
});

test('has the same bits for 1, 2 and 3 threads', () => {
  const results = ['1', '2', '3'].map((threads) =>
    runTypeScript(
      `
      import { readFileSync } from 'node:fs';
      import { Model } from './lib/model';
      import { binarize } from './lib/compress/binarize';
      import { evaluatePerplexity } from './lib/eval/perplexity';
      Model.load(${JSON.stringify(TINY_STORIES)}).then(async (model) => {
        const small = await binarize(model, { kernels: 2, method: 'refit' });
        const text = readFileSync(${JSON.stringify(VALID)}, 'utf8');
        for (const each of [model, small]) {
          console.log((await evaluatePerplexity(each, text, { window: 128, maxWindows: 20 })).perplexity);
        }
      });`,
      { env: { MBOK_THREADS: threads } },
    ),
  );
  for (const { stdout, stderr } of results)
    expect({ stdout, stderr }).toEqual({ stdout: results[0]?.stdout, stderr: '' });
  expect(results[0]?.stdout.trim().split('\n')).toHaveLength(2);
});
