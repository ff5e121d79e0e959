/** Start tokens in every use of text, against windows cut by hand. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { quantizeFolder } from '../../lib/baselines/quantize_folder';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import type { CalibrationOptions } from '../../lib/compress/calibration';
import { workFolderOf } from '../../lib/compress/work_folder';
import { loadDataset } from '../../lib/data/load_dataset';
import { evaluateTasks } from '../../lib/eval/evaluate_tasks';
import { PairEncoder } from '../../lib/eval/pair_encoder';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Model } from '../../lib/model';
import { Tokenizer } from '../../lib/text/tokenizer';
import { finetune } from '../../lib/train/finetune';
import type { FinetuneOptions } from '../../lib/train/finetune_options';
import { runMbok } from '../helpers/command_line';
import { copyTinyStories, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { START_ID, writeStartModel } from '../helpers/start_models';
import { tinyTokenizer } from '../helpers/tokenizers';
import { contents } from '../helpers/training_models';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const place = at('model');
/** A single document. */
const story = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8')
  .slice(0, 4000)
  .replaceAll('<|endoftext|>', '\n');
const SECOND = '<|endoftext|>Once there was a second story, about a bear who slept.';

/** The model with a start token. */
let model: Model;
/** The embedded model, which has no start token. */
let plain: Model;
/** Tokens of the story alone. */
let ids: readonly number[];

beforeAll(async () => {
  model = await Model.load(writeStartModel(place));
  plain = await Model.load(TINY_STORIES);
  ids = model.tokenizer.encode(story, { addSpecialTokens: false });
  writeFileSync(at('story.txt'), story);
});
afterAll(() => {
  model.dispose();
  plain.dispose();
});

/** Cuts windows of the start token and `window − 1` text tokens. */
function cutByHand(text: readonly number[], window: number, stride = window - 1): number[][] {
  const windows: number[][] = [];
  for (let from = 0; from + window - 1 <= text.length; from += stride) {
    windows.push([START_ID, ...text.slice(from, from + window - 1)]);
  }
  return windows;
}

describe('the start token of a tokenizer', () => {
  test('is the one that tokenizer.json puts first, independent of the document separator', async () => {
    expect(model.tokenizer).toMatchObject({ startTokenId: START_ID, documentStartId: START_ID });
    expect((await tinyTokenizer('byte-fallback', folder)).startTokenId).toBe(1);
    // the class of the embedded model's tokenizer does not read these settings; its documents are separated anyway
    expect(plain.tokenizer).toMatchObject({ startTokenId: undefined, documentStartId: START_ID });
  });

  test.each([
    ['LlamaTokenizerFast', START_ID],
    ['PreTrainedTokenizerFast', undefined],
  ])('is that of add_bos_token where its class reads it: %s', async (name, expected) => {
    mkdirSync(at(name));
    copyTinyStories(at(name), { tokenizer: { tokenizer_class: name, add_bos_token: true } });
    expect((await Tokenizer.fromFolder(at(name))).startTokenId).toBe(expected);
  });
});

