/**
 * The structure layer is extensible: an unknown structure needs one file (structures/shared_input_scale.ts) and one
 * line here, and all functions of models work with it.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { choicesOf } from '../../lib/compress/allocation/choices';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import { addConvertible } from '../../lib/compress/converters';
import { exportDense } from '../../lib/compress/export_dense';
import { planConversion } from '../../lib/compress/memory_plan';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { moduleOf } from '../../lib/models/parts';
import { structureOf } from '../../lib/structures/registry';
import { type FinetuneResult, finetune } from '../../lib/train/finetune';
import { type FinetuneOptions, finetuneSettings } from '../../lib/train/finetune_options';
import type { TrainingMemory } from '../../lib/train/memory';
import { changeConfig, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { ggufWithBlocks } from '../helpers/gguf_blocks';
import { relativeError } from '../helpers/random';
import { contents, differences, learnableIds } from '../helpers/training_models';
import { sharedInputScale, sharedInputScaleConverter } from './shared_input_scale';

addConvertible(sharedInputScale, sharedInputScaleConverter);

const folder = temporaryFolder();
let places = 0;
const newPlace = () => join(folder, `place-${++places}`);
const LLAMA = join(GOLDEN, 'llama');
const IDS = Array.from({ length: 48 }, (_, i) => (i * i * 7 + i) % 160);
const shared = (count: number) => ({ kind: 'shared_input_scale', count }) as const;
/** Converts every layer to the structure. */
const all = (count: number) => ({ kernels: 1, method: 'svid', keep: { '*': shared(count) } }) as const;
const calibration = { data: learnableIds(400), windows: 6, length: 32, rounds: 1 };
const calibrated = (count: number) => ({ ...all(count), method: 'calibrated', calibration }) as const;

const files = (place: string) =>
  Object.fromEntries(readdirSync(place).map((name) => [name, readFileSync(join(place, name)).toString('base64')]));
const logits = async (model: Model, ids: ArrayLike<number> = IDS) => (await model.logits(ids)).data;

async function convert(options: BinarizeOptions, place = LLAMA): Promise<Model> {
  await using dense = await Model.load(place);
  return await binarize(dense, options);
}

test('the library does not know it', () => {
  const lib = join(__dirname, '../../lib');
  const sources = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  expect(sources.length).toBeGreaterThan(200);
  const known = sources.filter((name) => /shared_?input_?scale/i.test(readFileSync(join(lib, name), 'utf8')));
  expect(known).toEqual([]);
});

