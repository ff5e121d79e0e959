/**
 * Scales are saved in F16: values beyond it are moved between a kernel's two vectors or refused, and residuals include
 * the rounding.
 */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { quantizeFolder } from '../../lib/baselines/quantize_folder';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { f16ToF32 } from '../../lib/io/half';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { coreOf, Model } from '../../lib/model';
import { writeDenseFolder } from '../../lib/models/dense_folder';
import { widened } from '../../lib/models/widen';
import type { Matrix } from '../../lib/native/matrix';
import { finetune } from '../../lib/train/finetune';
import { changeWeights, copyGolden, temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
let folders = 0;

/** Copies the golden LLaMA with every matching tensor multiplied by `factor`. */
function scaled(factor: number, pattern = /_proj/): string {
  const path = join(folder, `model-${folders++}`);
  mkdirSync(path);
  copyGolden('llama', path);
  changeWeights(path, ({ header, data }) => {
    for (const [name, entry] of Object.entries(header)) {
      if (!pattern.test(name)) continue;
      const [begin, end] = entry.data_offsets;
      for (let at = begin; at < end; at += 4) data.writeFloatLE(data.readFloatLE(at) * factor, at);
    }
    return { header, data };
  });
  return path;
}

async function weightOf(source: string, module: string): Promise<Float32Array> {
  await using file = await SafetensorsFile.open(join(source, 'model.safetensors'));
  return await file.readF32(`${module}.weight`);
}

/** Computes ‖W − Ŵ‖ / ‖W‖ of a saved module in f64. */
async function savedResidual(weight: Float32Array, saved: string, module: string): Promise<number> {
  await using file = await SafetensorsFile.open(join(saved, 'model.safetensors'));
  const bits = await file.read(`${module}.boolean_kernels`);
  const scales = async (name: string) => {
    const bytes = Uint8Array.from(await file.read(`${module}.${name}`));
    return f16ToF32(new Uint16Array(bytes.buffer));
  };
  const [sOut, sIn] = [await scales('s_out'), await scales('s_in')];
  const [kernels, rows] = file.entry(`${module}.boolean_kernels`).shape as readonly [number, number];
  const cols = weight.length / rows;
  const width = Math.ceil(cols / 8);
  let [rest, whole] = [0, 0];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      const value = weight[i * cols + j] as number;
      let difference = value;
      for (let k = 0; k < kernels; k++) {
        const positive = ((bits[(k * rows + i) * width + (j >> 3)] as number) >> (j & 7)) & 1;
        const level = (sOut[k * rows + i] as number) * (sIn[k * cols + j] as number);
        difference -= positive ? level : -level;
      }
      rest += difference ** 2;
      whole += value ** 2;
    }
  }
  return Math.sqrt(rest / whole);
}

const tokens = Array.from({ length: 600 }, (_, i) => (i * i * 7 + i) % 160);
const calibration = { data: tokens, windows: 8, length: 64 };
const METHODS: readonly Pick<BinarizeOptions, 'method' | 'calibration'>[] = [
  { method: 'svid' },
  { method: 'refit' },
  { method: 'calibrated', calibration },
];

async function expectResidualsOfFile(source: string, saved: string, residuals: Readonly<Record<string, number>>) {
  expect(Object.keys(residuals)).toHaveLength(14);
  for (const [module, residual] of Object.entries(residuals)) {
    const exact = await savedResidual(await weightOf(source, module), saved, module);
    expect({ module, error: Math.abs(residual / exact - 1) < 1e-5 || [residual, exact] }).toEqual({
      module,
      error: true,
    });
  }
}

describe('the recorded residual is that of the saved file', () => {
  const cases = METHODS.flatMap((method) => [1, 1e-6, 1e-9].map((factor) => [method.method, factor, method] as const));

  test.each(cases)('by %s, of weights times %d', async (_, factor, method) => {
    const source = scaled(factor);
    await using model = await Model.load(source);
    await using small = await binarize(model, { ...method, kernels: 8 });
    const saved = join(source, 'saved');
    await small.save(saved);
    await expectResidualsOfFile(source, saved, small.conversion?.residuals ?? {});
  });

  test.each([
    ['plain', {}],
    ['nested', { nested: true }],
  ])('of a conversion from disk to disk: %s', async (name, options) => {
    const source = scaled(1);
    const saved = join(source, name);
    const { residuals } = await binarizeFolder(source, saved, { ...METHODS[2], ...options, kernels: 3 });
    await expectResidualsOfFile(source, saved, residuals);
  });
});