describe('perplexity', () => {
  /** Computes the mean negative log-likelihood in float64 from the logits, from `scored` on in each window. */
  async function reference(windows: readonly number[][], scored: (window: number) => number) {
    let [sum, tokens] = [0, 0];
    for (const [index, window] of windows.entries()) {
      const { data, shape } = await model.logits(window);
      for (let to = scored(index); to < window.length; to++) {
        const logits = data.subarray((to - 1) * shape[1], to * shape[1]);
        const total = logits.reduce((all, value) => all + Math.exp(value), 0);
        sum += Math.log(total) - (logits[window[to] as number] as number);
        tokens++;
      }
    }
    return { perplexity: Math.exp(sum / tokens), tokens };
  }
  const near = (perplexity: number) => expect.closeTo(perplexity, 3);

  test('is that of windows with the token in front, without lost text', async () => {
    const windows = cutByHand(ids, 64);
    const expected = await reference(windows, () => 1);
    const conditions = { windows: windows.length, window: 64, stride: 63, startToken: 'auto', tokens: expected.tokens };
    expect(expected.tokens).toBe(windows.length * 63);
    const result = { ...conditions, perplexity: near(expected.perplexity) };
    expect(await evaluatePerplexity(model, story, { window: 64 })).toMatchObject(result);
    // ids are treated as a text, with or without its start token
    expect(await evaluatePerplexity(model, ids, { window: 64 })).toMatchObject(result);
    expect(await evaluatePerplexity(model, [START_ID, ...ids], { window: 64 })).toMatchObject(result);
    await using dataset = await loadDataset({ files: at('story.txt'), cache: false }, model);
    expect(await evaluatePerplexity(model, dataset, { window: 64 })).toMatchObject(result);
  });

  test('scores only new tokens in overlapping windows, and a stride counts text tokens', async () => {
    const text = ids.slice(0, 90);
    const windows = cutByHand(text, 32, 10);
    const expected = await reference(windows, (index) => (index === 0 ? 1 : 22));
    expect(await evaluatePerplexity(model, text, { window: 32, stride: 10 })).toMatchObject({
      ...{ windows: windows.length, stride: 10, tokens: 31 + (windows.length - 1) * 10 },
      perplexity: near(expected.perplexity),
    });
    await expect(evaluatePerplexity(model, text, { window: 32, stride: 32 })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining("'stride' must be at most 31"),
    });
  });

  test("is a stream's where it is asked for: the text as the tokenizer gives it, cut as it is", async () => {
    const stream = [START_ID, ...ids];
    const windows = Array.from({ length: Math.floor(stream.length / 64) }, (_, i) => stream.slice(64 * i, 64 * i + 64));
    const expected = await reference(windows, () => 1);
    expect(await evaluatePerplexity(model, story, { window: 64, startToken: 'stream' })).toMatchObject({
      ...{ windows: windows.length, stride: 64, startToken: 'stream', perplexity: near(expected.perplexity) },
    });
  });

  test('never begins a window with two start tokens, and uses one of the text', async () => {
    // the second document begins exactly at the second window
    const first = ids.slice(0, 31);
    const second = ids.slice(100, 162);
    const windows = [
      [START_ID, ...first],
      [START_ID, ...second.slice(0, 31)],
      [START_ID, ...second.slice(31)],
    ];
    const expected = await reference(windows, () => 1);
    const data = [START_ID, ...first, START_ID, ...second];
    expect(await evaluatePerplexity(model, data, { window: 32 })).toMatchObject({
      ...{ windows: 3, tokens: 93, perplexity: near(expected.perplexity) },
    });
  });

  test('of a model without a start token is the same for both settings', async () => {
    const auto = await evaluatePerplexity(plain, story, { window: 64 });
    expect(auto).toEqual(await evaluatePerplexity(plain, story, { window: 64, startToken: 'stream' }));
    expect(auto).toMatchObject({ startToken: 'stream', stride: 64 });
    await expect(evaluatePerplexity(model, story, { startToken: 'both' as 'auto' })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining("'startToken' must be one of"),
    });
  });
});