describe('conversion', () => {
  test('gives every layer its parts, with an error that falls with every plane and is close to that of kernels', async () => {
    const residuals = async (options: BinarizeOptions) => {
      await using model = await convert(options);
      return model.conversion?.residual as number;
    };
    const curve = await Promise.all([1, 2, 3].map((count) => residuals(all(count))));
    expect(curve).toEqual([...curve].sort((a, b) => b - a));
    const kernels = await Promise.all([1, 2, 3].map((count) => residuals({ kernels: count, method: 'svid' })));
    for (const [i, residual] of curve.entries()) {
      expect(residual).toBeGreaterThan((kernels[i] as number) * 0.999);
      expect(residual).toBeLessThan((kernels[i] as number) * 1.25);
    }
    await using model = await convert(all(2));
    expect(model.kernels.size).toBe(0);
    for (const { name, rows, cols } of coreOf(model).linears) {
      const module = moduleOf(name);
      expect(model.formats.get(module)).toEqual(shared(2));
      const shapes = ['s_out_1', 's_out_2', 's_in'].map((part) => coreOf(model).parameters.get(`${module}.${part}`));
      expect(shapes).toMatchObject([rows, rows, cols].map((length) => ({ rows: 1, cols: length, type: 'f32' })));
      // one plane each, in the order of inference
      expect(coreOf(model).parameters.get(`${module}.signs_2`)).toMatchObject({ type: 'bitTiles' });
      expect(coreOf(model).parameters.has(name)).toBe(false);
    }
  });

  test.each<[string, BinarizeFolderOptions]>([
    ['without data', all(2)],
    ['calibrated', calibrated(2)],
    ['in some layers, with embeddings in 8 bits', { ...all(3), keep: { '*.mlp.*': shared(3) }, embeddings: 'int8' }],
  ])('is the same from disk as in memory, file by file: %s', async (_, options) => {
    const [fromDisk, inMemory, again] = [newPlace(), newPlace(), newPlace()];
    const report = await binarizeFolder(LLAMA, fromDisk, options);
    await using model = await convert(options);
    expect(model.conversion).toEqual(report);
    await model.save(inMemory);
    expect(files(fromDisk)).toEqual(files(inMemory));
    await using loaded = await Model.load(inMemory);
    expect(differences(contents(model), contents(loaded))).toEqual([]);
    expect(loaded.formats).toEqual(model.formats);
    expect(await logits(loaded)).toEqual(await logits(model));
    await loaded.save(again);
    expect(files(again)).toEqual(files(inMemory));
  });

  test('uses the calibration', async () => {
    const [without, seen] = [await convert(all(2)), await convert(calibrated(2))];
    expect(seen.conversion?.calibration).toBeDefined();
    expect(differences(contents(without), contents(seen)).length).toBeGreaterThan(0);
    for (const model of [without, seen]) model.dispose();
  });

  test('resumes after a stop with the same bits', async () => {
    const [straight, stopped] = [newPlace(), newPlace()];
    await binarizeFolder(LLAMA, straight, calibrated(2));
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done > 0.6) controller.abort();
    };
    const failed = binarizeFolder(LLAMA, stopped, { ...calibrated(2), signal: controller.signal, onProgress });
    await expect(failed).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    expect(readdirSync(`${stopped}.partial`)).toContain('block-0.json');
    await binarizeFolder(LLAMA, stopped, calibrated(2));
    expect(files(stopped)).toEqual(files(straight));
  });

  test('is unaffected by a nested conversion of the other layers', async () => {
    const place = newPlace();
    const keep = { '*.0.mlp.*': shared(2) };
    await binarizeFolder(LLAMA, place, { ...calibrated(2), kernels: 3, keep, nested: true });
    await using whole = await Model.load(place);
    await using prefix = await Model.load(place, { kernels: 1 });
    const isShared = (name: string) => /\.(signs_\d|s_out_\d|s_in)$/.test(name) && /\.0\.mlp\./.test(name);
    const [parts, ofPrefix] = [whole, prefix].map((model) => [...contents(model)].filter(([name]) => isShared(name)));
    expect(parts).toHaveLength(3 * 5);
    expect(ofPrefix).toEqual(parts);
    expect(new Set(prefix.kernels.values())).toEqual(new Set([1]));
    expect((await logits(prefix)).every(Number.isFinite)).toBe(true);
  });

  test.each<[string, unknown, string]>([
    ['a count of none', { kind: 'shared_input_scale', count: 0 }, "'count' must be a positive integer"],
    ['no count', { kind: 'shared_input_scale' }, "'count' must be a positive integer"],
    ['a count in words', { kind: 'shared_input_scale', count: '2' }, "'count' must be a positive integer"],
    ['more planes than it has', shared(5), 'a format that a conversion can give'],
    ['a setting that it does not know', { ...shared(2), nested: true }, "'nested' is true"],
    ['a structure that nobody knows', { kind: 'shared_output_scale', count: 2 }, 'a structure that weights can have'],
  ])('refuses %s', async (_, format, message) => {
    const refused = convert({ ...all(2), keep: { '*': format as never } });
    await expect(refused).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });
});

