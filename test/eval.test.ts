/** Perplexity: its definition and its independence of grouping and threads. For figures see conversion_table.test.ts. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { evaluatePerplexity } from '../lib/eval/perplexity';
import { Model } from '../lib/model';
import { encodeCorpus } from '../lib/text/corpus';
import { GOLDEN, TINY_STORIES } from './folders';
import { runTypeScript } from './run_typescript';

const VALID = join(TINY_STORIES, 'corpus/valid.txt');
const text = readFileSync(VALID, 'utf8');
let model: Model;

beforeAll(async () => {
  model = await Model.load(TINY_STORIES);
});
afterAll(() => model.dispose());

/** Mean negative log-likelihood of all but the first token of each window, in float64 from the logits. */
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

test('is e to the mean negative log-likelihood of every position but the first of a window', async () => {
  const ids = (await encodeCorpus(model.tokenizer, text)).subarray(0, 64 * 7 + 30);
  const result = await evaluatePerplexity(model, ids, { window: 64 });
  const expected = await reference(ids, 64);
  expect(result).toMatchObject({ tokens: expected.tokens, windows: 7 });
  expect(Math.abs(result.perplexity / expected.perplexity - 1)).toBeLessThan(1e-5);
});

test('of a text is that of its documents, each after the token that starts one', async () => {
  const [first, second] = ['Once upon a time there was a cat.', 'The end of the day came.'];
  const start = model.tokenizer.documentStartId as number;
  const encode = (part: string) => [start, ...model.tokenizer.encode(part, { addSpecialTokens: false })];
  const joined = await evaluatePerplexity(model, `${first}<|endoftext|>${second}`, { window: 12 });
  const ids = await evaluatePerplexity(model, [...encode(first), ...encode(second)], { window: 12 });
  expect(joined).toEqual(ids);
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