describe('questions', () => {
  const context = 'the cat sat on the mat and '.repeat(20).trim();

  test('that are truncated at the start retain the start token', () => {
    const { tokenizer } = model;
    const whole = tokenizer.encode(`${context} slept`);
    expect(whole[0]).toBe(START_ID);
    const text = { context, continuation: ' slept' };
    const kept = new PairEncoder(tokenizer, 40, tokenizer.startTokenId).encode(text);
    expect([...kept.ids]).toEqual([START_ID, ...whole.slice(-40)]);
    const stream = new PairEncoder(tokenizer, 40).encode(text);
    expect([...stream.ids]).toEqual(whole.slice(-41));
    expect(kept.scoredFrom).toBe(stream.scoredFrom);
    expect(kept.ids.length - kept.scoredFrom).toBe(whole.length - tokenizer.encode(context).length);
  });

  test('without a context begin with one start token', () => {
    const { ids: own, scoredFrom } = new PairEncoder(model.tokenizer, 40).encode({
      context: '',
      continuation: ' slept',
    });
    expect([[...own], scoredFrom]).toEqual([model.tokenizer.encode(' slept'), 1]);
  });

  test('are evaluated so, and report it', async () => {
    mkdirSync(at('tasks/lambada_openai'), { recursive: true });
    // the model's limit is 512 positions
    const record = { context: `${context} `.repeat(10).trim(), continuation: 'slept' };
    writeFileSync(at('tasks/lambada_openai/lambada_openai.jsonl'), `${JSON.stringify(record)}\n`);
    const options = { data: at('tasks'), tasks: ['lambada_openai'] };
    const [auto] = await evaluateTasks(model, options);
    const [stream] = await evaluateTasks(model, { ...options, startToken: 'stream' });
    const [none] = await evaluateTasks(plain, options);
    expect([auto, stream, none].map((result) => result?.startToken)).toEqual(['auto', 'stream', 'stream']);
    expect(stream?.metrics).toEqual(none?.metrics);
    expect(auto?.metrics).not.toEqual(stream?.metrics);
  });
});

describe('calibration', () => {
  /** Three windows of text, of which all are taken. */
  const short = () => ids.slice(0, 3 * 31);
  const calibration = (given: Partial<CalibrationOptions>): CalibrationOptions => ({
    ...{ data: short(), windows: 3, length: 32, rounds: 1 },
    ...given,
  });
  const byHand = () => calibration({ data: cutByHand(short(), 32).flat(), startToken: 'stream' });
  const options: BinarizeOptions = { kernels: 2, method: 'calibrated' };

  test('uses windows with the token in front, for ids and for text', async () => {
    await using expected = await binarize(model, { ...options, calibration: byHand() });
    await using found = await binarize(model, { ...options, calibration: calibration({}) });
    expect(contents(found)).toEqual(contents(expected));
    expect(found.conversion?.calibration).toMatchObject({ windows: 3, tokens: 96, startToken: 'auto' });
    expect(expected.conversion?.calibration?.startToken).toBe('stream');
    const text = calibration({ data: model.tokenizer.decode(short()) });
    await using read = await binarize(model, { ...options, calibration: text });
    expect(contents(read)).toEqual(contents(expected));
    await using stream = await binarize(model, {
      ...options,
      calibration: { ...text, windows: 2, startToken: 'stream' },
    });
    expect(contents(stream)).not.toEqual(contents(expected));
    expect(stream.conversion?.calibration).toMatchObject({ windows: 2, startToken: 'stream' });
  });

  test.each<[string, BinarizeFolderOptions]>([
    ['nested kernels', { kernels: 2, nested: true }],
    ['an allocation', { bits: 2.5 }],
  ])('from disk to disk, with %s, is on the same windows and states them', async (name, more) => {
    const convert = async (kind: string, given: CalibrationOptions) => {
      const output = at(`${name}-${kind}`);
      await binarizeFolder(place, output, { method: 'calibrated', ...more, calibration: given });
      return await Model.load(output);
    };
    await using expected = await convert('expected', byHand());
    await using found = await convert('found', calibration({}));
    expect(contents(found)).toEqual(contents(expected));
    const { conversion } = JSON.parse(readFileSync(at(`${name}-found/config.json`), 'utf8')).quantization_config;
    expect(conversion.calibration).toMatchObject({ start_token: 'auto', length: 32 });
    expect(found.conversion?.calibration?.startToken).toBe('auto');
  });

  test('of GPTQ uses the same windows', async () => {
    const quantize = (output: string, { rounds: _, ...given }: CalibrationOptions) =>
      quantizeFolder(place, at(output), { method: 'gptq', bits: 3, calibration: given });
    const expected = await quantize('gptq-expected', byHand());
    const found = await quantize('gptq-found', calibration({}));
    expect(found.residuals).toEqual(expected.residuals);
    expect([found, expected].map((report) => report.calibration?.startToken)).toEqual(['auto', 'stream']);
  });

  test('that was interrupted resumes only with the same setting', async () => {
    const output = at('interrupted');
    const convert = (startToken: CalibrationOptions['startToken'], signal?: AbortSignal, onProgress?: () => void) =>
      binarizeFolder(place, output, {
        ...options,
        calibration: calibration({ startToken }),
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
      });
    const controller = new AbortController();
    const stop = () => existsSync(join(workFolderOf(output), 'block-0.json')) && controller.abort();
    await expect(convert('auto', controller.signal, stop)).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    await expect(convert('stream')).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
    await convert('auto');
    expect(existsSync(join(output, 'model.safetensors'))).toBe(true);
  });
});

