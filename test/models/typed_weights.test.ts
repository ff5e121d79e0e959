/** Weights that stay in 16 bits in memory give the same results as the same numbers in f32. */

import { createHash, randomFillSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { type FloatType, f32ToHalf, type HalfType, halfToF32 } from '../../lib/io/half';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { coreOf, Model } from '../../lib/model';
import { linearModules } from '../../lib/models/model_core';
import { TENSOR_TYPES } from '../../lib/native/addon';
import { Matrix } from '../../lib/native/matrix';
import { finetune } from '../../lib/train/finetune';
import { copyGolden, GOLDEN, temporaryFolder } from '../helpers/folders';
import { runTypeScript } from '../helpers/run_typescript';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const IDS = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 160);
const MEMORY = { F16: 'f16', BF16: 'bf16' } as const;

const digest = (values: NodeJS.TypedArray) => createHash('sha256').update(values).digest('hex');

/** Copies a golden family with numbers rounded to `type`, stored in `as`. */
async function rounded(family: string, type: HalfType, as: FloatType): Promise<string> {
  const place = join(folder, `${family}-${type}-${as}`);
  mkdirSync(place, { recursive: true });
  copyGolden(family, place);
  await using file = await SafetensorsFile.open(join(GOLDEN, family, 'model.safetensors'));
  const tensors: TensorSource[] = [];
  for (const { name, shape } of file.tensors.values()) {
    const halves = f32ToHalf(await file.readF32(name), type);
    const stored = as === 'F32' ? halfToF32(halves, type) : halves;
    tensors.push({ name, dtype: as, shape, bytes: () => new Uint8Array(stored.buffer) });
  }
  await writeSafetensors(join(place, 'model.safetensors'), tensors, { format: 'pt' });
  return place;
}

/** Loads a model in 16 bits, and one with the same numbers in f32. */
async function pair(family: string, type: HalfType): Promise<{ narrow: Model; wide: Model } & AsyncDisposable> {
  const narrow = await Model.load(await rounded(family, type, type));
  const wide = await Model.load(await rounded(family, type, 'F32'));
  return {
    narrow,
    wide,
    async [Symbol.asyncDispose]() {
      narrow.dispose();
      wide.dispose();
    },
  };
}

