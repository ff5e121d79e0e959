/** Conversion to nested factor pairs: one file has pairs of several sizes. */

import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import { planConversion } from '../../lib/compress/memory_plan';
import { halfToF32 } from '../../lib/io/half';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { moduleOf } from '../../lib/models/parts';
import { transposedBits } from '../../lib/models/transposed';
import { multipliedOut } from '../../lib/models/widen';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { factorsFormat, isFactors, rankForBits } from '../../lib/structures/factors';
import { kernelsFormat } from '../../lib/structures/kernels';
import type { WeightShape } from '../../lib/structures/structure';
import { finetune } from '../../lib/train/finetune';
import { runMbok } from '../helpers/command_line';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { Random, relativeError } from '../helpers/random';
import { learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const LLAMA = join(GOLDEN, 'llama');
const SIZES = [1.5, 2, 2.5];
const NESTED = {
  factors: SIZES,
  nested: true,
  iterations: 8,
  method: 'calibrated',
  calibration: { data: learnableIds(400), windows: 6, length: 32 },
} satisfies BinarizeFolderOptions;
const nested = at('nested');
const ids = learnableIds(32, { seed: 2 });

const contents = (place: string) =>
  Object.fromEntries(readdirSync(place).map((name) => [name, readFileSync(join(place, name)).toString('base64')]));
const raw = (model: Model) => new Map([...coreOf(model).stored].map(([name, { matrix }]) => [name, matrix.raw()]));
const logits = async (model: Model) => (await model.logits(ids)).data;
const ranksOf = (shape: WeightShape) => SIZES.map((bits) => rankForBits(shape, bits));

beforeAll(async () => {
  await binarizeFolder(LLAMA, nested, NESTED);
});

test('its first size is a conversion to that size alone, bit for bit', async () => {
  await binarizeFolder(LLAMA, at('alone'), { ...NESTED, factors: SIZES[0] as number, nested: false });
  await using alone = await Model.load(at('alone'));
  await using prefix = await Model.load(nested, { kernels: 1 });
  expect(prefix.formats).toEqual(alone.formats);
  expect(raw(prefix)).toEqual(raw(alone));
});

test('its last size is the whole model, which is not nested in memory', async () => {
  await using whole = await Model.load(nested);
  await using last = await Model.load(nested, { kernels: SIZES.length });
  expect(raw(last)).toEqual(raw(whole));
  expect(coreOf(last).savedJson).toEqual(coreOf(whole).savedJson);
  for (const linear of coreOf(whole).linears)
    expect(whole.formats.get(moduleOf(linear.name))).toEqual(factorsFormat(ranksOf(linear)[2] as number));
});

test('each size is the pair of its rank: first columns and rows, with separate scales', async () => {
  await using file = await SafetensorsFile.open(join(nested, 'model.safetensors'));
  const halves = async (name: string) => {
    const bytes = await file.read(name);
    return halfToF32(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), 'F16');
  };
  for (const count of [1, 2, 3]) {
    await using prefix = await Model.load(nested, { kernels: count, for: 'training' });
    const suffix = count === SIZES.length ? '' : `_prefix_${count}`;
    for (const owner of coreOf(prefix).linears) {
      const module = moduleOf(owner.name);
      const { rows, cols } = owner;
      const [rank, whole] = [ranksOf(owner)[count - 1] as number, ranksOf(owner)[2] as number];
      const signs = async (name: string, shape: { rows: number; cols: number }) =>
        BitMatrix.fromPacked(await file.read(`${module}.${name}`), shape).toSigns();
      const [a, b] = [
        await signs('boolean_a', { rows: whole, cols: rows }),
        await signs('boolean_b', { rows: whole, cols }),
      ];
      const [out, mid, inner] = [
        await halves(`${module}.s_out${suffix}`),
        await halves(`${module}.s_mid${suffix}`),
        await halves(`${module}.s_in${suffix}`),
      ];
      expect(mid.length).toBe(rank);
      const expected = Float32Array.from({ length: rows * cols }, (_, e) => {
        const [i, j] = [Math.floor(e / cols), e % cols];
        let sum = 0;
        for (let k = 0; k < rank; k++)
          sum += (a[k * rows + i] as number) * (mid[k] as number) * (b[k * cols + j] as number);
        return (out[i] as number) * sum * (inner[j] as number);
      });
      using weight = await multipliedOut(owner, prefix.formats.get(module), coreOf(prefix).parameters);
      expect(relativeError(weight.toFloat32(), expected)).toBeLessThan(1e-6);
    }
  }
});

