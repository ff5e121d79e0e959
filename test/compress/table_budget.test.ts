/** Budgets of embeddings: the forms that fit them, that files keep to them, and how sensitive a model is to them. */

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type BinarizeOptions,
  binarize,
  type ConvertibleModel,
  measuredSensitivity,
  prepareTask,
} from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { loadedSource } from '../../lib/compress/dense_source';
import { planConversion } from '../../lib/compress/memory_plan';
import { tableBeside, tableWithin, USUAL_SENSITIVITY } from '../../lib/compress/table_budget';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { booleanTableFormat } from '../../lib/structures/boolean_table';
import { INT8 } from '../../lib/structures/int8';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();

/** The table of SmolLM2-135M, and counts by which 4096 tokens are 83 % of a text and 8192 are 91 %. */
const TABLE = { name: 'embed.weight', rows: 49152, cols: 576, role: 'embedding' } as const;
const counts = Float64Array.from({ length: TABLE.rows }, (_, i) =>
  i < 4096 ? 0.83 / 4096 : i < 8192 ? 0.08 / 4096 : 0.09 / (TABLE.rows - 8192),
);

const within = (bytes: number, given: Float64Array | undefined) => tableWithin(TABLE, bytes, given, USUAL_SENSITIVITY);

/** Bytes of a table of SmolLM2's shape from the definition of its parts. */
function bytesOf(kernels: number, frequent: number): number {
  const [rows, cols] = [TABLE.rows - frequent, TABLE.cols];
  const inInt8 = frequent === 0 ? 0 : frequent * (cols + 2) + TABLE.rows / 8;
  return inInt8 + kernels * ((rows * cols) / 8 + 2 * (rows + cols));
}

// perplexities of SmolLM2 with these tables: 322, 149, 35.8 and 31.9, where two kernels give 854 and three 60.7
test.each([
  [1, 4096],
  [1, 8192],
  [2, 4096],
  [2, 8192],
])('%d kernels and %d rows in 8 bits are the best form of their size, and never one byte less', (kernels, frequent) => {
  const bytes = bytesOf(kernels, frequent);
  expect(within(bytes, counts)).toEqual(booleanTableFormat(kernels, frequent));
  expect(within(bytes - 1, counts)).toEqual(booleanTableFormat(kernels, frequent - 64));
});

test('without a text there are only kernels, and 8 bits where they fit', () => {
  for (const kernels of [1, 2, 5]) {
    expect(within(bytesOf(kernels, 0), undefined)).toEqual(booleanTableFormat(kernels));
    expect(within(bytesOf(kernels + 1, 0) - 1, undefined)).toEqual(booleanTableFormat(kernels));
  }
  const int8 = TABLE.rows * (TABLE.cols + 2);
  expect(within(int8, undefined)).toEqual(INT8);
  expect(within(int8, counts)).toEqual(INT8);
  expect(within(int8 - 1, undefined)).toEqual(booleanTableFormat(7));
});

test('less than one kernel is refused', () => {
  expect(() => within(bytesOf(1, 0) - 1, counts)).toThrow(
    expect.objectContaining({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringMatching(/at least 3638400 bytes/),
    }),
  );
});

test('tokens that a short text has once do not make rows in 8 bits worth more than a kernel', () => {
  // 1000 tokens, half of them once: a text as short has others
  const once = Float64Array.from({ length: TABLE.rows }, (_, i) => (i < 50 ? 10 : i < 550 ? 1 : 0));
  const format = within(bytesOf(2, 0), once);
  expect(format).toEqual(booleanTableFormat(2));
});

describe('beside linear layers', () => {
  const weights = 106_168_320;
  const beside = (size: number, sensitivity = USUAL_SENSITIVITY) =>
    tableBeside([TABLE], { size, weights }, counts, sensitivity);

  test('a model that does not mind gets one kernel, one that minds much 8 bits while layers have 0.3 bits left', () => {
    expect(beside(30e6, { rise: [0, 0], alike: 0 })).toEqual(booleanTableFormat(1));
    const least = (0.3 * weights) / 8;
    const int8 = TABLE.rows * (TABLE.cols + 2);
    const minds = { rise: [1e6, 1e6], alike: 1 } as const;
    expect(beside(int8 + least, minds)).toEqual(INT8);
    expect(beside(int8 + least - 1, minds)).not.toEqual(INT8);
    expect(beside(100, minds)).toEqual(booleanTableFormat(1));
  });

  test('the table grows with the size', () => {
    const bytes = [9, 12, 16.8, 24, 40, 60, 200].map((megabytes) => {
      const format = beside(megabytes * 1e6);
      return format.kind === 'int8'
        ? TABLE.rows * (TABLE.cols + 2)
        : bytesOf(...(Object.values(format).slice(1) as [number, number]));
    });
    expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
    expect(bytes[0]).toBeLessThan(9e6 - (0.3 * weights) / 8);
    expect(bytes.at(-1)).toBe(TABLE.rows * (TABLE.cols + 2));
  });
});

