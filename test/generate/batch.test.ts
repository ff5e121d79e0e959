/** Batched generation gives the same texts as generation one by one. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { Decoder } from '../../lib/generate/decoder';
import type { BatchOptions, GenerateOptions, GenerationResult } from '../../lib/generate/request';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { coreOf, Model } from '../../lib/model';
import { copyGolden, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const PROMPTS = [
  'Once upon a time',
  'Tom and his dog',
  'The sun',
  'One day, a little girl named Lily found a big red ball in the park. She wanted to',
  'A',
  'In the forest there was a bear. '.repeat(8),
];

const folder = temporaryFolder();
let model: Model;
beforeAll(async () => {
  model = await Model.load(TINY_STORIES);
});
afterAll(() => model.dispose());

async function alone(prompt: string | ArrayLike<number>, options: GenerateOptions): Promise<GenerationResult> {
  const generation = model.generate(prompt, options);
  for await (const _ of generation);
  return await generation.result;
}
const summary = ({ text, reason, tokens, promptTokens, seed }: GenerationResult) => ({
  text,
  reason,
  tokens,
  promptTokens,
  seed,
});

test.each<[string, BatchOptions]>([
  ['greedy', { temperature: 0, maxTokens: 40, seed: 1 }],
  ['drawn, with a seed a prompt', { temperature: 0.9, topP: 0.95, maxTokens: 40, seed: 5 }],
  ['fewer slots than prompts', { temperature: 0.8, maxTokens: 30, seed: 2, parallel: 2 }],
  ['one slot', { temperature: 0.8, maxTokens: 20, seed: 2, parallel: 1 }],
  ['with stop strings and a penalty', { temperature: 0, maxTokens: 60, stop: ['.'], repetitionPenalty: 1.2, seed: 0 }],
])('%s', async (_, options) => {
  const { parallel: _parallel, seed = 0, ...rest } = options;
  const expected: GenerationResult[] = [];
  for (const [i, prompt] of PROMPTS.entries()) {
    expected.push(await alone(prompt, { ...(rest as GenerateOptions), seed: seed + i }));
  }
  const got = await model.generateBatch(PROMPTS, options);
  expect(got.map(summary)).toEqual(expected.map(summary));
});

test('a Boolean model gives the same texts in batches', async () => {
  await using boolean = await binarize(model, { kernels: 2, method: 'svid' });
  const options = { temperature: 0, maxTokens: 20, seed: 0 };
  const got = await boolean.generateBatch(PROMPTS.slice(0, 3), options);
  for (const [i, prompt] of PROMPTS.slice(0, 3).entries()) {
    const generation = boolean.generate(prompt, { ...options, seed: i });
    for await (const _ of generation);
    expect(summary(got[i] as GenerationResult)).toEqual(summary(await generation.result));
  }
});

test.each(['llama-bias', 'mistral-sliding', 'gemma2', 'gemma3', 'gpt2', 'opt', 'phi3', 'qwen3-tied', 'smollm3'])(
  '%s: logits of rows of several sequences are those of each sequence',
  async (family) => {
    const place = join(folder, family);
    mkdirSync(place);
    await using golden = await Model.load(copyGolden(family, place));
    const sequence = (start: number, length: number) => Int32Array.from({ length }, (_, i) => (start + 7 * i) % 90);
    const texts = [sequence(3, 20), sequence(11, 9), sequence(40, 14)];
    const whole: Float32Array[] = [];
    for (const ids of texts) {
      await using decoder = new Decoder(coreOf(golden), { context: 24, arithmetic: arithmeticOf({}) });
      whole.push((await decoder.append(0, ids, undefined)).slice());
    }
    await using batch = new Decoder(coreOf(golden), { slots: 3, context: 24, arithmetic: arithmeticOf({}) });
    // all but the last tokens, in two parts of different lengths, then the last ones in another order, on one path
    const cuts = texts.map(({ length }) => [0, Math.floor(length / 3), length - 1, length]);
    for (const part of [0, 1, 2]) {
      const pieces = texts.map((ids, slot) => {
        const [from = 0, to = 0] = (cuts[slot] as number[]).slice(part, part + 2);
        return { slot, ids: ids.slice(from, to), ends: part === 2 };
      });
      if (part === 2) pieces.reverse();
      const logits = await batch.prefill(pieces, batch.path(20), undefined);
      if (part < 2) continue;
      for (const [i, { slot }] of pieces.entries()) {
        const expected = whole[slot] as Float32Array;
        const range = Math.max(...expected) - Math.min(...expected);
        const worst = Math.max(...expected.map((value, id) => Math.abs(value - (logits[i]?.[id] as number))));
        expect(worst / range).toBeLessThan(1e-5);
      }
    }
  },
);

test('progress and ends are reported, and an empty batch reports nothing', async () => {
  expect(await model.generateBatch([])).toEqual([]);
  const ends: number[] = [];
  const done: number[] = [];
  await model.generateBatch(PROMPTS.slice(0, 3), {
    maxTokens: 5,
    parallel: 2,
    onEnd: ({ tokens }, index) => ends.push(10 * index + tokens),
    onProgress: (progress) => done.push(progress.done),
  });
  expect(ends.sort((a, b) => a - b)).toEqual([5, 15, 25]);
  expect(done).toEqual([1 / 3, 2 / 3, 1]);
});

test('a prompt of ids ends when the context is full', async () => {
  const ids = Int32Array.from({ length: 509 }, (_, i) => 300 + i);
  const [long, short] = await model.generateBatch([ids, 'Once'], { temperature: 0, maxTokens: 6 });
  expect(long).toMatchObject({ reason: 'context', tokens: 4, promptTokens: 509 });
  expect(short).toMatchObject({ reason: 'max-tokens', tokens: 6 });
});

test.each<[string, unknown, BatchOptions, RegExp]>([
  ['prompts that are one text', 'Once', {}, /'prompts' must be an array.*got "Once"/],
  ['a prompt that is a number', ['Once', 7], {}, /prompts\[1\]: 'prompt'/],
  ['a prompt that does not fit', ['Once', 'a b '.repeat(600)], {}, /prompts\[1\]: the prompt has \d+ tokens.*512/],
  ['no slots', ['Once'], { parallel: 0 }, /'parallel' must be an integer from 1/],
  ['an option that does not exist', ['Once'], { batch: 2 } as BatchOptions, /no option 'batch'/],
  ['a seed that is none', ['Once'], { seed: -2 }, /'seed' must be an integer/],
])('%s is refused', async (_, prompts, options, message) => {
  await expect(model.generateBatch(prompts as string[], options)).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringMatching(message),
  });
});

test('an abort stops the batch', async () => {
  const controller = new AbortController();
  const run = model.generateBatch(PROMPTS, {
    signal: controller.signal,
    onEnd: () => controller.abort(),
    parallel: 2,
    maxTokens: 5,
  });
  await expect(run).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
});