test('each size lowers the error, and saves as an ordinary model', async () => {
  await using original = await Model.load(LLAMA);
  const aim = await logits(original);
  const errors: number[] = [];
  for (const kernels of [1, 2, 3]) {
    await using prefix = await Model.load(nested, { kernels });
    errors.push(relativeError(await logits(prefix), aim));
    const place = at(`saved-${kernels}`);
    await prefix.save(place);
    await using saved = await Model.load(place);
    expect(raw(saved)).toEqual(raw(prefix));
    expect(await logits(saved)).toEqual(await logits(prefix));
    expect((await inspect(place)).prefixBytes).toBeUndefined();
  }
  expect(errors).toEqual([...errors].sort((a, b) => b - a));
});

test('every byte of it is counted', async () => {
  const { parts, layers, linearBytes, prefixBytes, bytes, bitsPerWeight } = await inspect(nested);
  const sum = (each: (layer: (typeof layers)[number]) => number) => layers.reduce((all, layer) => all + each(layer), 0);
  expect(bytes).toBe(statSync(join(nested, 'model.safetensors')).size);
  expect(parts.kernels).toBe(
    sum((layer) => (ranksOf(layer)[2] as number) * (Math.ceil(layer.rows / 8) + Math.ceil(layer.cols / 8))),
  );
  const scales = (layer: (typeof layers)[number], rank: number) => 2 * (layer.rows + layer.cols + rank);
  expect(prefixBytes).toBe(
    sum((layer) => scales(layer, ranksOf(layer)[0] as number) + scales(layer, ranksOf(layer)[1] as number)),
  );
  expect(parts.scales).toBe(sum((layer) => scales(layer, ranksOf(layer)[2] as number)) + (prefixBytes as number));
  expect(linearBytes).toBe(parts.kernels + parts.scales + parts.biases);
  expect(bitsPerWeight).toBe((linearBytes * 8) / sum(({ rows, cols }) => rows * cols));
  const { outputBytes } = await planConversion(LLAMA, { factors: SIZES });
  expect(outputBytes).toBe(Object.values(parts).reduce((all, part) => all + part, 0) - parts.other - parts.tokenizer);
});

test('a conversion stopped in any step resumes with the same bits', async () => {
  const stopped = at('stopped');
  for (let stops = 0; stops < 3; stops++) {
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done > (stops + 0.5) / 3) controller.abort();
    };
    const failed = binarizeFolder(LLAMA, stopped, { ...NESTED, signal: controller.signal, onProgress });
    await expect(failed).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  }
  await binarizeFolder(LLAMA, stopped, NESTED);
  expect(contents(stopped)).toEqual(contents(nested));
  expect(existsSync(`${stopped}.partial`)).toBe(false);
});

test('layers with kernels beside the pairs are nested too', async () => {
  const KEPT = 'model.layers.0.mlp.down_proj';
  await binarizeFolder(LLAMA, at('mixed'), { ...NESTED, keep: { [KEPT]: 2 } });
  for (const kernels of [1, 2, 3]) {
    await using prefix = await Model.load(at('mixed'), { kernels });
    expect(prefix.formats.get(KEPT)).toEqual(kernelsFormat(Math.min(2, kernels)));
    for (const [module, format] of prefix.formats) expect(isFactors(format)).toBe(module !== KEPT);
    expect((await logits(prefix)).every(Number.isFinite)).toBe(true);
  }
});

