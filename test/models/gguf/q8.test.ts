/** Weights in GGUF formats of an F16 scale times integers: represented exactly. */

import { randomFillSync } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { quantizeFolder } from '../../../lib/baselines/quantize_folder';
import { binarize } from '../../../lib/compress/binarize';
import { binarizeFolder } from '../../../lib/compress/binarize_folder';
import { exportDense } from '../../../lib/compress/export_dense';
import { planConversion } from '../../../lib/compress/memory_plan';
import { f32ToHalf, halfToF32 } from '../../../lib/io/half';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../../lib/io/safetensors';
import { coreOf, Model } from '../../../lib/model';
import { dequantized } from '../../../lib/models/gguf/dequantize';
import { inspect } from '../../../lib/models/inspect';
import { ModelSource } from '../../../lib/models/source';
import { widened } from '../../../lib/models/widen';
import { GGML_TYPES, type GgmlType } from '../../../lib/native/ggml_types';
import { Matrix } from '../../../lib/native/matrix';
import { finetune } from '../../../lib/train/finetune';
import { changeConfig, changeWeights, GOLDEN, temporaryFolder } from '../../helpers/folders';
import { EXACT, type ExactType, ggufWithBlocks } from '../../helpers/gguf_blocks';
import { readGolden } from '../../helpers/golden';
import { describeWithShared, sharedPath } from '../../helpers/shared';
import { contents, differences, learnableIds } from '../../helpers/training_models';

const folder = temporaryFolder();
const IDS = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 160);

function largestDifference(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error = Math.max(error, Math.abs((got[i] as number) - (expected[i] as number)));
    largest = Math.max(largest, Math.abs(expected[i] as number));
  }
  return error / largest;
}

/** Writes the same model in F32 as a Hugging Face folder. */
async function wideFolder(path: string): Promise<string> {
  const place = path.replace(/\.gguf$/, '-wide');
  mkdirSync(place, { recursive: true });
  await using source = await ModelSource.open(path);
  writeFileSync(join(place, 'config.json'), JSON.stringify(source.json));
  const tensors: TensorSource[] = [];
  for (const { name, shape } of source.weights.tensors.values()) {
    const values = await source.weights.readF32(name);
    tensors.push({ name, dtype: 'F32', shape, bytes: () => new Uint8Array(values.buffer) });
  }
  await writeSafetensors(join(place, 'model.safetensors'), tensors, { format: 'pt' });
  return place;
}

/** Loads a model in blocks and the same model in F32. */
async function pair(
  family: string,
  type: ExactType = 'Q8_0',
): Promise<{ file: string; wideFile: string; blocks: Model; wide: Model } & AsyncDisposable> {
  const file = await ggufWithBlocks(folder, family, type);
  const wideFile = await wideFolder(file);
  const [blocks, wide] = [await Model.load(file), await Model.load(wideFile)];
  return {
    ...{ file, wideFile, blocks, wide },
    async [Symbol.asyncDispose]() {
      blocks.dispose();
      wide.dispose();
    },
  };
}

describeWithShared('a file with weights in Q8_0', ['golden3/gguf-whole'], () => {
  // 2.7e-4 if d q is rounded to F16
  test('has the logits of transformers on the exact values, to 1e-4 of the largest', async () => {
    const golden = readGolden(sharedPath('golden3/gguf-whole/golden.safetensors'));
    const { data: ids, shape } = golden('input_ids');
    await using model = await Model.load(sharedPath('golden3/gguf-whole/tiny.gguf'));
    const expected = golden('logits').data;
    const [texts, length] = shape as [number, number];
    for (let i = 0; i < texts; i++) {
      const { data } = await model.logits(Int32Array.from(ids.subarray(i * length, (i + 1) * length)));
      const own = expected.subarray(i * data.length, (i + 1) * data.length);
      expect(largestDifference(data, own)).toBeLessThan(1e-4);
    }
  });
});

