/** `mbok inspect`: a model's storage, from its headers only. */

import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspectCommand } from '../../lib/cli/inspect';
import { binarize } from '../../lib/compress/binarize';
import { SafetensorsFile, writeSafetensors } from '../../lib/io/safetensors';
import { Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { changeWeights, copyGolden, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { describeWithShared, sharedPath } from '../helpers/shared';

const folder = temporaryFolder();
const total = (parts: Readonly<Record<string, number>>) => Object.values(parts).reduce((sum, part) => sum + part, 0);
const folderBytes = (place: string) =>
  readdirSync(place).reduce((sum, name) => sum + statSync(join(place, name)).size, 0);

/** Converts a golden family to kernels, with embeddings in 8 bits, in a new folder. */
async function convert(family: string, kernels: number): Promise<string> {
  const place = join(folder, `${family}-${kernels}`);
  await using model = await Model.load(join(GOLDEN, family));
  await using converted = await binarize(model, { kernels, method: 'refit', embeddings: 'int8' });
  await converted.save(place);
  return place;
}

test('a Boolean folder: every byte of its files is assigned to a purpose', async () => {
  const place = await convert('llama-bias', 2);
  const storage = await inspect(place);
  const { parts, layers, linearWeights, linearBytes } = storage;
  expect(total(parts)).toBe(folderBytes(place));
  expect(storage.bytes).toBe(statSync(join(place, 'model.safetensors')).size);
  const sum = (each: (layer: (typeof layers)[number]) => number) => layers.reduce((all, layer) => all + each(layer), 0);
  expect(linearWeights).toBe(sum(({ rows, cols }) => rows * cols));
  expect(parts.kernels).toBe(sum(({ rows, cols }) => 2 * rows * Math.ceil(cols / 8)));
  expect(parts.scales).toBe(sum(({ rows, cols }) => 2 * 2 * (rows + cols)));
  expect(parts.dense).toBe(0);
  expect(parts.biases).toBeGreaterThan(0);
  expect(linearBytes).toBe(parts.kernels + parts.scales + parts.biases);
  expect(storage.bitsPerWeight).toBe((linearBytes * 8) / linearWeights);
  expect(storage.bitsPerParameter).toBe((folderBytes(place) * 8) / storage.parameters);
  await using file = await SafetensorsFile.open(join(place, 'model.safetensors'));
  const { shape } = file.entry('model.embed_tokens.weight');
  const [rows, cols] = shape as [number, number];
  // one byte per number and one F16 scale per row
  expect([parts.embeddings, parts.head]).toEqual([rows * (cols + 2), rows * (cols + 2)]);
  expect(storage.embeddings).toBe('int8');
  for (const { module, kernels, residual, bytes, bitsPerWeight, rows: m, cols: n } of layers) {
    const own = [...file.tensors].filter(([name]) => name.startsWith(`${module}.`));
    expect(bytes).toBe(own.reduce((all, [, { byteLength }]) => all + byteLength, 0));
    expect({ kernels, residual, bitsPerWeight }).toEqual({
      kernels: 2,
      residual: storage.conversion?.residuals[module],
      bitsPerWeight: (bytes * 8) / (m * n),
    });
  }
});

test('a dense folder, with its tokenizer', async () => {
  const storage = await inspect(TINY_STORIES);
  const { parts } = storage;
  const tokenizer = ['tokenizer.json', 'tokenizer_config.json'].map((name) => statSync(join(TINY_STORIES, name)).size);
  expect(parts.tokenizer).toBe(tokenizer.reduce((sum, size) => sum + size, 0));
  expect(parts).toMatchObject({ kernels: 0, scales: 0, biases: 0, head: 0 });
  expect(storage).toMatchObject({ bitsPerWeight: 16, linearBytes: parts.dense, embeddings: undefined });
  expect(storage.layers.every(({ kernels, residual }) => kernels === 0 && residual === undefined)).toBe(true);
});

// with biases, in 16 bits, in GGUF's formats, and mixed
test.each<[string, () => Promise<Model>]>([
  ['a Boolean model', async () => await Model.load(await convert('llama-bias', 2))],
  ['a dense model', () => Model.load(TINY_STORIES)],
  ['a model in blocks', () => Model.load(join(GOLDEN, 'gguf/llama.gguf'))],
  [
    'layers in 8 bits and in real numbers',
    async () => {
      await using model = await Model.load(join(GOLDEN, 'llama'));
      return await binarize(model, { kernels: 3, keep: { '*up_proj': 'int8', '*q_proj': 'dense' } });
    },
  ],
])('%s in memory has the bits per weight of its saved files', async (name, load) => {
  await using model = await load();
  const place = join(folder, name);
  await model.save(place);
  expect(model.bitsPerWeight).toBe((await inspect(place)).bitsPerWeight);
});

// 'gpt2' is stored transposed, and 'opt-350m-like' has projections
test.each(['llama', 'gemma2', 'phi3', 'gpt2', 'opt', 'opt-350m-like', 'qwen3-tied'])(
  '%s: all parts together are the files',
  async (family) => {
    const place = join(folder, family);
    mkdirSync(place);
    copyGolden(family, place);
    const { parts, parameters } = await inspect(place);
    expect(total(parts)).toBe(folderBytes(place));
    // f32 checkpoints: everything except the model's tensors is headers and configuration
    expect(total(parts) - parts.other).toBe(4 * parameters);
  },
);

test.each(['llama', 'gpt2', 'phi3', 'gemma3'])('%s.gguf: all parts together are the file', async (family) => {
  const path = join(GOLDEN, 'gguf', `${family}.gguf`);
  const { parts, layers, bytes } = await inspect(path);
  expect([total(parts), bytes]).toEqual([statSync(path).size, statSync(path).size]);
  expect(parts.other).toBeGreaterThan(0);
  expect(parts.dense).toBe(layers.reduce((sum, layer) => sum + layer.bytes, 0) - parts.biases);
});

test('shards are counted together', async () => {
  const place = join(folder, 'shards');
  mkdirSync(place);
  cpSync(join(GOLDEN, 'llama/config.json'), join(place, 'config.json'));
  await using file = await SafetensorsFile.open(join(GOLDEN, 'llama/model.safetensors'));
  const places: Record<string, string> = {};
  for (const [index, name] of [...file.tensors.keys()].entries()) places[name] = `part-${index % 2}.safetensors`;
  for (const shard of new Set(Object.values(places))) {
    const own = Object.keys(places).filter((name) => places[name] === shard);
    const tensors = own.map((name) => ({ ...file.entry(name), bytes: () => file.read(name) }));
    await writeSafetensors(join(place, shard), tensors);
  }
  writeFileSync(join(place, 'model.safetensors.index.json'), JSON.stringify({ weight_map: places }));
  const [one, several] = [await inspect(join(GOLDEN, 'llama')), await inspect(place)];
  expect(several.layers).toEqual(one.layers);
  expect(several.bytes).toBe(
    ['part-0', 'part-1'].reduce((sum, name) => sum + statSync(join(place, `${name}.safetensors`)).size, 0),
  );
});

test('no weight is read: a folder with non-finite weights is inspected like others', async () => {
  const place = join(folder, 'infinite');
  mkdirSync(place);
  copyGolden('llama', place);
  changeWeights(place, ({ header, data }) => ({ header, data: Buffer.alloc(data.length, 0xff) }));
  await expect(Model.load(place)).rejects.toMatchObject({ code: 'MBOK_NON_FINITE' });
  expect((await inspect(place)).layers).toEqual((await inspect(join(GOLDEN, 'llama'))).layers);
});

test('a tensor that is missing is an error that names it', async () => {
  const place = join(folder, 'missing');
  mkdirSync(place);
  copyGolden('llama', place);
  changeWeights(place, ({ header, data }) => {
    header.other = header['model.norm.weight'] as never;
    delete header['model.norm.weight'];
    return { header, data };
  });
  await expect(inspect(place)).rejects.toMatchObject({
    code: 'MBOK_SHAPE',
    message: expect.stringContaining("'model.norm.weight' is missing"),
  });
});

const SMOLLM2 = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf';
describeWithShared('SmolLM2', [SMOLLM2], () => {
  test('its GGUF file of 135 M parameters is inspected by its blocks', async () => {
    const path = sharedPath(SMOLLM2);
    const storage = await inspect(path);
    expect(storage).toMatchObject({ family: 'llama', parameters: 134_515_008, bytes: statSync(path).size });
    expect(total(storage.parts)).toBe(storage.bytes);
    expect(storage.layers).toHaveLength(30 * 7);
    // a block of 32 4-bit numbers has two F16: at least 5 bits per weight
    expect(Math.min(...storage.layers.map(({ bitsPerWeight }) => bitsPerWeight))).toBe(5);
    expect(storage.bitsPerParameter).toBe((storage.bytes * 8) / storage.parameters);
  });
});

test('the output for people has every part', async () => {
  const place = await convert('llama', 3);
  const outcome = await inspectCommand.run({ operand: () => place, text: () => undefined } as never);
  const text = outcome.lines.join('\n');
  for (const line of [
    /K = 3/,
    /kernels +\d/,
    /embeddings in 8 bits, residual 0\.00\d\d/,
    /head in 8 bits/,
    /bits a weight/,
    /over everything/,
  ]) {
    expect(text).toMatch(line);
  }
  expect(text).not.toMatch(/dense weights/);
  expect(JSON.parse(JSON.stringify(outcome.json))).toMatchObject({
    embeddings: 'int8',
    parts: { kernels: expect.any(Number) },
    layers: expect.arrayContaining([expect.objectContaining({ kernels: 3, residual: expect.any(Number) })]),
  });
  expect(readFileSync(join(place, 'config.json'), 'utf8')).toContain('embedding_errors');
});
