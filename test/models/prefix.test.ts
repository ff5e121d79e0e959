/** Loading the first kernels of a model that has more. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MbokError } from '../../lib/base/errors';
import { binarize } from '../../lib/compress/binarize';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
const whole = join(folder, 'whole');
const mixed = join(folder, 'mixed');
const KEPT = 'model.layers.0.mlp.down_proj';

beforeAll(async () => {
  await using dense = await Model.load(join(GOLDEN, 'llama-bias'));
  await using model = await binarize(dense, { kernels: 3, method: 'svid' });
  await model.save(whole);
  await using other = await binarize(dense, { kernels: 3, method: 'svid', keep: { [KEPT]: 1 } });
  await other.save(mixed);
});

const logits = async (model: Model) => (await model.logits([1, 2, 3, 4])).data;

test.each([1, 2])(
  '%i kernels of successive extraction are those that a conversion for so many gives',
  async (kernels) => {
    await using dense = await Model.load(join(GOLDEN, 'llama-bias'));
    await using alone = await binarize(dense, { kernels, method: 'svid' });
    await using prefix = await Model.load(whole, { kernels });
    expect(prefix.kernels).toEqual(alone.kernels);
    expect(await logits(prefix)).toEqual(await logits(alone));
  },
);

test('all kernels give the whole model bit for bit, with its conversion report', async () => {
  await using prefix = await Model.load(whole, { kernels: 3 });
  await using model = await Model.load(whole);
  expect(coreOf(prefix).savedJson).toEqual(coreOf(model).savedJson);
  for (const [name, { matrix }] of coreOf(model).stored)
    expect(coreOf(prefix).stored.get(name)?.matrix.raw()).toEqual(matrix.raw());
});

test('a prefix is saved as an ordinary model, which loads to the same numbers', async () => {
  const place = join(folder, 'saved');
  await using prefix = await Model.load(whole, { kernels: 2 });
  await prefix.save(place);
  await using again = await Model.load(place);
  expect([...again.kernels.values()].every((count) => count === 2)).toBe(true);
  expect(again.conversion).toBeUndefined();
  expect(await logits(again)).toEqual(await logits(prefix));
  const { layers } = await inspect(place);
  for (const { rows, cols, kernels } of layers) expect([rows, cols, kernels]).toEqual([rows, cols, 2]);
});

test('modules with fewer kernels use all of theirs', async () => {
  await using prefix = await Model.load(mixed, { kernels: 2 });
  for (const [module, count] of prefix.kernels) expect(count).toBe(module === KEPT ? 1 : 2);
  expect((await logits(prefix)).every(Number.isFinite)).toBe(true);
});

test('no bits of later kernels are read', async () => {
  const read = jest.spyOn(SafetensorsFile.prototype, 'read');
  await using prefix = await Model.load(whole, { kernels: 1 });
  const bytes = await Promise.all(read.mock.results.map(({ value }) => value as Promise<Uint8Array>));
  read.mockRestore();
  const { parts } = await inspect(whole);
  expect(bytes.reduce((sum, { length }) => sum + length, 0)).toBe(parts.kernels / 3);
  expect(prefix.disposed).toBe(false);
});

test.each([0, -1, 1.5, 4, Number.NaN, '2'])('refuses %p kernels of 3', async (kernels) => {
  const failed = await Model.load(whole, { kernels: kernels as number }).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(MbokError);
  expect(failed).toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringContaining("'kernels' must be an integer from 1 to 3"),
  });
});

test('refuses a number of kernels for a dense model', async () => {
  await expect(Model.load(TINY_STORIES, { kernels: 1 })).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringContaining('dense'),
  });
});

test('refuses a nested model whose scales for a prefix are missing', async () => {
  const place = join(folder, 'saved-3');
  await using model = await Model.load(whole);
  await model.save(place);
  const config = join(place, 'config.json');
  const json = JSON.parse(readFileSync(config, 'utf8'));
  for (const format of Object.values<Record<string, unknown>>(json.quantization_config.modules)) format.nested = true;
  writeFileSync(config, JSON.stringify(json));
  await expect(Model.load(place, { kernels: 2 })).rejects.toMatchObject({
    code: 'MBOK_SHAPE',
    message: expect.stringContaining('s_out_prefix_1'),
  });
});
