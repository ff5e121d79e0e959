/** Embeddings and head in 8 bits: computed with, saved, left alone by training, exported. */

import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarizeCommand } from '../../lib/cli/binarize';
import { binarize } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { convertLastWeights } from '../../lib/compress/block_conversion';
import { formatsWith } from '../../lib/compress/converted';
import { loadedSource } from '../../lib/compress/dense_source';
import { exportDense } from '../../lib/compress/export_dense';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { coreOf, Model, modelOf } from '../../lib/model';
import { moduleOf } from '../../lib/models/parts';
import { multipliedOut } from '../../lib/models/widen';
import type { Matrix } from '../../lib/native/matrix';
import { INT8 } from '../../lib/structures/int8';
import { finetune } from '../../lib/train/finetune';
import { changeConfig, changeWeights, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const IDS = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 160);
const TABLE = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';

/** Converts a golden family to two kernels, with embedding tables in 8 bits. */
async function small(family: string): Promise<Model> {
  await using model = await Model.load(join(GOLDEN, family));
  return await binarize(model, { kernels: 2, method: 'svid', embeddings: 'int8' });
}

/** Returns the f32 values of a weight. */
function numbersOf(model: Model, name: string): Promise<Matrix> {
  const owner = coreOf(model)
    .family.parameters(coreOf(model).config)
    .find((parameter) => parameter.name === name);
  return multipliedOut(owner as NonNullable<typeof owner>, model.formats.get(moduleOf(name)), coreOf(model).parameters);
}

function relativeError(values: Float32Array, expected: Float32Array): number {
  const square = (sum: number, value: number) => sum + value * value;
  return Math.sqrt(
    values.map((value, i) => value - (expected[i] as number)).reduce(square, 0) / expected.reduce(square, 0),
  );
}

test.each([
  ['an untied head', 'llama', [TABLE, HEAD]],
  ['a tied head', 'llama-tied-rope3', [TABLE]],
] as const)('with %s the model computes what the numbers that it stands for do', async (_, family, tables) => {
  await using model = await small(family);
  expect(model.embeddings).toBe('int8');
  const replaced = new Map();
  for (const name of tables) {
    expect(coreOf(model).stored.get(name)).toMatchObject({ storage: 'I8', matrix: { type: 'i8' } });
    replaced.set(name, { matrix: await numbersOf(model, name), storage: 'F32' });
    expect(model.conversion?.embeddingErrors?.[name]).toBeGreaterThan(1e-3);
    expect(model.conversion?.embeddingErrors?.[name]).toBeLessThan(1e-2);
  }
  expect(Object.keys(model.conversion?.embeddingErrors ?? {})).toEqual(tables);
  const formats = new Map([...model.formats].filter(([module]) => !tables.some((name) => name === `${module}.weight`)));
  await using wide = modelOf(coreOf(model).derive(replaced, formats));
  expect(wide.embeddings).toBeUndefined();
  // a prompt, and as few rows as in decode
  for (const ids of [IDS, IDS.subarray(0, 3)]) {
    const { data } = await model.logits(ids);
    expect(relativeError(data, (await wide.logits(ids)).data)).toBeLessThan(2e-6);
  }
});

test.each(['llama', 'llama-tied-rope3'])(
  '%s saves and reloads to identical logits, and its copy too',
  async (family) => {
    const place = join(folder, `saved-${family}`);
    await using model = await small(family);
    const { data } = await model.logits(IDS);
    await model.save(place);
    await using file = await SafetensorsFile.open(join(place, 'model.safetensors'));
    const { vocabularySize, hiddenSize } = model.config;
    expect(file.entry(TABLE)).toMatchObject({ dtype: 'I8', shape: [vocabularySize, hiddenSize] });
    expect(file.entry(`${TABLE}_scale`)).toMatchObject({ dtype: 'F16', shape: [vocabularySize, 1] });
    const config = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
    const { quant_method, format_version, modules } = config.quantization_config;
    expect({ quant_method, format_version }).toEqual({ quant_method: 'mbok', format_version: 2 });
    expect(modules['model.embed_tokens']).toEqual({ format: 'int8' });
    await using again = await Model.load(place);
    await using copy = modelOf(coreOf(again).derive(new Map(), again.formats));
    for (const other of [again, copy]) {
      expect((await other.logits(IDS)).data).toEqual(data);
      expect(other.conversion).toEqual(model.conversion);
      expect(other.embeddings).toBe('int8');
    }
  },
);

test('a folder converted on disk has the bytes of one converted in memory', async () => {
  const options = { kernels: 2, method: 'svid', embeddings: 'int8' } as const;
  const [inMemory, onDisk] = [join(folder, 'memory'), join(folder, 'disk')];
  await using model = await Model.load(join(GOLDEN, 'llama'));
  await using converted = await binarize(model, options);
  await converted.save(inMemory);
  const report = await binarizeFolder(join(GOLDEN, 'llama'), onDisk, options);
  expect(report).toEqual(converted.conversion);
  await using one = await SafetensorsFile.open(join(inMemory, 'model.safetensors'));
  await using other = await SafetensorsFile.open(join(onDisk, 'model.safetensors'));
  expect([...other.tensors.keys()].sort()).toEqual([...one.tensors.keys()].sort());
  for (const name of one.tensors.keys()) expect(await other.read(name)).toEqual(await one.read(name));
});