describe('a budget', () => {
  test.each<[string, BinarizeOptions]>([
    ['bits', { bits: 4, method: 'svid' }],
    ['size', { size: 72_000, method: 'calibrated', calibration }],
  ])('of %s counts what is kept in it to the byte, and the plan knows the output', async (goal, options) => {
    const keep = { '*.1.*': shared(2) };
    const place = newPlace();
    await binarizeFolder(LLAMA, place, { ...options, keep });
    await using model = await convert({ ...options, keep });
    const linears = coreOf(model).linears.map(({ name }) => moduleOf(name));
    for (const module of linears.filter((name) => name.includes('.1.')))
      expect(model.formats.get(module)).toEqual(shared(2));
    const { bitsPerWeight, bytes } = await inspect(place);
    if (goal === 'bits') expect(bitsPerWeight).toBeLessThanOrEqual(4);
    else expect(bytes).toBeLessThanOrEqual(72_000);
    const saved = newPlace();
    await model.save(saved);
    expect(files(place)).toEqual(files(saved));
  });

  test.each<[string, BinarizeOptions]>([
    ['uniform', { bits: 3, method: 'svid' }],
    ['paper', { bits: 3, method: 'calibrated', calibration, allocation: 'paper' }],
    ['measured', { bits: 3, method: 'calibrated', calibration, allocation: 'measured' }],
  ])('chooses among its formats and kernels: %s', async (_, options) => {
    await using model = await convert(options);
    const kinds = [...model.formats.values()].map(({ kind }) => kind);
    // measured beside kernels, the structure is nowhere better
    if (options.allocation === 'measured') expect(kinds).toContain('kernels');
    else expect(kinds).toContain('shared_input_scale');
    const place = newPlace();
    await binarizeFolder(LLAMA, place, options);
    expect((await inspect(place)).bitsPerWeight).toBeLessThanOrEqual(3);
    await using loaded = await Model.load(place);
    expect(loaded.formats).toEqual(model.formats);
    expect(differences(contents(loaded), contents(model))).toEqual([]);
  });

  test('offers only one of several formats with equal bytes', async () => {
    await using model = await Model.load(LLAMA);
    for (const linear of coreOf(model).linears) {
      const choices = choicesOf(linear, { storage: () => undefined }, 'extracted');
      const sizes = choices.map(({ bytes }) => bytes);
      expect(sizes).toEqual([...new Set(sizes)].sort((a, b) => a - b));
      // eight kernel counts and four of the structure, whose smallest equals one kernel in size
      expect(choices.length).toBe(8 + 4 - 1);
    }
  });

  test('the plan of a conversion counts its parts', async () => {
    const place = newPlace();
    await binarizeFolder(LLAMA, place, all(2));
    const header = Number(readFileSync(join(place, 'model.safetensors')).readBigUInt64LE(0));
    const size = statSync(join(place, 'model.safetensors')).size;
    expect((await planConversion(LLAMA, all(2))).outputBytes).toBe(size - 8 - header);
    const peaks = await Promise.all(
      [1, 2, 4].map(async (count) => (await planConversion(LLAMA, all(count))).peakBytes),
    );
    expect(peaks).toEqual([...new Set(peaks)].sort((a, b) => a - b));
  });
});

test('inspection counts its parts', async () => {
  const place = newPlace();
  await binarizeFolder(LLAMA, place, { ...all(2), keep: { '*.0.*': shared(2) } });
  const { layers, parts, prefixBytes, bitsPerWeight, linearBytes } = await inspect(place);
  let bytes = 0;
  for (const { module, rows, cols, format, kernels, residual, ...layer } of layers) {
    const isShared = module.includes('.0.');
    const expected = isShared ? 2 * rows * Math.ceil(cols / 8) + 2 * (2 * rows + cols) : layer.bytes;
    bytes += expected;
    expect(layer.bytes).toBe(expected);
    expect(layer.bitsPerWeight).toBe((expected * 8) / (rows * cols));
    expect([structureOf(format).describe(format), kernels]).toEqual(
      isShared ? ['K = 2, shared input scale', 0] : ['K = 1', 1],
    );
    expect(residual).toBeGreaterThan(0);
  }
  expect(linearBytes).toBe(bytes);
  expect(parts.kernels + parts.scales).toBe(bytes);
  expect(bitsPerWeight).toBe((bytes * 8) / layers.reduce((sum, { rows, cols }) => sum + rows * cols, 0));
  expect(prefixBytes).toBeUndefined();
});

describe('running', () => {
  let place: string;
  beforeAll(async () => {
    place = newPlace();
    await binarizeFolder(TINY_STORIES, place, all(3));
  });

  test('the embedded model tells the same stories as its dense export, alone and in batches', async () => {
    const exported = newPlace();
    await using model = await Model.load(place);
    await exportDense(model, exported, { type: 'f32' });
    await using dense = await Model.load(exported);
    expect(dense.formats.size).toBe(0);
    const ids = model.tokenizer.encode('Once upon a time there was a little girl who liked to play in the park.');
    for (const some of [ids, ids.slice(0, 3)]) {
      expect(relativeError(await logits(model, some), await logits(dense, some))).toBeLessThan(2e-5);
    }
    const options = { maxTokens: 24, temperature: 0 };
    const prompts = ['Once upon a time', 'Tom had a red ball'];
    const texts = await Promise.all(prompts.map((prompt) => textOf(model, prompt, options)));
    for (const [i, prompt] of prompts.entries()) expect(await textOf(dense, prompt, options)).toBe(texts[i]);
    const batch = await model.generateBatch(prompts, options);
    expect(batch.map(({ text }) => text)).toEqual(texts);
    const valid = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8');
    const measure = async (one: Model) =>
      (await evaluatePerplexity(one, valid, { window: 64, maxWindows: 16 })).perplexity;
    expect((await measure(model)) / (await measure(dense))).toBeCloseTo(1, 4);
  });

  test('is arranged for training and back with the same bits', async () => {
    await using model = await Model.load(place);
    const [before, expected] = [contents(model), await logits(model)];
    await model.arrangeFor('training');
    expect(coreOf(model).parts.filter(({ role }) => role === 'bits').length).toBe(3 * coreOf(model).linears.length);
    expect(relativeError(await logits(model), expected)).toBeLessThan(2e-5);
    await model.arrangeFor('inference');
    expect(differences(before, contents(model))).toEqual([]);
  });

  test('rounds activations once for all planes', async () => {
    await using model = await Model.load(place);
    const rounded = (await model.logits(IDS, { activations: 8 })).data;
    const error = relativeError(rounded, await logits(model));
    expect(error).toBeGreaterThan(1e-5);
    expect(error).toBeLessThan(0.2);
  });
});