describe.each(['F16', 'BF16'] as const)('%s', (type) => {
  // tied and untied heads, biases
  test.each(['llama', 'llama-tied-rope3', 'llama-bias'])('%s computes the bits of f32', async (family) => {
    await using models = await pair(family, type);
    const { narrow, wide } = models;
    for (const { name, role } of coreOf(narrow).family.parameters(coreOf(narrow).config)) {
      const kept = role === 'linear' || role === 'embedding' || role === 'head';
      expect([name, coreOf(narrow).parameters.get(name)?.type]).toEqual([name, kept ? MEMORY[type] : 'f32']);
      expect(coreOf(wide).parameters.get(name)?.type).toBe('f32');
    }
    // a prompt, and as few rows as in decode
    for (const ids of [IDS, IDS.subarray(0, 3)]) {
      expect((await narrow.logits(ids)).data).toEqual((await wide.logits(ids)).data);
    }
  });

  test('a saved model has the bytes of the one that was loaded, and its copy is independent', async () => {
    const source = await rounded('llama-bias', type, type);
    const place = join(folder, `saved-${type}`);
    await using model = await Model.load(source);
    await using copy = coreOf(model).derive(new Map(), model.formats);
    model.dispose();
    await copy.save(place);
    await using before = await SafetensorsFile.open(join(source, 'model.safetensors'));
    await using after = await SafetensorsFile.open(join(place, 'model.safetensors'));
    expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort());
    for (const name of before.tensors.keys()) {
      expect(after.entry(name)).toMatchObject({ dtype: type, shape: before.entry(name).shape });
      expect(await after.read(name)).toEqual(await before.read(name));
    }
  });

  test.each([
    { kernels: 2, method: 'refit' },
    { kernels: 2, method: 'calibrated', calibration: { data: [...IDS, ...IDS], length: 16, windows: 4 } },
  ] as const)('conversion by $method makes the kernels that f32 makes', async (options) => {
    await using models = await pair('llama', type);
    await using narrow = await binarize(models.narrow, options);
    await using wide = await binarize(models.wide, options);
    const made = (name: string) => linearModules(coreOf(narrow)).some(({ module }) => name.startsWith(`${module}.`));
    const [one, other] = [contents(narrow), contents(wide)];
    expect(differences(one, other).filter(made)).toEqual([]);
    expect(narrow.conversion?.residual).toBe(wide.conversion?.residual);
  });

  test('embeddings are trained in f32 and saved in their type', async () => {
    await using models = await pair('llama', type);
    await using student = await binarize(models.narrow, { kernels: 2, method: 'svid' });
    const before = coreOf(student).parameters.get('model.embed_tokens.weight')?.raw();
    const train = ['scales', 'embeddings'] as const;
    const data = learnableIds(600);
    await finetune(student, { teacher: models.narrow, data, window: 32, batch: 4, steps: 2, train });
    const { matrix, storage } = coreOf(student).stored.get('model.embed_tokens.weight') ?? {};
    expect([matrix?.type, storage]).toEqual(['f32', type]);
    const trained = matrix?.toFloat32() as Float32Array;
    expect(trained).toEqual(halfToF32(f32ToHalf(trained, type), type));
    expect(trained).not.toEqual(halfToF32(before as Uint16Array, type));
    const { data: logits } = await student.logits(IDS);
    await student.save(join(folder, `trained-${type}`));
    await using again = await Model.load(join(folder, `trained-${type}`));
    expect(coreOf(again).parameters.get('model.embed_tokens.weight')?.type).toBe(MEMORY[type]);
    expect((await again.logits(IDS)).data).toEqual(logits);
  });

  test('values that are not finite are found in any piece of a tensor', async () => {
    const place = join(folder, `${type}.safetensors`);
    const count = (1 << 21) + 5;
    for (const bad of [0, (1 << 21) - 1, 1 << 21, count - 1]) {
      for (const bits of type === 'F16' ? [0x7c00, 0xfc00, 0x7e01] : [0x7f80, 0xff80, 0x7fc1]) {
        const halves = new Uint16Array(count);
        halves[bad] = bits;
        const bytes = () => new Uint8Array(halves.buffer);
        await writeSafetensors(place, [{ name: 'w', dtype: type, shape: [count], bytes }]);
        await using file = await SafetensorsFile.open(place);
        await expect(file.readMatrix('w', MEMORY[type])).rejects.toMatchObject({ code: 'MBOK_NON_FINITE' });
      }
    }
  });

  test('tensors of several pieces are read completely', async () => {
    const place = join(folder, `${type}-whole.safetensors`);
    const halves = randomFillSync(new Uint16Array(3 * ((1 << 20) + 7))).map((bits) => bits & 0xbfff);
    const bytes = () => new Uint8Array(halves.buffer);
    await writeSafetensors(place, [{ name: 'w', dtype: type, shape: [3, (1 << 20) + 7], bytes }]);
    await using file = await SafetensorsFile.open(place);
    // by digest: comparing millions of elements one by one takes minutes
    expect(digest((await file.readMatrix('w', MEMORY[type])).raw())).toBe(digest(halves));
    expect(digest((await file.readMatrix('w', 'f32')).raw())).toBe(digest(halfToF32(halves, type)));
  });
});

test('a tensor is read in its stored element type or as f32 only', async () => {
  const place = join(folder, 'types.safetensors');
  const bytes = (n: number) => () => new Uint8Array(n);
  await writeSafetensors(place, [
    { name: 'F32', dtype: 'F32', shape: [2, 2], bytes: bytes(16) },
    { name: 'F16', dtype: 'F16', shape: [2, 2], bytes: bytes(8) },
    { name: 'BF16', dtype: 'BF16', shape: [2, 2], bytes: bytes(8) },
    { name: 'I8', dtype: 'I8', shape: [2, 2], bytes: bytes(4) },
  ]);
  await using file = await SafetensorsFile.open(place);
  const possible: Record<string, readonly string[]> = {
    F32: ['f32'],
    F16: ['f32', 'f16'],
    BF16: ['f32', 'bf16'],
    I8: ['i8'],
  };
  for (const [name, types] of Object.entries(possible)) {
    for (const type of ['f32', 'f16', 'bf16', 'i8'] as const) {
      if (types.includes(type)) {
        expect(await file.readMatrix(name, type)).toMatchObject({ rows: 2, cols: 2, type });
      } else {
        await expect(file.readMatrix(name, type)).rejects.toMatchObject({ code: 'MBOK_UNSUPPORTED' });
      }
    }
  }
  expect(Object.keys(TENSOR_TYPES)).toEqual(expect.arrayContaining(['f16', 'bf16', 'i8']));
});

