/** Conversion to nested kernels: every smaller number of kernels is a model too. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import { disposeMoments, prepareMoments } from '../../lib/compress/input_moments';
import { calibrateMatrix } from '../../lib/compress/kernels/calibrated_matrix';
import { createKernels, disposeKernels, roundScales } from '../../lib/compress/kernels/kernel_matrices';
import { calibrateFrom } from '../../lib/compress/kernels/nested_matrix';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { Matrix } from '../../lib/native/matrix';
import { runMbok } from '../helpers/command_line';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { Random, relativeError } from '../helpers/random';

const folder = temporaryFolder();
const text = join(TINY_STORIES, 'corpus/train.txt');
const dense = join(GOLDEN, 'llama-bias');
const ids = Array.from({ length: 512 }, (_, i) => (i * i * 7 + i) % 100);
const calibration = { data: ids, windows: 8, length: 32, rounds: 2 };
const NESTED: BinarizeFolderOptions = { kernels: 3, method: 'calibrated', nested: true, calibration };
const KEPT = 'model.layers.0.mlp.down_proj';
const nested = join(folder, 'nested');
const at = (name: string) => join(folder, name);

const contents = (place: string) =>
  Object.fromEntries(readdirSync(place).map((name) => [name, readFileSync(join(place, name)).toString('base64')]));
const raw = (model: Model) => new Map([...coreOf(model).stored].map(([name, { matrix }]) => [name, matrix.raw()]));

beforeAll(async () => {
  await binarizeFolder(dense, nested, { ...NESTED, keep: { [KEPT]: 1 } });
});

test('two kernels of it are those of a conversion to two, bit for bit', async () => {
  const alone = at('two');
  await binarizeFolder(dense, alone, { ...NESTED, kernels: 2, nested: false, keep: { [KEPT]: 1 } });
  await using model = await Model.load(alone);
  await using prefix = await Model.load(nested, { kernels: 2 });
  expect(prefix.kernels).toEqual(model.kernels);
  expect(raw(prefix)).toEqual(raw(model));
});

test('all kernels of it are the whole model, bit for bit', async () => {
  await using whole = await Model.load(nested);
  await using prefix = await Model.load(nested, { kernels: 3 });
  expect(raw(prefix)).toEqual(raw(whole));
  expect(coreOf(prefix).savedJson).toEqual(coreOf(whole).savedJson);
});

test('each kernel lowers the error, and prefixes save as ordinary models', async () => {
  const logits = async (model: Model) => (await model.logits(ids.slice(0, 32))).data;
  await using original = await Model.load(dense);
  const aim = await logits(original);
  const errors: number[] = [];
  for (const kernels of [1, 2, 3]) {
    await using prefix = await Model.load(nested, { kernels });
    errors.push(relativeError(await logits(prefix), aim));
    await prefix.save(at(`saved-${kernels}`));
    await using saved = await Model.load(at(`saved-${kernels}`));
    expect(raw(saved)).toEqual(raw(prefix));
    expect((await inspect(at(`saved-${kernels}`))).prefixBytes).toBeUndefined();
  }
  expect(errors).toEqual([...errors].sort((a, b) => b - a));
});

test('every byte of it is counted', async () => {
  const { parts, layers, linearBytes, prefixBytes, bytes } = await inspect(nested);
  const sum = (each: (layer: (typeof layers)[number]) => number) => layers.reduce((all, layer) => all + each(layer), 0);
  expect(bytes).toBe(statSync(join(nested, 'model.safetensors')).size);
  expect(parts.kernels).toBe(sum(({ rows, cols, kernels: k }) => k * rows * Math.ceil(cols / 8)));
  expect(prefixBytes).toBe(sum(({ rows, cols, kernels: k }) => k * (k - 1) * (rows + cols)));
  expect(parts.scales).toBe(sum(({ rows, cols, kernels: k }) => 2 * k * (rows + cols)) + (prefixBytes as number));
  expect(linearBytes).toBe(parts.kernels + parts.scales + parts.biases);
  const total = Object.values(parts).reduce((all, part) => all + part, 0);
  expect(total).toBe(readdirSync(nested).reduce((all, name) => all + statSync(join(nested, name)).size, 0));
  await using file = await SafetensorsFile.open(join(nested, 'model.safetensors'));
  const names = [...file.tensors.keys()].filter((name) => name.includes('_prefix_'));
  expect(names.filter((name) => name.startsWith(KEPT))).toEqual([]);
  expect(file.entry('model.layers.0.self_attn.q_proj.s_in_prefix_2').shape[0]).toBe(2);
});

test('a conversion stopped in any step resumes with the same bits', async () => {
  const stopped = at('stopped');
  const options = { ...NESTED, keep: { [KEPT]: 1 } };
  for (let stops = 0; stops < 3; stops++) {
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done > (stops + 0.5) / 3) controller.abort();
    };
    const failed = binarizeFolder(dense, stopped, { ...options, signal: controller.signal, onProgress });
    await expect(failed).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  }
  await binarizeFolder(dense, stopped, options);
  expect(contents(stopped)).toEqual(contents(nested));
  expect(existsSync(`${stopped}.partial`)).toBe(false);
});

test('a rare input gets no unbounded scale to compensate another', async () => {
  const random = new Random(5);
  const [rows, cols, tokens] = [48, 32, 400];
  const silent = 7;
  // one massive channel, and a small one that follows it closely
  const x = Array.from({ length: tokens }, () => {
    const token = random.normals(cols);
    token[0] = 300 * (token[0] as number);
    token[silent] = 1e-7 * (token[0] as number) + 1e-6 * (token[silent] as number);
    return token;
  });
  const h = Float32Array.from({ length: cols * cols }, (_, at) => {
    const [i, j] = [Math.floor(at / cols), at % cols];
    return x.reduce((sum, token) => sum + (token[i] as number) * (token[j] as number), 0) / tokens;
  });
  const moments = await prepareMoments({ h: Matrix.from(h, { rows: cols, cols }), corrections: new Map() }, undefined);
  const weight = Matrix.from(random.normals(rows * cols), { rows, cols });
  const settings = { kernels: 2, rounds: 1, columnPower: 1, iterations: 30, refitRounds: 5 };
  const place = { module: 'module', moments };
  const two = await calibrateMatrix(weight, place, settings, undefined);
  const one = await calibrateFrom(two.matrices, weight, place, { ...settings, kernels: 1 }, undefined);
  const scales = one.matrices.sIn.toFloat32().map(Math.abs);
  const median = [...scales].sort((p, q) => p - q)[cols / 2] as number;
  expect(Math.max(...scales)).toBeLessThan(20 * median);
  expect(one.error).toBeLessThan(1);
  for (const { matrices } of [one, two]) disposeKernels(matrices);
  disposeMoments(moments);
});

describe('scales beyond F16', () => {
  const kernelsOf = (sOut: readonly number[], sIn: readonly number[]) => ({
    ...createKernels({ rows: 2, cols: 3 }, 2),
    sOut: Matrix.from(Float32Array.from(sOut), { rows: 2, cols: 2 }),
    sIn: Matrix.from(Float32Array.from(sIn), { rows: 2, cols: 3 }),
  });

  test('are divided by what the others are multiplied by', () => {
    const kernels = kernelsOf([0.5, -0.25, 3e5, 1], [1e6, 128, 0.5, 0.5, 1, 2]);
    roundScales('module', kernels);
    expect([...kernels.sOut.toFloat32()]).toEqual([8, -4, 37504, 0.125]);
    expect([...kernels.sIn.toFloat32()]).toEqual([62496, 8, 0.03125, 4, 8, 16]);
  });

  test('are multiplied by what the others are divided by, if they would vanish', () => {
    const kernels = kernelsOf([2 ** -26, -(2 ** -27), 2 ** -20, 2 ** -20], [1, 128, 0.5, 1, 2, 3]);
    roundScales('module', kernels);
    expect([...kernels.sOut.toFloat32()]).toEqual([2 ** -23, -(2 ** -24), 2 ** -20, 2 ** -20]);
    expect([...kernels.sIn.toFloat32()]).toEqual([1 / 8, 16, 1 / 16, 1, 2, 3]);
  });

  test('are multiplied if they would lose precision', () => {
    const kernels = kernelsOf([1.23e-6, 2.34e-6, 1, 1], [1, 128, 0.5, 1, 2, 3]);
    roundScales('module', kernels);
    const [first, second] = kernels.sOut.toFloat32() as unknown as [number, number];
    const inputs = kernels.sIn.toFloat32();
    expect(Math.abs((first * (inputs[0] as number)) / 1.23e-6 - 1)).toBeLessThan(2 ** -9);
    expect(Math.abs((second * (inputs[1] as number)) / (128 * 2.34e-6) - 1)).toBeLessThan(2 ** -9);
  });

  test('are 0 beside others so much larger that the weights do not change', () => {
    const kernels = kernelsOf([1e-30, 0.5, 1, 1], [1, 128, 0.5, 1e-20, 1e-20, 1e-20]);
    roundScales('module', kernels);
    expect([...kernels.sOut.toFloat32()]).toEqual([0, 0.5, 1, 1]);
    expect([...kernels.sIn.toFloat32().subarray(0, 3)]).toEqual([1, 128, 0.5]);
  });

  test.each<[string, readonly number[], readonly number[]]>([
    ['so small that all vanish', [1e-9, 1e-9, 1e-9, 1e-9], [1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9]],
    ['both', [1e6, 1, 1, 1], [1e6, 1, 1, 1, 1, 1]],
    ['not numbers', [1, 1, 1, 1], [1, 1, Number.NaN, 1, 1, 1]],
    ['infinite', [1, 1, 1, 1], [1, 1, Number.POSITIVE_INFINITY, 1, 1, 1]],
  ])('are refused: %s', (_, sOut, sIn) => {
    const round = () => roundScales('layers.3.up', kernelsOf(sOut, sIn));
    expect(round).toThrow(expect.objectContaining({ code: 'MBOK_NON_FINITE' }));
    expect(round).toThrow("'layers.3.up'");
  });
});

test.each<[string, Partial<BinarizeFolderOptions>]>([
  ['without calibration', { method: 'refit', calibration: undefined as never }],
  ['under a budget', { kernels: undefined as never, bits: 2.5 }],
  ['by anything but true and false', { nested: 'yes' as never }],
])('refuses nesting %s', async (_, changes) => {
  await expect(binarizeFolder(dense, at('refused'), { ...NESTED, ...changes })).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringContaining("'nested'"),
  });
});

describe('on the command line', () => {
  const settings = ['--calibration-windows', '4', '--calibration-window', '64', '--rounds', '1'];
  const run = (...args: string[]) => {
    const { status, stdout, stderr } = runMbok(folder, [...args, '--json']);
    expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: '' });
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) as string);
  };

  test('binarize, inspect, evaluate, generate and export', () => {
    run('binarize', TINY_STORIES, 'k3', '--kernels', '3', '--nested', '--calibration', text, ...settings);
    const storage = run('inspect', 'k3');
    expect(storage.prefixBytes).toBeGreaterThan(0);
    expect(runMbok(folder, ['inspect', 'k3']).stdout).toContain('nested: loads with 1 to 3 kernels');
    const evaluate = (...args: string[]): number =>
      run('eval', 'perplexity', 'k3', '--text', text, '--window', '64', '--max-windows', '8', ...args).perplexity;
    expect(evaluate('--kernels', '2')).toBeGreaterThan(evaluate());
    expect(evaluate('--kernels', '3')).toBe(evaluate());
    const prompt = ['--prompt', 'Once', '--max-tokens', '4', '--temperature', '0'];
    expect(run('generate', 'k3', '--kernels', '2', ...prompt).text).not.toBe('');
    run('export', 'k3', 'dense', '--kernels', '2');
    const exported = run(
      'eval',
      'perplexity',
      'dense',
      '--text',
      text,
      '--window',
      '64',
      '--max-windows',
      '8',
    ).perplexity;
    expect(exported).toBeCloseTo(evaluate('--kernels', '2'), 3);
  });

  test.each([
    ['--nested goes with --kernels', ['--bits', '2.5', '--nested', '--calibration', text]],
    ['--nested needs --calibration PATH', ['--nested']],
  ])('%s', (message, args) => {
    const { status, stderr } = runMbok(folder, ['binarize', TINY_STORIES, 'out', ...args]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(message) });
  });

  test('more kernels than there are', () => {
    const { status, stderr } = runMbok(folder, ['generate', 'k3', '--kernels', '4', '--prompt', 'Once']);
    expect(status).not.toBe(0);
    expect(stderr).toContain("'kernels' must be an integer from 1 to 3, got 4");
  });
});