async function textOf(model: Model, prompt: string, options: object): Promise<string> {
  let text = '';
  for await (const piece of model.generate(prompt, options)) text += piece;
  return text;
}

describe('training', () => {
  // a learnable text, and a flip rate that moves bits within a few steps
  const story: Partial<FinetuneOptions> = { window: 64, batch: 4, steps: 16, flipRate: 0.12 };
  const short: Partial<FinetuneOptions> = { window: 32, batch: 4, steps: 6, flipRate: 0.2 };
  let stories: string;
  let converted: string;
  beforeAll(async () => {
    stories = readFileSync(join(TINY_STORIES, 'corpus/train.txt'), 'utf8').slice(0, 200_000);
    converted = newPlace();
    await binarizeFolder(TINY_STORIES, converted, all(2));
    await binarizeFolder(LLAMA, `${converted}-small`, all(2));
  });
  // fixed, since the memory of a test process varies
  beforeEach(() => {
    const usage = { rss: 1e8, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 };
    jest.spyOn(process, 'memoryUsage').mockImplementation(Object.assign(() => usage, { rss: () => usage.rss }));
  });
  afterEach(() => jest.restoreAllMocks());

  /**
   * Finetunes a converted model and saves it. Returns its state, the changes and the losses; stops after `stop` steps.
   */
  async function run(dense: string, place: string, options: Omit<FinetuneOptions, 'teacher'>, stop = Infinity) {
    await using teacher = await Model.load(dense);
    await using student = await Model.load(place);
    const before = contents(student);
    const controller = new AbortController();
    const onProgress = ({ step }: { step: number }) => {
      if (step >= stop) controller.abort();
    };
    const finished = finetune(student, { teacher, ...options, signal: controller.signal, onProgress });
    const result = await finished.catch((error): FinetuneResult | undefined => {
      if (error.code === 'MBOK_ABORTED') return undefined;
      throw error;
    });
    const after = contents(student);
    coreOf(student).roundToStorage();
    const saved = newPlace();
    await student.save(saved);
    await using loaded = await Model.load(saved);
    expect(differences(after, contents(loaded))).toEqual([]);
    const losses = result?.history.map(({ loss }) => loss) ?? [];
    return { after, changed: differences(before, after), losses, memory: result?.memory };
  }

  const runSmall = (options: Partial<FinetuneOptions> = {}, stop?: number) =>
    run(LLAMA, `${converted}-small`, { data: learnableIds(4000), ...short, ...options }, stop);

  test.each<[string, Partial<FinetuneOptions>, RegExp]>([
    ['natively', {}, /\.(signs_\d|s_out_\d|s_in)$|norm/],
    ['with frozen bits', { flipRate: 0 }, /\.(s_out_\d|s_in)$|norm/],
    ['scales alone', { train: ['scales'], flipRate: 0 }, /\.(s_out_\d|s_in)$/],
    ['bits alone', { train: [], rule: 'lastKernel' }, /\.signs_\d$/],
  ])('%s: the loss falls, and every part moves that is trained', async (_, options, which) => {
    const { after, changed, losses } = await run(TINY_STORIES, converted, { data: stories, ...story, ...options });
    expectFall(losses);
    expect(changed).toEqual([...after.keys()].filter((name) => which.test(name)));
  });

  test('by latent weights: the loss falls, and parts of every kind move', async () => {
    const latent = { data: stories, ...story, latent: true, learningRate: 2.5e-3 };
    const { changed, losses } = await run(TINY_STORIES, converted, latent);
    expectFall(losses);
    const kinds = new Set(changed.map((name) => name.slice(name.lastIndexOf('.') + 1)));
    expect([...kinds].sort()).toEqual(['s_in', 's_out_1', 's_out_2', 'signs_1', 'signs_2', 'weight']);
  });

  test.each<[string, Partial<FinetuneOptions>]>([
    ['natively', {}],
    ['by latent weights', { latent: true, learningRate: 1e-2 }],
  ])('a resumed run ends as one without interruption: %s', async (name, options) => {
    const uninterrupted = await runSmall(options);
    expect(uninterrupted.changed.filter((part) => /\.signs_\d$/.test(part)).length).toBeGreaterThan(14);
    const checkpoint = { folder: join(folder, `checkpoint ${name}`), every: 2 };
    expect((await runSmall({ ...options, checkpoint }, 3)).losses).toEqual([]);
    expect(await runSmall({ ...options, checkpoint, resume: true })).toEqual(uninterrupted);
  });

  test('recomputed blocks give the same bits', async () => {
    const kept = await runSmall({ microBatch: 4 });
    const { total, overhead, recompute } = kept.memory as TrainingMemory;
    expect(recompute).toBe(false);
    const again = await runSmall({ microBatch: 4, memory: total + overhead - 1000 });
    expect(again.memory?.recompute).toBe(true);
    expect([again.losses, again.after]).toEqual([kept.losses, kept.after]);
  });

  test.each([
    [1, 0.03],
    [2, 0.02],
    [3, 0.015],
  ])('a model of %i ±1 matrices a weight flips at the rate of so many kernels', async (count, rate) => {
    await using model = await convert(all(count));
    await using kernels = await convert({ kernels: count, method: 'svid' });
    for (const student of [model, kernels])
      expect(finetuneSettings(coreOf(student), { data: [1, 2], window: 32, steps: 400 }).flipRate).toBe(rate);
  });
});