/** Whether a sanitizer runs, whose memory would be counted. */
const sanitized = /asan|tsan|ubsan/.test(process.env.LD_PRELOAD ?? '');
(sanitized || process.platform !== 'linux' ? test.skip : test)(
  'loading needs the model and a piece: memory grows by less than 1.15 times a model of 200 MB',
  async () => {
    const place = join(folder, 'large');
    const { hidden, inner, layers, vocabulary } = { hidden: 1024, inner: 2816, layers: 8, vocabulary: 1000 };
    mkdirSync(place);
    const config = {
      ...JSON.parse(readFileSync(join(GOLDEN, 'llama/config.json'), 'utf8')),
      hidden_size: hidden,
      intermediate_size: inner,
      num_hidden_layers: layers,
      num_attention_heads: 8,
      num_key_value_heads: 8,
      head_dim: hidden / 8,
      vocab_size: vocabulary,
    };
    writeFileSync(join(place, 'config.json'), JSON.stringify(config));
    const noise = randomFillSync(new Uint16Array(hidden * inner)).map((bits) => bits & 0xbfff);
    const shapes: [string, number[]][] = [
      ['model.embed_tokens.weight', [vocabulary, hidden]],
      ['lm_head.weight', [vocabulary, hidden]],
      ['model.norm.weight', [hidden]],
    ];
    for (let layer = 0; layer < layers; layer++) {
      const path = `model.layers.${layer}`;
      for (const name of ['q', 'k', 'v', 'o']) shapes.push([`${path}.self_attn.${name}_proj.weight`, [hidden, hidden]]);
      for (const name of ['gate', 'up']) shapes.push([`${path}.mlp.${name}_proj.weight`, [inner, hidden]]);
      shapes.push([`${path}.mlp.down_proj.weight`, [hidden, inner]]);
      shapes.push([`${path}.input_layernorm.weight`, [hidden]], [`${path}.post_attention_layernorm.weight`, [hidden]]);
    }
    const size = (shape: number[]) => shape.reduce((product, side) => product * side, 1);
    const tensors = shapes.map(([name, shape]): TensorSource => {
      return { name, dtype: 'F16', shape, bytes: () => new Uint8Array(noise.buffer, 0, size(shape) * 2) };
    });
    await writeSafetensors(join(place, 'model.safetensors'), tensors);
    const bytes = shapes.reduce((sum, [, shape]) => sum + size(shape) * 2, 0);
    const { stdout, stderr } = runTypeScript(`
      import { readFileSync } from 'node:fs';
      import { Model } from './lib/model';
      const read = (key: string) => Number(new RegExp(key + ':\\\\s+(\\\\d+)').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
      async function main() {
        // what the process needs anyway
        (await Model.load('test/golden/llama')).dispose();
        const before = read('VmRSS');
        const model = await Model.load(${JSON.stringify(place)});
        console.log(JSON.stringify([before, read('VmHWM')]));
        model.dispose();
      }
      main();`);
    expect(stderr).toBe('');
    const [before, peak] = JSON.parse(stdout) as [number, number];
    expect(bytes).toBeGreaterThan(200e6);
    expect((peak - before) / bytes).toBeLessThan(1.15);
    // counts touched pages, not reserved ones
    expect((peak - before) / bytes).toBeGreaterThan(0.9);
  },
);

test('matrices are copied and saved completely, piece by piece', async () => {
  const data = randomFillSync(new Uint8Array((1 << 22) * 2 + 12));
  const matrix = new Matrix({ rows: 1, cols: data.length, type: 'i8' });
  matrix.write(data);
  const pieces = [...matrix.pieces()].map(({ length }) => length);
  expect(pieces).toEqual([1 << 22, 1 << 22, 12]);
  expect(digest(matrix.clone().raw())).toBe(digest(data));
  const place = join(folder, 'pieces.safetensors');
  const tensor = { name: 'w', dtype: 'I8', shape: [data.length], bytes: () => matrix.pieces() } as const;
  await writeSafetensors(place, [tensor]);
  await using file = await SafetensorsFile.open(place);
  expect(digest(await file.read('w'))).toBe(digest(data));
  // too few or too many bytes leave the old file untouched
  for (const shape of [[data.length + 1], [data.length - 1]]) {
    await expect(writeSafetensors(place, [{ ...tensor, shape }])).rejects.toMatchObject({ code: 'MBOK_SHAPE' });
  }
  expect(digest(await file.read('w'))).toBe(digest(data));
});