test('the command line converts to 8 bits and prints the error', async () => {
  const place = join(folder, 'by-command');
  const options: Record<string, unknown> = { kernels: 2, method: 'svid', embeddings: 'int8' };
  const { json, lines } = await binarizeCommand.run({
    operand: (index: number) => [join(GOLDEN, 'llama'), place][index] as string,
    text: (name: string) => options[name],
    texts: () => [],
    number: (name: string) => options[name],
    flag: () => false,
    has: (name: string) => name in options,
    signal: new AbortController().signal,
  } as never);
  expect(json).toMatchObject({ embeddingErrors: { [TABLE]: expect.any(Number), [HEAD]: expect.any(Number) } });
  expect(lines.join('\n')).toMatch(/embed_tokens\.weight in 8 bits, residual 0\.00/);
  await using model = await Model.load(place);
  expect(model.embeddings).toBe('int8');
});

test('on the embedded model 8 bits cost less than 0.2 % of perplexity', async () => {
  await using model = await Model.load(TINY_STORIES);
  const text = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8');
  const judge = (each: Model) => evaluatePerplexity(each, text, { window: 256, maxWindows: 40 });
  const rounds = { iterations: 1, refitRounds: 0, pairIterations: 1 };
  const converted = await convertLastWeights(
    loadedSource(coreOf(model)),
    new Map([[moduleOf(TABLE), INT8]]),
    rounds,
    undefined,
  );
  expect([...converted.keys()]).toEqual([moduleOf(TABLE)]);
  const matrices = [...converted.values()].flatMap((weight) => weight.matrices);
  const replaced = new Map(matrices.map(({ part, ...stored }) => [part.name, stored]));
  await using quantized = modelOf(coreOf(model).derive(replaced, formatsWith(model.formats, converted)));
  const [before, after] = [await judge(model), await judge(quantized)];
  expect(Math.abs(after.perplexity / before.perplexity - 1)).toBeLessThan(0.002);
  expect(after.perplexity).not.toBe(before.perplexity);
});

test('everything except the tables can be trained', async () => {
  await using teacher = await Model.load(join(GOLDEN, 'llama'));
  await using student = await small('llama');
  const data = learnableIds(600);
  const options = { teacher, data, window: 32, batch: 4, steps: 3, flipRate: 0.3 };
  await expect(finetune(student, { ...options, train: ['scales', 'embeddings'] })).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringContaining('8 bits'),
  });
  const before = contents(student);
  await finetune(student, { ...options, train: ['scales', 'norms'] });
  const changed = differences(before, contents(student));
  expect(changed.length).toBeGreaterThan(10);
  expect(changed.filter((name) => name.startsWith(TABLE) || name.startsWith(HEAD))).toEqual([]);
});

test('an exported model is dense and contains the values of the 8-bit numbers', async () => {
  const place = join(folder, 'dense');
  await using model = await small('llama');
  await exportDense(model, place, { type: 'f32' });
  await using dense = await Model.load(place);
  expect([dense.embeddings, dense.kernels.size]).toEqual([undefined, 0]);
  const table = await numbersOf(model, TABLE);
  expect(coreOf(dense).parameters.get(TABLE)?.toFloat32()).toEqual(table.toFloat32());
  expect(relativeError((await dense.logits(IDS)).data, (await model.logits(IDS)).data)).toBeLessThan(1e-5);
});

describe('invalid combinations are errors', () => {
  test('an unknown way to store embeddings', async () => {
    await using model = await Model.load(join(GOLDEN, 'llama'));
    const options = { kernels: 1, method: 'svid', embeddings: 'int4' } as never;
    await expect(binarize(model, options)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  const saved = async () => {
    const place = join(folder, 'sound');
    await using model = await small('llama');
    await model.save(place);
    return place;
  };
  test.each([
    [
      'a configuration that names another way',
      'MBOK_UNSUPPORTED',
      (place: string) => {
        const { quantization_config } = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
        const modules = { ...quantization_config.modules, 'model.embed_tokens': { format: 'int4' } };
        changeConfig(place, { quantization_config: { ...quantization_config, modules } });
      },
    ],
    [
      'scales that are missing',
      'MBOK_SHAPE',
      (place: string) => {
        changeWeights(place, ({ header, data }) => {
          header.other = header[`${TABLE}_scale`] as never;
          delete header[`${TABLE}_scale`];
          return { header, data };
        });
      },
    ],
    [
      'scales of another shape',
      'MBOK_SHAPE',
      (place: string) => {
        changeWeights(place, ({ header, data }) => {
          const scales = header[`${TABLE}_scale`] as { shape: number[] };
          scales.shape = [...scales.shape].reverse();
          return { header, data };
        });
      },
    ],
    [
      'a scale that is not finite',
      'MBOK_NON_FINITE',
      (place: string) => {
        changeWeights(place, ({ header, data }) => {
          data.writeUInt16LE(0x7c00, header[`${TABLE}_scale`]?.data_offsets[0] as number);
          return { header, data };
        });
      },
    ],
    [
      'a table in another type',
      'MBOK_SHAPE',
      (place: string) => {
        changeWeights(place, ({ header, data }) => {
          (header[TABLE] as { dtype: string }).dtype = 'U8';
          return { header, data };
        });
      },
    ],
  ] as const)('%s: %s', async (name, code, change) => {
    const place = join(folder, name.replaceAll(' ', '-'));
    mkdirSync(place);
    cpSync(await saved(), place, { recursive: true });
    change(place);
    await expect(Model.load(place)).rejects.toMatchObject({ code });
  });
});