describe('training', () => {
  const options = (): FinetuneOptions => ({ data: story, window: 32, batch: 4, steps: 3, learningRate: 3e-3 });
  const train = async (given: Partial<FinetuneOptions>) => {
    await using student = await binarize(model, { kernels: 2, method: 'svid' });
    const result = await finetune(student, { ...options(), ...given });
    return { result, weights: contents(student), losses: result.history.map(({ loss }) => loss) };
  };

  test('uses sequences with the token in front, in micro-batches and in evaluations', async () => {
    const evaluation = { data: story, every: 3, windows: 4 };
    const log = at('log.jsonl');
    const { result } = await train({ evaluation, log, microBatch: 2 });
    expect(result.startToken).toBe('auto');
    await using student = await binarize(model, { kernels: 2, method: 'svid' });
    await finetune(student, { ...options(), microBatch: 2 });
    const { perplexity } = await evaluatePerplexity(student, story, { window: 32, maxWindows: 4 });
    expect(result.history.at(-1)?.perplexity).toBeCloseTo(perplexity, 6);
    const [begun] = readFileSync(log, 'utf8').split('\n');
    expect(JSON.parse(begun as string)).toMatchObject({ event: 'start', startToken: 'auto' });
    const stream = await train({ startToken: 'stream', microBatch: 2 });
    expect(stream.result.startToken).toBe('stream');
    expect(stream.losses).not.toEqual(result.history.map(({ loss }) => loss));
  });

  test.each<[string, Partial<FinetuneOptions>]>([
    ['with a teacher', {}],
    ['with latent weights', { latent: true }],
    ['on the text itself', { teacher: undefined } as Partial<FinetuneOptions>],
  ])('%s sees each window as it is cut here', async (_, given) => {
    // with a text of exactly one window there is no choice
    const [window] = cutByHand(ids, 32) as [number[]];
    const teacher = 'teacher' in given ? {} : { teacher: model };
    const auto = await train({ ...teacher, ...given, data: window.slice(1) });
    const expected = await train({ ...teacher, ...given, data: window, startToken: 'stream' });
    expect(auto.weights).toEqual(expected.weights);
    expect(auto.losses).toEqual(expected.losses);
  });

  test("keeps a teacher's predictions of one convention apart from those of the other", async () => {
    const teacherCache = { file: at('teacher'), topK: 8 };
    const given = { teacherCache, gamma: 0 };
    const auto = await train({ ...given, teacher: model });
    const missing = expect.stringContaining('no predictions for these windows');
    await expect(train({ ...given, startToken: 'stream' })).rejects.toMatchObject({ message: missing });
    expect((await train(given)).losses).toEqual(auto.losses);
    const stream = await train({ ...given, teacher: model, startToken: 'stream' });
    expect(stream.losses).not.toEqual(auto.losses);
    await expect(train(given)).rejects.toMatchObject({ message: missing });
    // a cache of an earlier version, which had no start tokens
    const bytes = readFileSync(teacherCache.file);
    const { startId: _, ...header } = JSON.parse(bytes.subarray(0, 1024).toString());
    bytes.fill(' ', 0, 1024).write(JSON.stringify(header));
    writeFileSync(teacherCache.file, bytes);
    expect((await train({ ...given, startToken: 'stream' })).losses).toEqual(stream.losses);
    await expect(train(given)).rejects.toMatchObject({ message: missing });
  });

  test.each([
    ['auto', 'stream'],
    ['stream', 'auto'],
  ] as const)('that began with %s does not go on with %s', async (begun, other) => {
    const checkpoint = { folder: at(`checkpoint-${begun}`), every: 1 };
    await train({ startToken: begun, checkpoint });
    const resumed = (startToken: typeof begun | typeof other) => train({ startToken, checkpoint, resume: true });
    await expect(resumed(other)).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining("'startToken'"),
    });
    expect((await resumed(begun)).result.history).toHaveLength(3);
  });

  test('draws windows at every place of a text, both ends included, each with one start token', async () => {
    writeFileSync(at('two.txt'), `${model.tokenizer.decode(ids.slice(0, 20))}${SECOND}`);
    await using data = await loadDataset({ files: at('two.txt'), cache: false }, model);
    const all = [...(await data.read(0, data.length))];
    const text = all.filter((id) => id !== START_ID);
    const seen = new Set<string>();
    for (let step = 0; step < 400; step++) {
      const { ids: drawn, targets } = await data.batch({ window: 6, startId: START_ID, batch: 1, seed: 1, step });
      expect(drawn[0]).toBe(START_ID);
      expect(drawn[1]).not.toBe(START_ID);
      expect([...targets]).toEqual([...drawn.subarray(1), -1]);
      seen.add([...drawn].join());
    }
    // a window at every place followed by 5 more tokens; the places of and after a start token give the same window
    expect(seen.size).toBe(all.length - 4 - 2);
    expect(seen).toContain([START_ID, ...text.slice(0, 5)].join());
    expect(seen).toContain([START_ID, ...text.slice(-5)].join());
  });
});

