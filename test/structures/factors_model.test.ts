/** Models of factor pairs: converted in memory and on disk, resumed, loaded, computed with, finetuned, exported. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { converterOf } from '../../lib/compress/converters';
import { exportDense } from '../../lib/compress/export_dense';
import { planConversion } from '../../lib/compress/memory_plan';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { moduleOf } from '../../lib/models/parts';
import { factorsFormat, rankForBits } from '../../lib/structures/factors';
import { finetune } from '../../lib/train/finetune';
import { GOLDEN, temporaryFolder } from '../helpers/folders';
import { relativeError } from '../helpers/random';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
let places = 0;
const newPlace = () => join(folder, `place-${++places}`);
const LLAMA = join(GOLDEN, 'llama');
const IDS = Array.from({ length: 48 }, (_, i) => (i * i * 7 + i) % 160);
const BITS = 2;
const WITHOUT_DATA: BinarizeOptions = { factors: BITS, iterations: 10 };
const CALIBRATED: BinarizeOptions = {
  ...WITHOUT_DATA,
  method: 'calibrated',
  calibration: { data: learnableIds(400), windows: 6, length: 32 },
};

const files = (place: string) =>
  Object.fromEntries(readdirSync(place).map((name) => [name, readFileSync(join(place, name)).toString('base64')]));
const logits = async (model: Model, ids: ArrayLike<number> = IDS) => (await model.logits(ids)).data;

async function convert(options: BinarizeOptions): Promise<Model> {
  await using dense = await Model.load(LLAMA);
  return await binarize(dense, options);
}

test('every linear layer has the rank of its size', async () => {
  await using model = await convert(WITHOUT_DATA);
  for (const linear of coreOf(model).linears)
    expect(model.formats.get(moduleOf(linear.name))).toEqual({ kind: 'factors', rank: rankForBits(linear, BITS) });
});

test.each([
  ['without data', WITHOUT_DATA],
  ['calibrated', CALIBRATED],
] as const)(
  '%s, a folder has the bytes of a model converted in memory, which reload to the same logits',
  async (_, options) => {
    const [fromDisk, inMemory, again] = [newPlace(), newPlace(), newPlace()];
    const report = await binarizeFolder(LLAMA, fromDisk, options);
    await using model = await convert(options);
    expect(model.conversion).toEqual(report);
    await model.save(inMemory);
    expect(files(fromDisk)).toEqual(files(inMemory));
    await using loaded = await Model.load(inMemory);
    expect(await logits(loaded)).toEqual(await logits(model));
    await loaded.save(again);
    expect(files(again)).toEqual(files(inMemory));
  },
);

test('a conversion that was stopped resumes with the same bits, and does not measure the original again', async () => {
  const [straight, stopped] = [newPlace(), newPlace()];
  await binarizeFolder(LLAMA, straight, CALIBRATED);
  const controller = new AbortController();
  const onProgress = ({ done }: { done: number }) => {
    if (done > 0.6) controller.abort();
  };
  const failed = binarizeFolder(LLAMA, stopped, { ...CALIBRATED, signal: controller.signal, onProgress });
  await expect(failed).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  expect(readdirSync(`${stopped}.partial`)).toEqual(
    expect.arrayContaining(['block-0.json', 'importances.safetensors']),
  );
  await binarizeFolder(LLAMA, stopped, CALIBRATED);
  expect(files(stopped)).toEqual(files(straight));
});

test('few rows, many rows and the exported dense model have the same logits', async () => {
  const dense = newPlace();
  await using model = await convert(WITHOUT_DATA);
  await exportDense(model, dense, { type: 'f32' });
  await using exported = await Model.load(dense);
  for (const count of [1, 3, 48]) {
    const ids = IDS.slice(0, count);
    expect(relativeError(await logits(model, ids), await logits(exported, ids))).toBeLessThan(2e-5);
  }
});

test('more bits are closer to the original', async () => {
  const residuals: number[] = [];
  for (const factors of [1, 2, 4]) {
    await using model = await convert({ ...WITHOUT_DATA, factors });
    residuals.push(model.conversion?.residual as number);
  }
  expect(residuals).toEqual([...residuals].sort((a, b) => b - a));
  expect(residuals[2]).toBeLessThan(0.35);
});

test('finetuning flips bits of both factors and trains all scales; a resumed run has the bits of a whole one', async () => {
  await using teacher = await Model.load(LLAMA);
  const data = learnableIds(600);
  const settings = { teacher, data, window: 24, batch: 2, seed: 3, steps: 6, flipRate: 0.3 } as const;
  const checkpoint = { folder: newPlace(), every: 3 };
  await using whole = await convert(WITHOUT_DATA);
  const before = contents(whole);
  await finetune(whole, settings);
  const changed = differences(before, contents(whole));
  const [linear] = coreOf(whole).linears;
  const module = moduleOf(linear?.name as string);
  for (const part of ['boolean_a', 'boolean_b', 's_out', 's_mid', 's_in'])
    expect(changed).toContain(`${module}.${part}`);
  const controller = new AbortController();
  const onProgress = ({ step }: { readonly step: number }) => {
    if (step === 3) controller.abort();
  };
  await using first = await convert(WITHOUT_DATA);
  const stopped = finetune(first, { ...settings, checkpoint, signal: controller.signal, onProgress });
  await expect(stopped).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  await using second = await convert(WITHOUT_DATA);
  await finetune(second, { ...settings, checkpoint, resume: true });
  expect(differences(contents(whole), contents(second))).toEqual([]);
});

test('inspection shows rank, bits and error', async () => {
  const place = newPlace();
  const model = await convert(WITHOUT_DATA);
  await model.save(place);
  model.dispose();
  const { layers, bitsPerWeight } = await inspect(place);
  expect(bitsPerWeight).toBeGreaterThan(1.5);
  for (const { format, residual, bitsPerWeight: bits } of layers) {
    expect(format.kind).toBe('factors');
    expect(residual).toBeGreaterThan(0.01);
    // small layers pad their rows to bytes, and have at least rank 8
    expect(bits).toBeLessThan(BITS * 1.5);
  }
});

test('the plan of a conversion counts the bytes of the output', async () => {
  const place = newPlace();
  await binarizeFolder(LLAMA, place, WITHOUT_DATA);
  const { outputBytes } = await planConversion(LLAMA, WITHOUT_DATA);
  const file = readFileSync(join(place, 'model.safetensors'));
  expect(outputBytes).toBe(file.length - 8 - Number(file.readBigUInt64LE()));
});

test.each([
  [4096, 4096, 64],
  [64, 4096, 8],
  [4096, 64, 8],
  [512, 512, 2000],
])('a fit of %d × %d with rank %d is planned with its eigenvectors and iterations', (rows, cols, rank) => {
  const format = factorsFormat(rank);
  const bytes = converterOf(format)?.fitBytes?.({ rows, cols }, format) as number;
  expect(bytes).toBeGreaterThanOrEqual(4 * 7 * cols ** 2);
  expect(bytes).toBeGreaterThanOrEqual(4 * 6 * Math.min(rows, cols) ** 2);
  expect(bytes).toBeGreaterThanOrEqual(4 * 7 * rank * (rows + cols));
});

test.each([
  ['too few bits', { factors: 0 }],
  ['too many bits', { factors: 9 }],
  ['two goals', { factors: 1, kernels: 1 }],
  ['no iterations', { factors: 1, iterations: 0 }],
])('%s are refused', async (_, options) => {
  await expect(convert(options)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
});