describe.each(EXACT)('%s', (type) => {
  // permuted rows and an untied head; a tied head; matrices that Hugging Face stores transposed; biases
  test.each(['llama', 'gemma3', 'gpt2', 'qwen2'])('%s computes the bits of its values in F32', async (family) => {
    await using models = await pair(family, type);
    const { blocks, wide } = models;
    for (const { name, role, rows, cols } of coreOf(blocks).family.parameters(coreOf(blocks).config)) {
      const { matrix, storage } = coreOf(blocks).stored.get(name) ?? {};
      const isMatrix = role === 'linear' || role === 'embedding' || role === 'head';
      expect([name, matrix?.type, storage]).toEqual(isMatrix ? [name, 'q8', 'Q8'] : [name, 'f32', 'F32']);
      if (isMatrix) expect(matrix?.byteLength).toBe((rows * cols * 17) / 16);
    }
    // prompts, and as few rows as in decode
    for (const count of [40, 8, 3, 1]) {
      const ids = IDS.subarray(0, count);
      expect((await blocks.logits(ids)).data).toEqual((await wide.logits(ids)).data);
    }
    const { data: rounded } = await blocks.logits(IDS, { precision: 'bf16' });
    expect(rounded).toEqual((await wide.logits(IDS, { precision: 'bf16' })).data);
  });
});

test.each(['llama', 'gpt2'])('%s is saved unchanged and read again', async (family) => {
  await using models = await pair(family);
  const [saved, again] = [join(folder, `${family}-saved`), join(folder, `${family}-again`)];
  await models.blocks.save(saved);
  await using read = await Model.load(saved);
  expect(differences(contents(models.blocks), contents(read))).toEqual([]);
  expect((await read.logits(IDS)).data).toEqual((await models.wide.logits(IDS)).data);
  await read.save(again);
  for (const name of ['config.json', 'model.safetensors']) {
    expect(readFileSync(join(again, name)).equals(readFileSync(join(saved, name)))).toBe(true);
  }
  const { quantization_config: settings } = JSON.parse(readFileSync(join(saved, 'config.json'), 'utf8'));
  expect(settings.modules[family === 'gpt2' ? 'transformer.h.0.attn.c_attn' : 'model.embed_tokens']).toEqual({
    format: 'q8',
  });
  const { layers, parts } = await inspect(saved);
  const { linears } = coreOf(read);
  const { name, rows, cols } = linears[0] as (typeof linears)[number];
  await using file = await SafetensorsFile.open(join(saved, 'model.safetensors'));
  expect(file.entry(name)).toMatchObject({ dtype: 'U8', shape: [rows, (cols / 32) * 34] });
  if (family === 'llama') expect(layers.map(({ bitsPerWeight }) => bitsPerWeight)).toEqual(layers.map(() => 8.5));
  expect(parts.dense).toBe(linears.reduce((sum, linear) => sum + (linear.rows * linear.cols * 17) / 16, 0));
});

test('an export in f32 contains the values', async () => {
  await using models = await pair('gpt2');
  const place = join(folder, 'exported');
  await exportDense(models.blocks, place, { type: 'f32' });
  await using exported = await ModelSource.open(place);
  await using expected = await ModelSource.open(models.wideFile);
  for (const name of expected.weights.tensors.keys()) {
    expect(await exported.weights.readF32(name)).toEqual(await expected.weights.readF32(name));
  }
});