describe('commands', () => {
  const mbok = (...args: string[]) => {
    const { status, stdout, stderr } = runMbok(folder, args);
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
    return stdout;
  };
  const json = (...args: string[]) =>
    JSON.parse(
      mbok(...args, '--json')
        .trimEnd()
        .split('\n')
        .at(-1) as string,
    );

  test('eval perplexity obeys --start-token and prints it', async () => {
    const args = ['eval', 'perplexity', 'model', '--text', 'story.txt', '--window', '64'];
    const { perplexity } = await evaluatePerplexity(model, story, { window: 64 });
    expect(json(...args)).toMatchObject({ perplexity, startToken: 'auto', stride: 63 });
    expect(mbok(...args)).toMatch(/windows begin with the start token/);
    const stream = await evaluatePerplexity(model, story, { window: 64, startToken: 'stream' });
    expect(json(...args, '--start-token', 'stream')).toMatchObject({
      ...{ perplexity: stream.perplexity, startToken: 'stream', stride: 64 },
    });
    expect(mbok(...args, '--start-token', 'stream')).toMatch(/windows cut from a stream/);
  });

  test("binarize, on the model's own text too, and finetune pass it on", () => {
    const windows = ['--calibration-windows', '2', '--calibration-window', '32'];
    const convert = ['binarize', 'model', 'small', '--kernels', '1', ...windows, '--overwrite'];
    expect(json(...convert, '--calibration', 'self').calibration).toMatchObject({ startToken: 'auto', windows: 2 });
    expect(json(...convert, '--calibration', 'story.txt', '--start-token', 'stream').calibration).toMatchObject({
      startToken: 'stream',
    });
    const train = [
      'finetune',
      'small',
      'tuned',
      '--text',
      'story.txt',
      '--steps',
      '1',
      '--window',
      '32',
      '--overwrite',
    ];
    expect(json(...train)).toMatchObject({ startToken: 'auto' });
    expect(json(...train, '--start-token', 'stream')).toMatchObject({ startToken: 'stream' });
    const gptq = ['baseline', 'model', 'gptq', '--method', 'gptq', '--bits', '3', ...windows];
    expect(json(...gptq, '--calibration', 'story.txt').calibration).toMatchObject({ startToken: 'auto' });
  });
});
