/** Budgets of embeddings: the forms that fit them, and that files keep to them. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { BinarizeOptions } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { planConversion } from '../../lib/compress/memory_plan';
import { tableWithin } from '../../lib/compress/table_budget';
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
  expect(tableWithin(TABLE, bytes, counts)).toEqual(booleanTableFormat(kernels, frequent));
  expect(tableWithin(TABLE, bytes - 1, counts)).toEqual(booleanTableFormat(kernels, frequent - 64));
});

test('without a text there are only kernels, and 8 bits where they fit', () => {
  for (const kernels of [1, 2, 5]) {
    expect(tableWithin(TABLE, bytesOf(kernels, 0), undefined)).toEqual(booleanTableFormat(kernels));
    expect(tableWithin(TABLE, bytesOf(kernels + 1, 0) - 1, undefined)).toEqual(booleanTableFormat(kernels));
  }
  const int8 = TABLE.rows * (TABLE.cols + 2);
  expect(tableWithin(TABLE, int8, undefined)).toEqual(INT8);
  expect(tableWithin(TABLE, int8, counts)).toEqual(INT8);
  expect(tableWithin(TABLE, int8 - 1, undefined)).toEqual(booleanTableFormat(7));
});

test('less than one kernel is refused', () => {
  expect(() => tableWithin(TABLE, bytesOf(1, 0) - 1, counts)).toThrow(
    expect.objectContaining({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringMatching(/at least 3638400 bytes/),
    }),
  );
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

  test('the plan counts the fit of a table, which is the largest step of a small model', async () => {
    const peak = async (embeddings: BinarizeOptions['embeddings']) =>
      (await planConversion(TINY_STORIES, { kernels: 1, keep: { '*': 'dense' }, embeddings })).peakBytes;
    const numbers = 2048 * 192;
    expect((await peak(2)) - (await peak('int8'))).toBeGreaterThan(2 * 4 * numbers);
  });
});