describe('conversion', () => {
  const calibration = { data: [...IDS, ...IDS], length: 16, windows: 4 };
  test.each([
    ['llama', { kernels: 2, method: 'refit' }],
    ['gpt2', { kernels: 2, method: 'svid', keep: { '*.1.*': 'dense' } }],
    ['llama', { kernels: 2, method: 'calibrated', calibration }],
    ['llama', { kernels: 2, method: 'svid', embeddings: 'int8' }],
  ] as const)('of %s, %j, starts from the values, from disk as in memory', async (family, options) => {
    await using models = await pair(family);
    await using blocks = await binarize(models.blocks, options);
    await using wide = await binarize(models.wide, options);
    const [one, other] = [contents(blocks), contents(wide)];
    const isBlock = (name: string) => coreOf(blocks).stored.get(name)?.storage === 'Q8';
    expect(differences(one, other).filter((name) => !isBlock(name))).toEqual([]);
    expect(blocks.conversion).toEqual(wide.conversion);
    expect((await blocks.logits(IDS)).data).toEqual((await wide.logits(IDS)).data);
    const [saved, fromDisk] = ['saved', 'disk'].map((name) => join(folder, `${family}-${name}`)) as [string, string];
    await blocks.save(saved, { overwrite: true });
    await binarizeFolder(models.file, fromDisk, { ...options, overwrite: true });
    for (const name of ['config.json', 'model.safetensors']) {
      expect(readFileSync(join(fromDisk, name)).equals(readFileSync(join(saved, name)))).toBe(true);
    }
    const { outputBytes } = await planConversion(models.file, options);
    const { size } = statSync(join(saved, 'model.safetensors'));
    expect(size - outputBytes).toBeGreaterThan(0);
    expect(size - outputBytes).toBeLessThan(20_000); // the header
  });

  test('meets a budget to the byte', async () => {
    await using models = await pair('llama');
    const output = join(folder, 'budget');
    await binarizeFolder(models.file, output, {
      size: 60_000,
      embeddings: 'unchanged',
      calibration,
      method: 'calibrated',
    });
    const { size } = statSync(join(output, 'model.safetensors'));
    expect(size).toBeLessThanOrEqual(60_000);
    expect(size).toBeGreaterThan(59_000);
  });

  test('to a baseline starts from the values', async () => {
    await using models = await pair('llama');
    const [blocks, wide] = [join(folder, 'rtn'), join(folder, 'rtn-wide')];
    const options = { method: 'rtn', bits: 4, group: 32 } as const;
    const { packed: _, ...report } = await quantizeFolder(models.file, blocks, options);
    const { packed: __, ...expected } = await quantizeFolder(models.wideFile, wide, options);
    expect(report).toEqual(expected);
    const weights = (place: string) => readFileSync(join(place, 'model.safetensors'));
    expect(weights(blocks).equals(weights(wide))).toBe(true);
  });
});

test('a teacher in blocks teaches like its values, and trained embeddings become F16', async () => {
  await using models = await pair('llama');
  const options = { data: learnableIds(600), window: 32, batch: 4, steps: 2, train: ['scales', 'embeddings'] } as const;
  const students = [];
  for (const teacher of [models.blocks, models.wide]) {
    await using student = await binarize(teacher, { kernels: 2, method: 'svid' });
    await finetune(student, { ...options, teacher });
    const { matrix, storage } = coreOf(student).stored.get('model.embed_tokens.weight') ?? {};
    students.push({ storage, values: matrix?.toFloat32() as Float32Array });
    const place = join(folder, `student-${students.length}`);
    await student.save(place);
    await using again = await Model.load(place);
    expect((await again.logits(IDS)).data).toEqual((await student.logits(IDS)).data);
  }
  const [blocks, wide] = students;
  expect([blocks?.storage, wide?.storage]).toEqual(['F16', 'F32']);
  expect(blocks?.values).toEqual(halfToF32(f32ToHalf(wide?.values as Float32Array, 'F16'), 'F16'));
});