describe('with other structures beside it', () => {
  test('in a model with blocks of 8 bits from a GGUF file', async () => {
    const [source, place] = [await ggufWithBlocks(folder, 'llama', 'Q8_0'), newPlace()];
    const options = { ...all(2), keep: { '*': 'dense', '*.0.*': shared(2), '*.1.mlp.up_proj': 'int8' } } as const;
    await binarizeFolder(source, place, options);
    await using model = await convert(options, source);
    await using loaded = await Model.load(place);
    expect(differences(contents(loaded), contents(model))).toEqual([]);
    const kinds = new Set([...loaded.formats.values()].map(({ kind }) => kind));
    expect(kinds).toEqual(new Set(['shared_input_scale', 'int8', 'q8']));
    expect(await logits(loaded)).toEqual(await logits(model));
  });

  test('in a model whose head is its embedding table', async () => {
    const source = join(GOLDEN, 'llama-tied-rope3');
    const place = newPlace();
    const options = { ...all(2), embeddings: 'int8' } as const;
    await binarizeFolder(source, place, options);
    await using model = await convert(options, source);
    await using loaded = await Model.load(place);
    expect(coreOf(loaded).config.tied).toBe(true);
    expect(differences(contents(loaded), contents(model))).toEqual([]);
    expect(await logits(loaded)).toEqual(await logits(model));
  });

  test.each<[string, (config: Quantization) => void, string, string]>([
    [
      'it cannot be an embedding table',
      ({ modules }) => (modules['model.embed_tokens'] = json(2)),
      'FORMAT',
      'cannot have',
    ],
    ['it has at most four planes', ({ modules }) => (modules[MODULE] = json(5)), 'FORMAT', 'cannot have'],
    [
      'it needs a count',
      ({ modules }) => (modules[MODULE] = json('2')),
      'FORMAT',
      "'count' must be a positive integer",
    ],
    [
      'it has no other setting',
      ({ modules }) => (modules[MODULE] = { ...json(2), planes: 2 }),
      'UNSUPPORTED',
      "'planes'",
    ],
    ['its parts must be there', ({ modules }) => (modules[MODULE] = json(3)), 'SHAPE', 'signs_3'],
  ])('a file is held against it: %s', async (_, change, code, message) => {
    const place = newPlace();
    await binarizeFolder(LLAMA, place, all(2));
    const { quantization_config } = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
    change(quantization_config);
    changeConfig(place, { quantization_config });
    await expect(Model.load(place)).rejects.toMatchObject({
      code: `MBOK_${code}`,
      message: expect.stringContaining(message),
    });
  });
});

function expectFall(losses: readonly number[]): void {
  const mean = (some: readonly number[]) => some.reduce((sum, loss) => sum + loss, 0) / some.length;
  expect(mean(losses.slice(-4))).toBeLessThan(mean(losses.slice(0, 4)));
}

const MODULE = 'model.layers.0.mlp.up_proj';
const json = (count: unknown) => ({ format: 'shared_input_scale', count });

interface Quantization {
  readonly modules: Record<string, unknown>;
}
