/** Conversion under a budget: mixed kernel counts and dense layers in all uses of a model. */

import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import { planConversion } from '../../lib/compress/memory_plan';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Model } from '../../lib/model';
import { ConfigReader } from '../../lib/models/config_reader';
import { readDescription } from '../../lib/models/registry';
import { finetune } from '../../lib/train/finetune';
import { runMbok } from '../helpers/command_line';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
let outputs = 0;
const newOutput = () => join(folder, `output-${++outputs}`);
const LLAMA = join(GOLDEN, 'llama');
const VOCABULARY = 160;
const ids = Array.from({ length: 2000 }, (_, i) => (i * i * 7 + i) % VOCABULARY);
const calibration = { data: ids, windows: 6, length: 32, rounds: 1 };
const calibrated = { method: 'calibrated', calibration } as const;

const contents = (output: string) =>
  Object.fromEntries(readdirSync(output).map((name) => [name, readFileSync(join(output, name)).toString('base64')]));
const fileBytes = (output: string) => statSync(join(output, 'model.safetensors')).size;

/** Computes strict bits per weight of all linear layers, from the file alone. */
function linearBits(output: string): number {
  const file = readFileSync(join(output, 'model.safetensors'));
  const { __metadata__, ...header } = JSON.parse(file.toString('utf8', 8, 8 + Number(file.readBigUInt64LE(0))));
  const dense = readFileSync(join(LLAMA, 'model.safetensors'));
  const { __metadata__: _, ...original } = JSON.parse(dense.toString('utf8', 8, 8 + Number(dense.readBigUInt64LE(0))));
  const linear = (name: string) => name.includes('_proj.');
  let [bytes, weights] = [0, 0];
  for (const [name, { data_offsets }] of Object.entries<{ data_offsets: [number, number] }>(header)) {
    if (linear(name)) bytes += data_offsets[1] - data_offsets[0];
  }
  for (const [name, { shape }] of Object.entries<{ shape: [number, number] }>(original)) {
    if (linear(name) && name.endsWith('.weight')) weights += shape[0] * shape[1];
  }
  return (bytes * 8) / weights;
}

const METHODS: readonly (readonly [string, BinarizeOptions])[] = [
  ['uniform, without data', { bits: 3.5, method: 'svid' }],
  ['uniform', { bits: 3.5, allocation: 'uniform', ...calibrated }],
  ['paper', { bits: 3.5, allocation: 'paper', ...calibrated }],
  ['measured', { bits: 3.5, allocation: 'measured', ...calibrated }],
  ['measured, by size', { size: 64_000, ...calibrated }],
  ['measured, below two bits', { bits: 1.75, ...calibrated }],
  ['uniform, without data, below two bits', { bits: 1.75, iterations: 10 }],
  ['two bits, since no size is passed', { iterations: 10 }],
  [
    'measured, with layers kept',
    {
      bits: 4,
      keep: {
        '*.1.self_attn.k_proj': 'dense',
        '*.0.mlp.down_proj': 4,
        '*.1.mlp.down_proj': { kind: 'kernels', count: 1 },
      },
      ...calibrated,
    },
  ],
];

test.each(METHODS)('%s: from disk as in memory, file by file, within the budget', async (_, options) => {
  const [fromDisk, inMemory] = [newOutput(), newOutput()];
  const report = await binarizeFolder(LLAMA, fromDisk, options);
  await using model = await Model.load(LLAMA);
  await using small = await binarize(model, options);
  await small.save(inMemory);
  expect(report).toEqual(small.conversion);
  expect(contents(fromDisk)).toEqual(contents(inMemory));
  const formats = [...small.formats.values()].map((format) => JSON.stringify(format));
  expect(new Set(formats).size).toBeGreaterThan(1);
  if (options.size === undefined) expect(linearBits(fromDisk)).toBeLessThanOrEqual(options.bits ?? 2);
  if (options.size !== undefined) expect(fileBytes(fromDisk)).toBeLessThanOrEqual(options.size);
  await using loaded = await Model.load(fromDisk);
  expect(loaded.conversion).toEqual(report);
});

test('a conversion that is stopped in its analysis or after it ends as one that was not', async () => {
  const options = { bits: 3.5, ...calibrated };
  const straight = newOutput();
  await binarizeFolder(LLAMA, straight, options);
  const stopped = newOutput();
  const stopAt = async (share: number) => {
    const controller = new AbortController();
    const seen: number[] = [];
    const onProgress = ({ done }: { done: number }) => {
      seen.push(done);
      if (done >= share) controller.abort();
    };
    const stop: BinarizeFolderOptions = { ...options, signal: controller.signal, onProgress };
    await expect(binarizeFolder(LLAMA, stopped, stop)).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    return seen;
  };
  // stopped in the analysis, which starts again
  expect((await stopAt(0.3))[0]).toBe(0);
  expect(readdirSync(`${stopped}.partial`)).not.toContain('allocation.json');
  // stopped in the second block: the choice and the first block are saved
  expect((await stopAt(0.8))[0]).toBe(0);
  expect(readdirSync(`${stopped}.partial`)).toEqual(expect.arrayContaining(['allocation.json', 'block-0.json']));
  const seen: number[] = [];
  await binarizeFolder(LLAMA, stopped, { ...options, onProgress: ({ done }) => seen.push(done) });
  // the analysis and the first of two blocks are not repeated
  expect(seen[0]).toBe(0.75);
  expect(contents(stopped)).toEqual(contents(straight));
});