test.each(METHODS)('weights of 1e-6 are converted as accurately as those of 1: $method', async (method) => {
  const module = 'model.layers.0.self_attn.q_proj';
  const residuals = [];
  for (const factor of [1, 2 ** -20]) {
    await using model = await Model.load(scaled(factor, /q_proj/));
    await using small = await binarize(model, { ...method, kernels: 4 });
    residuals.push(small.conversion?.residuals[module] as number);
  }
  const [one, millionth] = residuals as [number, number];
  expect(Math.abs(millionth / one - 1)).toBeLessThan(1e-3);
});

const vanishing = () => scaled(1e-20, /layers\.1\.mlp\.up_proj/);
const refused = { code: 'MBOK_NON_FINITE', message: expect.stringContaining("'model.layers.1.mlp.up_proj") };

describe('weights too small for any scales in F16 are refused by name', () => {
  test.each(METHODS)('$method', async (method) => {
    await using model = await Model.load(vanishing());
    await expect(binarize(model, { ...method, kernels: 2 })).rejects.toMatchObject(refused);
  });

  test('in 8 bits', async () => {
    await using model = await Model.load(vanishing());
    const options = { bits: 3, keep: { 'model.layers.1.mlp.up_proj': 'int8' } } as const;
    await expect(binarize(model, options as never)).rejects.toMatchObject(refused);
  });

  test.each(['rtn', 'gptq'] as const)('by the baseline %s', async (method) => {
    const source = vanishing();
    const options = { method, bits: 3, group: 32, ...(method === 'gptq' && { calibration }) } as const;
    await expect(quantizeFolder(source, join(source, 'out'), options)).rejects.toMatchObject(refused);
  });
});

describe('a model in memory', () => {
  const module = 'model.layers.0.self_attn.q_proj';
  let model: Model;
  let small: Model;
  beforeEach(async () => {
    model = await Model.load(scaled(1));
    small = await binarize(model, { kernels: 2 });
  });
  afterEach(() => {
    for (const each of [model, small]) each.dispose();
  });

  const change = (name: string, change: (value: number) => number) => {
    const matrix = coreOf(small).parameters.get(`${module}.${name}`) as Matrix;
    matrix.write(matrix.toFloat32().map(change));
  };

  test.each<[string, string, (value: number) => number]>([
    ['infinite', 's_out', (value) => value * 1e8],
    ['zero', 's_in', (value) => value * 1e-8],
  ])('does not round scales that F16 makes %s', (_, name, by) => {
    change(name, by);
    expect(() => coreOf(small).roundToStorage()).toThrow(expect.objectContaining({ code: 'MBOK_NON_FINITE' }));
    expect(() => coreOf(small).roundToStorage()).toThrow(`'${module}.${name}'`);
  });

  test('is not saved with infinite scales', async () => {
    change('s_out', (value) => value * 1e8);
    const saved = join(folder, 'infinite');
    await expect(small.save(saved)).rejects.toMatchObject({
      code: 'MBOK_NON_FINITE',
      message: expect.stringContaining(`'${module}.s_out'`),
    });
    expect(existsSync(saved)).toBe(false);
  });

  test('whose scales leave F16 in training is named, and can be used and trained again', async () => {
    // as if a step had changed them
    change('s_out', (value) => value * 1e8);
    change('s_in', (value) => value / 1e8);
    const options = { data: tokens, steps: 1, window: 32, batch: 1, train: ['scales'], learningRate: 0 } as const;
    await expect(finetune(small, options)).rejects.toMatchObject({
      code: 'MBOK_NON_FINITE',
      message: expect.stringMatching(/'model\..*s_(out|in)'/),
    });
    expect(coreOf(small).parameters.get(`${module}.boolean_kernels`)?.type).toBe('bitTiles');
    await expect(finetune(small, { ...options, data: [] })).rejects.not.toMatchObject({ code: 'MBOK_BUSY' });
  });

  test('is not written as F16 if its weights do not fit', async () => {
    for (const factor of [1e-9, 1e9]) {
      await using dense = await Model.load(scaled(factor, /layers\.1\.mlp\.up_proj/));
      const { json, companions, parameters } = coreOf(dense);
      const specifications = coreOf(dense).family.parameters(coreOf(dense).config);
      const read = async ({ name }: { name: string }) => await widened(parameters.get(name) as Matrix);
      const contents = { type: 'F16', json, companions, specifications, read } as const;
      await expect(writeDenseFolder(join(folder, `dense-${factor}`), contents, {})).rejects.toMatchObject(refused);
    }
  });
});