test('beside nested kernels a pair of one size is the same in every prefix', async () => {
  const KEPT = 'model.layers.0.mlp.down_proj';
  const keep = { [KEPT]: factorsFormat(40) };
  await binarizeFolder(LLAMA, at('kernels'), { ...NESTED, factors: undefined as never, kernels: 3, keep });
  const parts = async (kernels: number) => {
    await using prefix = await Model.load(at('kernels'), { kernels });
    return [...raw(prefix)].filter(([name]) => name.startsWith(KEPT));
  };
  const whole = await parts(3);
  expect(whole.length).toBe(5);
  for (const kernels of [1, 2]) expect(await parts(kernels)).toEqual(whole);
});

test('finetuned, it is no longer nested', async () => {
  await using teacher = await Model.load(LLAMA);
  await using student = await Model.load(nested, { for: 'training' });
  await finetune(student, { teacher, data: learnableIds(400), steps: 2, batch: 2, window: 16 });
  await student.save(at('trained'));
  expect((await inspect(at('trained'))).prefixBytes).toBeUndefined();
  await expect(Model.load(at('trained'), { kernels: 2 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
});

test.each([
  [8, 8],
  [1, 1],
  [3, 70],
  [65, 9],
  [24, 129],
])('bits [%i, %i] are transposed, whatever the padding bits are', (rows, cols) => {
  const random = new Random(rows);
  const packed = Uint8Array.from({ length: rows * Math.ceil(cols / 8) }, () => random.integer(0, 255));
  using bits = BitMatrix.fromPacked(packed, { rows, cols });
  using turned = transposedBits(packed, { rows, cols });
  const [signs, back] = [bits.toSigns(), turned.toSigns()];
  expect([turned.rows, turned.cols]).toEqual([cols, rows]);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) expect(back[j * rows + i]).toBe(signs[i * cols + j]);
  using again = transposedBits(turned.toPacked(), turned);
  expect(again.raw()).toEqual(bits.raw());
});

describe('refused', () => {
  test.each<[string, Partial<BinarizeFolderOptions>, string]>([
    ['one size', { factors: 2 }, "'nested'"],
    ['a list of one size', { factors: [2] }, "'factors'"],
    ['sizes that do not ascend', { factors: [2, 1.5] }, "'factors'"],
    ['equal sizes', { factors: [2, 2] }, "'factors'"],
    ['nine sizes', { factors: [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5] }, "'factors'"],
    ['a size out of range', { factors: [1.5, 9] }, "'factors[1]'"],
    ['sizes of one rank', { factors: [0.1, 0.2] }, 'are rank 8 in'],
    ['a list without nesting', { nested: false }, "'factors'"],
    ['no calibration', { method: 'refit', calibration: undefined as never }, "'nested'"],
  ])('%s', async (_, changes, message) => {
    await expect(binarizeFolder(LLAMA, at('refused'), { ...NESTED, ...changes })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
    expect(existsSync(at('refused'))).toBe(false);
  });

  test('a list in memory', async () => {
    await using dense = await Model.load(LLAMA);
    await expect(binarize(dense, { factors: SIZES })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test.each([0, 4, 1.5])('size %p of three', async (kernels) => {
    await expect(Model.load(nested, { kernels })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining("'kernels' must be an integer from 1 to 3"),
    });
  });

  const MODULE = 'model.layers.1.self_attn.q_proj';
  const [first, second, last] = ranksOf({ rows: 64, cols: 64 }) as unknown as [number, number, number];

  test.each<[string, unknown, string]>([
    ['ranks that do not ascend', [second, first], 'MBOK_FORMAT'],
    ['a rank twice', [first, first], 'MBOK_FORMAT'],
    ['the rank of the whole', [first, last], 'MBOK_FORMAT'],
    ['a rank of 0', [0, first], 'MBOK_FORMAT'],
    ['half a rank', [first, second + 0.5], 'MBOK_FORMAT'],
    ['a number instead of a list', first, 'MBOK_FORMAT'],
    ['words', ['few', 'more'], 'MBOK_FORMAT'],
    ['other ranks than its scales have', [first, second - 1], 'MBOK_SHAPE'],
    ['more ranks than it has scales for', [first - 1, first, second], 'MBOK_SHAPE'],
    ['no ranks, though A is transposed', undefined, 'MBOK_SHAPE'],
  ])('a file with %s', async (_, prefixes, code) => {
    const place = at('malformed');
    cpSync(nested, place, { recursive: true });
    const config = join(place, 'config.json');
    const json = JSON.parse(readFileSync(config, 'utf8'));
    json.quantization_config.modules[MODULE].prefixes = prefixes;
    writeFileSync(config, JSON.stringify(json));
    for (const load of [inspect, (path: string) => Model.load(path, { kernels: 1 })])
      await expect(load(place)).rejects.toMatchObject({ code });
  });

  test.each(['s_out_prefix_1', 's_mid_prefix_2', 's_in_prefix_1', 'boolean_a'])('a file without %s', async (name) => {
    const place = at('incomplete');
    cpSync(nested, place, { recursive: true });
    const missing = `${MODULE}.${name}`;
    await using file = await SafetensorsFile.open(join(nested, 'model.safetensors'));
    const tensors: TensorSource[] = [];
    for (const { name: each, dtype, shape } of file.tensors.values()) {
      const bytes = await file.read(each);
      if (each !== missing) tensors.push({ name: each, dtype, shape, bytes: () => bytes });
    }
    await writeSafetensors(join(place, 'model.safetensors'), tensors);
    await expect(Model.load(place)).rejects.toMatchObject({
      code: 'MBOK_SHAPE',
      message: expect.stringContaining(`'${missing}' is missing`),
    });
  });
});

describe('on the command line', () => {
  const text = join(TINY_STORIES, 'corpus/train.txt');
  const run = (...args: string[]) => {
    const { status, stdout, stderr } = runMbok(folder, [...args, '--json']);
    expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: '' });
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) as string);
  };
  const settings = ['--calibration', text, '--calibration-windows', '4', '--calibration-window', '64'];

  test('binarize, inspect, evaluate, generate and export', () => {
    run('binarize', TINY_STORIES, 'three', '--factors', '0.8,1.2,1.6', '--nested', '--iterations', '4', ...settings);
    const storage = run('inspect', 'three');
    expect(storage.prefixBytes).toBeGreaterThan(0);
    expect(storage.layers[0].format.prefixes.length).toBe(2);
    expect(runMbok(folder, ['inspect', 'three']).stdout).toContain('nested: loads as size 1 to 3 of --kernels');
    const evaluate = (model: string, ...args: string[]): number =>
      run('eval', 'perplexity', model, '--text', text, '--window', '64', '--max-windows', '8', ...args).perplexity;
    expect(evaluate('three', '--kernels', '3')).toBe(evaluate('three'));
    const prompt = ['--prompt', 'Once', '--max-tokens', '4', '--temperature', '0'];
    expect(run('generate', 'three', '--kernels', '1', ...prompt).text).not.toBe('');
    run('export', 'three', 'dense', '--kernels', '2');
    expect(evaluate('dense') / evaluate('three', '--kernels', '2')).toBeCloseTo(1, 3);
  });

  test.each([
    ['--nested goes with --kernels, or with several sizes of --factors', ['--factors', '1', '--nested', ...settings]],
    ['several sizes of --factors need --nested', ['--factors', '1,2', ...settings]],
    ['--nested needs --calibration PATH', ['--factors', '1,2', '--nested']],
    ['--factors takes a number from 0.05 to 8, or up to 8 of them', ['--factors', '2,1', '--nested', ...settings]],
    ['--factors takes a number from 0.05 to 8, or up to 8 of them', ['--factors', '1,,2', '--nested', ...settings]],
    ['--factors takes a number from 0.05 to 8, or up to 8 of them', ['--factors', '9']],
  ])('%s', (message, args) => {
    const { status, stderr } = runMbok(folder, ['binarize', TINY_STORIES, 'out', ...args]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(message) });
  });
});