test('the sensitivity is the rise of the loss of whole models with such tables', async () => {
  const text = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8').slice(0, 12_000);
  await using model = await Model.load(TINY_STORIES);
  const core = coreOf(model);
  const tokens = [...core.tokenizer.encode(text)].slice(0, 512);
  const window = 64;
  const calibration = { data: tokens, windows: 8, length: window, precision: 'f32' } as const;
  const options: BinarizeOptions = { size: 1e6, method: 'calibrated', calibration };
  const prepared = await prepareTask(core as ConvertibleModel, options);
  const { rise, alike } = await measuredSensitivity(loadedSource(core), prepared, {});
  const lossOf = async (of: Model) => Math.log((await evaluatePerplexity(of, tokens, { window })).perplexity);
  const original = await lossOf(model);
  for (const embeddings of [1, 2]) {
    await using small = await binarize(model, { kernels: 1, keep: { '*': 'dense' }, embeddings });
    expect((await lossOf(small)) - original).toBeCloseTo(rise[embeddings - 1] as number, 4);
  }
  expect(rise[0]).toBeGreaterThan(3 * rise[1]);
  expect(alike).toBeGreaterThan(0);
});

describe('a conversion', () => {
  const LLAMA = join(GOLDEN, 'llama');
  const data = Array.from({ length: 2000 }, (_, i) => (i * i * 7 + i) % 160);
  const calibrated = { method: 'calibrated', calibration: { data, windows: 6, length: 32 } } as const;
  const tableBytes = async (place: string) => {
    const { parts } = await inspect(place);
    return parts.embeddings + parts.head;
  };

  test.each([
    ['bits', { bits: 3.5 }],
    ['size', { size: 4000 }],
  ])('keeps embeddings within their %s', async (name, embeddings) => {
    const dense = join(folder, `${name}-dense`);
    const place = join(folder, name);
    await binarizeFolder(LLAMA, dense, { kernels: 1, ...calibrated });
    await binarizeFolder(LLAMA, place, { kernels: 1, ...calibrated, embeddings });
    const numbers = (await tableBytes(dense)) / 4;
    const limit = 'size' in embeddings ? embeddings.size : (embeddings.bits * numbers) / 8;
    expect(await tableBytes(place)).toBeLessThanOrEqual(limit);
    expect(await tableBytes(place)).toBeGreaterThan(limit / 2);
    expect((await inspect(place)).embeddings).toBe('boolean_table');
    expect(statSync(join(place, 'model.safetensors')).size).toBeLessThan(
      statSync(join(dense, 'model.safetensors')).size,
    );
  });

  test.each([
    [{ bits: 0 }, 'embeddings.bits'],
    [{ bits: 0.1 }, 'embeddings'],
    [{ size: 0.5 }, 'embeddings.size'],
    [{ bits: 2, size: 3 }, 'bits'],
  ])('refuses %j', async (embeddings, name) => {
    await expect(binarizeFolder(LLAMA, join(folder, 'refused'), { kernels: 1, embeddings })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(name),
    });
  });

  test('by default shares its size between tables and layers, and goes on to the same bits after a stop', async () => {
    const size = 40_000;
    const straight = join(folder, 'straight');
    await binarizeFolder(LLAMA, straight, { size, ...calibrated });
    expect((await inspect(straight)).embeddings).toBe('boolean_table');
    expect(statSync(join(straight, 'model.safetensors')).size).toBeLessThanOrEqual(size);
    const stopped = join(folder, 'stopped');
    const controller = new AbortController();
    const onProgress = ({ what }: { what: string }) => what.startsWith('embeddings') || controller.abort();
    const stop = binarizeFolder(LLAMA, stopped, { size, ...calibrated, onProgress, signal: controller.signal });
    await expect(stop).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    const file = join(`${stopped}.partial`, 'sensitivity.json');
    const { rise } = JSON.parse(readFileSync(file, 'utf8'));
    expect(rise).toHaveLength(2);
    await binarizeFolder(LLAMA, stopped, { size, ...calibrated });
    const weights = (place: string) => readFileSync(join(place, 'model.safetensors')).toString('base64');
    expect(weights(stopped)).toBe(weights(straight));
  });

  test('refuses a sensitivity that is not one', async () => {
    const place = join(folder, 'spoiled');
    const controller = new AbortController();
    const onProgress = ({ what }: { what: string }) => what.startsWith('embeddings') || controller.abort();
    const options = { size: 40_000, ...calibrated };
    await expect(
      binarizeFolder(LLAMA, place, { ...options, onProgress, signal: controller.signal }),
    ).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    writeFileSync(join(`${place}.partial`, 'sensitivity.json'), '{"rise": [1, null], "alike": 0}');
    await expect(binarizeFolder(LLAMA, place, options)).rejects.toMatchObject({
      code: 'MBOK_FORMAT',
      message: expect.stringContaining('sensitivity.json'),
    });
  });

  test('the plan counts the fit of a table, which is the largest step of a small model', async () => {
    const peak = async (embeddings: BinarizeOptions['embeddings']) =>
      (await planConversion(TINY_STORIES, { kernels: 1, keep: { '*': 'dense' }, embeddings })).peakBytes;
    const numbers = 2048 * 192;
    expect((await peak(2)) - (await peak('int8'))).toBeGreaterThan(2 * 4 * numbers);
  });
});