describe('block metadata of a file', () => {
  const refused = async (what: string, change: (place: string) => void) => {
    await using model = await Model.load(await ggufWithBlocks(folder, 'llama', 'Q8_0'));
    const place = join(folder, what.replaceAll(' ', '-'));
    await model.save(place);
    change(place);
    return await Model.load(place).then(
      (loaded) => loaded.dispose(),
      ({ code, message }) => `${code} ${message}`,
    );
  };
  const settings = (place: string) => {
    const { quantization_config: read } = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
    return read as { readonly modules: Readonly<Record<string, object>> };
  };

  test('is checked against the rest of the file', async () => {
    const q8 = (change: (names: readonly string[]) => readonly string[]) => (place: string) => {
      const names = change(Object.keys(settings(place).modules));
      const modules = Object.fromEntries(names.map((name) => [name, { format: 'q8' }]));
      changeConfig(place, { quantization_config: { ...settings(place), modules } });
    };
    expect(await refused('nothing', () => {})).toBeUndefined();
    expect(
      await refused(
        'a norm',
        q8((names) => [...names, 'model.norm']),
      ),
    ).toMatch(/^MBOK_FORMAT .*model\.norm/);
    expect(
      await refused(
        'one less',
        q8((names) => names.slice(1)),
      ),
    ).toMatch(/^MBOK_(SHAPE|UNSUPPORTED) .*'model\./);
    const another = (place: string) => {
      const modules = { ...settings(place).modules, 'model.layers.0.mlp.up_proj': { format: 'int8' } };
      changeConfig(place, { quantization_config: { ...settings(place), modules } });
    };
    expect(await refused('another', another)).toMatch(/^MBOK_SHAPE .*'model\.layers\.0\.mlp\.up_proj/);
  });

  test('has finite scales, in the first row and in the last', async () => {
    const name = 'model.layers.1.mlp.up_proj.weight';
    for (const row of [0, 159]) {
      const infinite = (place: string) => {
        changeWeights(place, ({ header, data }) => {
          const { shape, data_offsets: range } = header[name] as (typeof header)[string];
          data.writeUInt16LE(0x7c00, range[0] + row * (shape[1] as number) + 2);
          return { header, data };
        });
      };
      expect(await refused(`row ${row}`, infinite)).toMatch(/^MBOK_NON_FINITE .*layers\.1\.mlp\.up_proj\.weight/);
    }
  });

  test('is read completely, piece by piece', async () => {
    const place = join(folder, 'large.safetensors');
    const [rows, cols] = [2500, 4000];
    // clear the top exponent bit of every number, so that all scales are finite
    const halves = randomFillSync(new Uint16Array(rows * (cols / 32) * 17)).map((bits) => bits & 0xbfff);
    const bytes = new Uint8Array(halves.buffer);
    const tensor = { name: 'w', dtype: 'U8', shape: [rows, (cols / 32) * 34], bytes: () => bytes } as const;
    await writeSafetensors(place, [tensor]);
    await using file = await SafetensorsFile.open(place);
    const matrix = await file.readMatrix('w', 'q8');
    expect(matrix).toMatchObject({ rows, cols, type: 'q8' });
    expect(Buffer.from(matrix.raw().buffer).equals(bytes)).toBe(true);
    await expect(file.readMatrix('w', 'i8')).rejects.toMatchObject({ code: 'MBOK_UNSUPPORTED' });
  });
});

test('rejects columns that are not whole blocks', () => {
  expect(() => new Matrix({ rows: 1, cols: 33, type: 'q8' })).toThrow(/'cols' .*multiple of 32/);
});

test('formats that are not exact in 8 bits are read in 16', async () => {
  for (const type of Object.keys(GGML_TYPES) as GgmlType[]) {
    const isExact = (EXACT as readonly string[]).includes(type);
    const { elements, bytes } = GGML_TYPES[type];
    const stored = { dtype: type, pieces: [new Uint8Array((256 / elements) * bytes)], pieceRows: 1 };
    const read = dequantized({ rows: 1, cols: 256, type: 'q8' }, stored);
    if (isExact) expect((await read).byteLength).toBe(272);
    else await expect(read).rejects.toMatchObject({ code: 'MBOK_SHAPE' });
  }
  await using model = await Model.load(join(GOLDEN, 'gguf/llama.gguf'));
  const weight = coreOf(model).parameters.get('lm_head.weight') as Matrix;
  expect(weight.type).toBe('f16');
  expect((await widened(weight)).type).toBe('f32');
});