test('an unfinished conversion to another budget, or with other layers kept, is refused', async () => {
  const output = newOutput();
  const options = { bits: 3.5, ...calibrated };
  const controller = new AbortController();
  const stop = { ...options, signal: controller.signal, onProgress: () => controller.abort() };
  await expect(binarizeFolder(LLAMA, output, stop)).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  const others = [
    { bits: 3.25 },
    { size: 64_000, bits: undefined },
    { allocation: 'paper' },
    { keep: { '*.q_proj': 1 } },
  ];
  for (const other of others) {
    const changed = { ...options, ...other } as BinarizeFolderOptions;
    await expect(binarizeFolder(LLAMA, output, changed)).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining('.partial'),
    });
  }
});

test('a budget that cannot be kept is refused before anything is written', async () => {
  const output = newOutput();
  for (const budget of [{ bits: 0.1 }, { bits: 40 }, { size: 1000 }, { size: 1e9 }]) {
    await expect(binarizeFolder(LLAMA, output, budget)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  }
  expect(readdirSync(folder).filter((name) => join(folder, name).startsWith(output))).toEqual([]);
});

test('weights that files hold the other way round are kept dense as they were', async () => {
  const output = newOutput();
  const gpt2 = join(GOLDEN, 'gpt2');
  await binarizeFolder(gpt2, output, { kernels: 2, method: 'svid', keep: { '*': 'dense' } });
  await using original = await Model.load(gpt2);
  await using kept = await Model.load(output);
  expect(kept.kernels.size).toBe(0);
  const prompt = ids.slice(0, 16);
  expect(await kept.logits(prompt)).toEqual(await original.logits(prompt));
});

test('the plan of a conversion counts kernels under a budget and embeddings in 8 bits', async () => {
  const plan = await planConversion(LLAMA, { size: 64_000 });
  const output = newOutput();
  await binarizeFolder(LLAMA, output, { size: 64_000 });
  const file = readFileSync(join(output, 'model.safetensors'));
  expect(plan.outputBytes).toBe(file.length - 8 - Number(file.readBigUInt64LE()));
  expect(file.length).toBeLessThanOrEqual(64_000);
});

test('the plan of a measured budget counts the fits of the pairs that it may try', async () => {
  const place = emptyModel({ hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 1 });
  const peak = async (options: BinarizeOptions) =>
    (await planConversion(place, { ...options, ...calibrated })).peakBytes;
  const kernels = await peak({ kernels: 3 });
  expect(await peak({ bits: 3.5, allocation: 'uniform' })).toBeLessThan(1.1 * kernels);
  // pairs of up to 3.3 bits, whose iterations take some thirty numbers per weight
  expect(await peak({ bits: 3.5 })).toBeGreaterThan(kernels + 10 * 4 * 1024 * 4096);
});

/** Writes a model like LLAMA with other settings, whose weights are zeros that take no place on disk. */
function emptyModel(settings: Readonly<Record<string, number>>): string {
  const place = newOutput();
  cpSync(LLAMA, place, { recursive: true });
  const config = { ...JSON.parse(readFileSync(join(LLAMA, 'config.json'), 'utf8')), ...settings };
  writeFileSync(join(place, 'config.json'), JSON.stringify(config));
  const { family, config: decoder } = readDescription(new ConfigReader(config, 'config.json'));
  let end = 0;
  const entries = family.parameters(decoder).map(({ name, rows, cols }) => {
    const begin = end;
    end += 4 * rows * cols;
    return [name, { dtype: 'F32', shape: rows === 1 ? [cols] : [rows, cols], data_offsets: [begin, end] }] as const;
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = join(place, 'model.safetensors');
  writeFileSync(file, Buffer.concat([length, header]));
  truncateSync(file, 8 + header.length + end);
  return place;
}

describe('mbok', () => {
  const at = (name: string) => join(folder, name);
  const text = join(TINY_STORIES, 'corpus/valid.txt');
  const json = (...args: string[]) => {
    const { status, stdout, stderr } = runMbok(folder, [...args, '--json']);
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
    return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<string, unknown>;
  };

  test('binarize --bits, with layers kept, then everything that is done with a model', () => {
    const kept = ['*.5.mlp.down_proj=dense', '*.0.self_attn.v_proj=5', '*.1.self_attn.k_proj=int8'];
    const keep = kept.flatMap((each) => ['--keep', each]);
    const made = json('binarize', TINY_STORIES, at('mixed'), '--bits', '2.5', '--method', 'svid', ...keep);
    expect(made).toMatchObject({ allocation: { method: 'uniform', bits: 2.5 } });
    expect(made.bitsPerWeight as number).toBeLessThanOrEqual(2.5);
    // the smallest kernel has 64 × 192 weights
    expect(made.bitsPerWeight as number).toBeGreaterThan(2.5 - (8 * 2048) / 1_916_928);
    const { layers } = json('inspect', at('mixed')) as { layers: { module: string; kernels: number; int8: boolean }[] };
    const kernels = new Map(layers.map((layer) => [layer.module, layer.kernels]));
    expect(kernels.get('model.layers.5.mlp.down_proj')).toBe(0);
    expect(kernels.get('model.layers.0.self_attn.v_proj')).toBe(5);
    expect(made.layers).toMatchObject({ 'model.layers.1.self_attn.k_proj': 'int8' });
    expect(layers.filter(({ int8 }) => int8).map(({ module }) => module)).toEqual(['model.layers.1.self_attn.k_proj']);
    expect(new Set(kernels.values()).size).toBeGreaterThan(3);

    const evaluate = (model: string) =>
      json('eval', 'perplexity', at(model), '--text', text, '--window', '64', '--max-windows', '8')
        .perplexity as number;
    const before = evaluate('mixed');
    const tune = ['--teacher', TINY_STORIES, '--text', text, '--steps', '4', '--batch', '2', '--window', '64'];
    json('finetune', at('mixed'), at('tuned'), ...tune);
    expect(evaluate('tuned')).toBeLessThan(before);
    json('export', at('tuned'), at('dense'), '--type', 'f32');
    expect(Math.abs(evaluate('dense') / evaluate('tuned') - 1)).toBeLessThan(0.01);
    const generated = json('generate', at('tuned'), '--prompt', 'Once', '--max-tokens', '8', '--seed', '1');
    expect(generated).toMatchObject({ text: expect.any(String) });
  });

  test('binarize without a size takes 2 bits and says which forms it chose, binarize --bits 0.5 a quarter of that', () => {
    const fast = ['--iterations', '5'];
    const { status, stdout } = runMbok(folder, ['binarize', TINY_STORIES, at('usual'), ...fast]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/usual: (2\.000|1\.99\d) bits a weight/);
    expect(stdout).toMatch(/^forms by uniform allocation: 42 × rank \d+ to rank \d+$/m);
    const half = json('binarize', TINY_STORIES, at('half'), '--bits', '0.5', ...fast);
    expect(half.bitsPerWeight as number).toBeLessThanOrEqual(0.5);
    expect(half.bitsPerWeight as number).toBeGreaterThan(0.49);
  });

  test('binarize --size, with embeddings in 8 bits unless they are to be kept', () => {
    const args = ['--size', '1MB', '--method', 'svid'];
    const small = json('binarize', TINY_STORIES, at('sized'), ...args);
    expect(small.bytes as number).toBeLessThanOrEqual(1e6);
    expect(small.bytes as number).toBeGreaterThan(1e6 - 2048);
    expect(Object.keys(small.embeddingErrors as object)).toEqual(['model.embed_tokens.weight']);
    expect(fileBytes(at('sized'))).toBe(small.bytes);
    const refused = runMbok(folder, ['binarize', TINY_STORIES, at('kept'), ...args, '--embeddings', 'unchanged']);
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(/'size' must be from \d+ bytes .*\(MBOK_INVALID_ARGUMENT\)/);
  });

  test.each([
    [['--bits', '2', '--kernels', '2'], /--kernels and --bits exclude each other/],
    [['--bits', '2', '--size', '2MB'], /--bits and --size exclude each other/],
    [['--size', 'huge'], /--size takes a size such as 8GB or 512MiB, got 'huge'/],
    [['--bits', 'two'], /--bits must be a number/],
    [['--kernels', '2', '--allocation', 'uniform'], /--allocation goes with --bits or --size/],
    [['--bits', '2', '--allocation', 'ours'], /--allocation must be one of measured, uniform, paper/],
    [['--keep', 'a=9'], /--keep takes NAME=dense, NAME=int8 or NAME=K with K from 1 to 8, got 'a=9'/],
    [['--keep', 'a'], /--keep takes/],
  ] as const)('binarize %j is refused', (args, message) => {
    const { status, stdout, stderr } = runMbok(folder, ['binarize', TINY_STORIES, at('refused'), ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });
});

test('finetuning and evaluation work on every mixture', async () => {
  await using teacher = await Model.load(LLAMA);
  const keep = { '*.0.self_attn.q_proj': 1, '*.1.mlp.*': 8, '*.1.self_attn.o_proj': 'dense' } as const;
  await using small = await binarize(teacher, { kernels: 2, keep });
  expect([...new Set(small.kernels.values())].sort()).toEqual([1, 2, 8]);
  const before = await evaluatePerplexity(small, ids, { window: 32 });
  await finetune(small, { teacher, data: ids, steps: 3, batch: 2, window: 32 });
  const after = await evaluatePerplexity(small, ids, { window: 32 });
  expect(after.perplexity).not.toBe(before.perplexity);
  const output = newOutput();
  mkdirSync(output, { recursive: true });
  await small.save(output);
  await using loaded = await Model.load(output);
  expect(loaded.kernels).toEqual(small.kernels);
  expect((await evaluatePerplexity(loaded, ids, { window: 32 })).perplexity).toBe(after.perplexity);
});
