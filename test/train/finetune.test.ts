/** Finetuning: it learns, changes only what it should, and leaves a defined state when stopped. */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { binarize } from '../../lib/compress/binarize';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { coreOf, Model } from '../../lib/model';
import { linearModules } from '../../lib/models/model_core';
import type { Matrix } from '../../lib/native/matrix';
import { finetune } from '../../lib/train/finetune';
import type { FinetuneOptions } from '../../lib/train/finetune_options';
import type { FinetuneRecord } from '../../lib/train/progress';
import { contents, differences, kernelRows, learnableIds, loadTeacher, makeStudent } from '../helpers/training_models';

const ASSETS = join(__dirname, '../../assets/tiny-stories');
const data = learnableIds(4000);
const small = { data, window: 32, batch: 4, steps: 4 } as const;

const folder = mkdtempSync(join(tmpdir(), 'mbok-train-'));
afterAll(() => rmSync(folder, { recursive: true }));

let teacher: Model;
beforeAll(async () => {
  teacher = await loadTeacher();
});
afterAll(() => teacher.dispose());

/** Finetunes a new student and returns what changed. */
async function train(options: Partial<FinetuneOptions> = {}, kernels = 2) {
  const student = await makeStudent(teacher, kernels);
  const before = contents(student);
  const result = await finetune(student, { ...small, teacher, ...options });
  return { student, result, before, after: contents(student), changed: differences(before, contents(student)) };
}

const losses = (history: readonly FinetuneRecord[]) => history.map(({ loss }) => loss);

test('a story model improves within a few steps, flipping bits', async () => {
  const original = await Model.load(ASSETS);
  const student = await binarize(original, { kernels: 2, method: 'svid' });
  const [text, valid] = ['train', 'valid'].map((name) => readFileSync(join(ASSETS, 'corpus', `${name}.txt`), 'utf8'));
  const measure = async () =>
    (await evaluatePerplexity(student, valid as string, { window: 64, maxWindows: 32 })).perplexity;
  const before = await measure();
  const result = await finetune(student, {
    teacher: original,
    data: (text as string).slice(0, 200_000),
    steps: 12,
    window: 64,
    train: ['scales', 'norms', 'embeddings'],
  });
  expect(await measure()).toBeLessThan(before * 0.85);
  expect(result.flips).toBeGreaterThan(0);
  const { loss, parts, flips, beta } = result.history[11] as FinetuneRecord;
  expect(loss).toBeLessThan((result.history[0] as FinetuneRecord).loss * 0.9);
  expect(loss).toBeCloseTo((parts.kl as number) + 10 * (parts.hidden as number), 4);
  expect(beta).toBeCloseTo(1 - flips, 4);
  student.dispose();
  original.dispose();
});

describe('changes', () => {
  const groups = {
    scales: /\.(s_out|s_in)$/,
    norms: /norm\.weight$/,
    embeddings: /embed_tokens\.weight$|lm_head\.weight$/,
    biases: /\.bias$/,
  } as const;

  test.each(['scales', 'norms', 'embeddings'] as const)('only %s train if requested', async (group) => {
    const { changed, before } = await train({ train: [group], flipRate: 0 });
    expect(changed).toEqual([...before.keys()].filter((name) => groups[group].test(name)));
  });

  test('biases train if a model has them', async () => {
    const biased = await Model.load(join(__dirname, '../golden/llama-bias'));
    const student = await makeStudent(biased);
    const before = contents(student);
    await finetune(student, { ...small, teacher: biased, train: ['biases'], flipRate: 0 });
    expect(differences(before, contents(student))).toEqual(
      [...before.keys()].filter((name) => groups.biases.test(name)),
    );
  });

  test('only bits flip if nothing else trains, and by the last-kernel rule only in the last kernel', async () => {
    const student = await makeStudent(teacher);
    const modules = [...student.kernels.keys()];
    const firstKernel = () =>
      modules.map((module) => kernelRows(student, module)).map((rows) => rows.subarray(0, rows.length / 2));
    const [before, first] = [contents(student), firstKernel()];
    await finetune(student, { ...small, teacher, train: [], rule: 'lastKernel', flipRate: 0.5 });
    expect(differences(before, contents(student))).toEqual(modules.map((module) => `${module}.boolean_kernels`));
    expect(firstKernel()).toEqual(first);
    await finetune(student, { ...small, teacher, train: [], rule: 'neighbors', flipRate: 0.5 });
    expect(firstKernel()).not.toEqual(first);
  });

  test('scales end rounded as they are saved', async () => {
    const { student, after } = await train();
    coreOf(student).roundToStorage();
    expect(contents(student)).toEqual(after);
  });
});

test.each([
  ['cross-entropy without a teacher', { teacher: undefined, train: ['scales', 'norms', 'embeddings'] }],
  ['latent weights', { latent: true, learningRate: 2e-3 }],
  ['the plain hidden loss', { hiddenLoss: 'plain' }],
  ['the relative hidden loss', { hiddenLoss: 'relative' }],
  ['the KL alone', { gamma: 0 }],
  ['bf16 products', { precision: 'bf16' }],
  ['the last-kernel rule with running statistics', { rule: 'lastKernel', decay: 0.9 }],
  ['the tensor-mean normalizer in f16', { normalizer: 'mean', accumulator: 'f16' }],
] as [string, Partial<FinetuneOptions>][])('the loss falls with %s', async (_, options) => {
  const { result, changed } = await train({ steps: 24, learningRate: 3e-3, ...options });
  const mean = (part: readonly number[]) => part.reduce((sum, loss) => sum + loss, 0) / part.length;
  expect(mean(losses(result.history).slice(-4))).toBeLessThan(mean(losses(result.history).slice(0, 4)));
  expect(changed.some((name) => name.endsWith('.boolean_kernels'))).toBe(true);
});

test('the same options give the same bits, another seed others', async () => {
  const [one, same, other] = [await train(), await train(), await train({ seed: 2 })];
  expect(same.after).toEqual(one.after);
  expect(other.after).not.toEqual(one.after);
});

test('a batch in parts gives the same step as the whole batch', async () => {
  // without flips, which amplify rounding
  const [whole, parts] = [await train({ flipRate: 0 }), await train({ flipRate: 0, microBatch: 1 })];
  for (const [step, loss] of losses(whole.result.history).entries()) {
    expect(losses(parts.result.history)[step]).toBeCloseTo(loss, 4);
  }
  const { result } = await train({ microBatch: 2 });
  expect(result.flips).toBeGreaterThan(0);
  expect(result.memory.activations).toBeLessThan(whole.result.memory.activations);
});

describe('memory', () => {
  const options = { train: ['scales', 'norms', 'embeddings'], steps: 3 } as const;
  const run = (more: Partial<FinetuneOptions>) => train({ ...options, ...more });
  // fixed, since the memory of a test process varies
  beforeEach(() => {
    const usage = { rss: 1e8, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 };
    jest.spyOn(process, 'memoryUsage').mockImplementation(Object.assign(() => usage, { rss: () => usage.rss }));
  });
  afterEach(() => jest.restoreAllMocks());

  test.each([
    ['distillation', {}],
    ['cross-entropy', { teacher: undefined }],
    ['latent weights', { latent: true }],
    ['two micro-batches and running statistics', { microBatch: 2, decay: 0.9 }],
  ] as [string, Partial<FinetuneOptions>][])('recomputed activations change no bit: %s', async (_, more) => {
    const kept = await run({ microBatch: 4, ...more });
    const { memory } = kept.result;
    expect(memory.recompute).toBe(false);
    // a budget that fits everything except the activations
    const budget = memory.total + memory.overhead - 1000;
    const recomputed = await run({ microBatch: 4, ...more, memory: budget });
    expect(recomputed.result.memory.recompute).toBe(true);
    expect(recomputed.result.memory.activations).toBeLessThan(memory.activations);
    expect(losses(recomputed.result.history)).toEqual(losses(kept.result.history));
    expect(recomputed.after).toEqual(kept.after);
  });

  test('a budget chooses the micro-batch', async () => {
    const { memory: most } = (await run({ microBatch: 4 })).result;
    const { memory: least } = (await run({ microBatch: 1 })).result;
    expect((await run({ memory: most.total + most.overhead + 2e8 })).result.memory.microBatch).toBe(4);
    const tight = (await run({ memory: least.total + least.overhead + 1e6 })).result.memory;
    expect(tight.total + tight.overhead).toBeLessThanOrEqual(least.total + least.overhead + 1e6);
  });

  test('a budget that cannot be met is an error that names the smallest sufficient one', async () => {
    await expect(run({ memory: 1e6 })).rejects.toMatchObject({
      code: 'MBOK_OUT_OF_MEMORY',
      message: expect.stringMatching(/'memory' is 0.001 GB.* at least \d\.\d+ GB \(\d+ bytes\)/),
    });
  });
});

test('native state has little more than 16 bits per trained weight, and latent state 96 beside the gradient', async () => {
  const weights = linearModules(coreOf(teacher));
  const count = weights.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const lines = weights.reduce((sum, { rows, cols }) => sum + rows + cols, 0);
  const native = (await train({ train: [] }, 1)).result.memory;
  expect(native.state).toBe(count * 2 + lines * 8 + weights.length * 32);
  expect(native.gradients).toBe(0);
  const latent = (await train({ train: [], latent: true }, 1)).result.memory;
  expect([latent.state, latent.gradients]).toEqual([count * 12, count * 4]);
});

describe('evaluation', () => {
  const held = learnableIds(400, { seed: 8 });

  test('restores the best model, measured as it would be saved', async () => {
    const progress: (number | undefined)[] = [];
    const options = {
      learningRate: 0.05,
      steps: 7,
      evaluation: { data: held, every: 2 },
      onProgress: ({ perplexity }: { perplexity?: number }) => progress.push(perplexity),
    };
    const { result, student } = await train(options);
    expect(progress.map((value) => value !== undefined)).toEqual([false, true, false, true, false, true, true]);
    const best = Math.min(...progress.filter((value) => value !== undefined));
    expect(result.best?.perplexity).toBe(best);
    expect(result.history[(result.best?.step as number) - 1]?.perplexity).toBe(best);
    expect((await evaluatePerplexity(student, held, { window: 32 })).perplexity).toBe(best);
  });

  test('does not disturb training', async () => {
    const plain = await train();
    const evaluated = await train({ evaluation: { data: held, every: 1, windows: 2 } });
    expect(losses(evaluated.result.history)).toEqual(losses(plain.result.history));
  });
});

test('the log has one line per step with all data for a plot', async () => {
  const log = join(folder, 'log.jsonl');
  await train({ log, evaluation: { data, every: 2, windows: 2 } });
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(entries[0]).toMatchObject({ step: 0, event: 'start', memory: { weights: expect.any(Number) } });
  expect(entries.filter(({ event }) => event === 'evaluation').map(({ step }) => step)).toEqual([2, 4]);
  const steps = entries.filter(({ event }) => event === undefined);
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
  expect(steps[1]).toMatchObject({
    loss: expect.any(Number),
    parts: { kl: expect.any(Number), hidden: expect.any(Number) },
    beta: expect.any(Number),
    gradientNorm: expect.any(Number),
    tokensPerSecond: expect.any(Number),
    rss: expect.any(Number),
    flipsByLayer: { 'model.layers.1.mlp.down_proj': expect.any(Number) },
  });
});

describe('a run that cannot continue', () => {
  test.each([1, 2])(
    'stops before the update of a loss that is not finite, %i sequences at once',
    async (microBatch) => {
      const student = await makeStudent(teacher);
      const norm = coreOf(student).parameters.get('model.norm.weight') as Matrix;
      norm.write(norm.toFloat32().fill(Number.NaN, 5, 6));
      const before = contents(student);
      await expect(finetune(student, { ...small, teacher, microBatch })).rejects.toMatchObject({
        code: 'MBOK_NON_FINITE',
        message: expect.stringContaining('step 1'),
      });
      expect(contents(student)).toEqual(before);
    },
  );

  test('reports a non-finite gradient under a finite loss, and changes no f32 parameter and saves no checkpoint', async () => {
    const student = await makeStudent(teacher);
    // up and down cancel in the forward pass, but the gradient between them overflows
    const by = (name: string, factor: number) => {
      const scales = coreOf(student).parameters.get(`model.layers.0.mlp.${name}`) as Matrix;
      scales.write(scales.toFloat32().map((value) => value * factor));
    };
    by('up_proj.s_out', 1e36);
    by('down_proj.s_in', 1e-36);
    const norms = () => [...contents(student)].filter(([name]) => name.includes('norm'));
    const before = norms();
    const checkpoint = { folder: join(folder, 'overflow'), every: 1 };
    await expect(finetune(student, { ...small, teacher, gamma: 1e6, checkpoint })).rejects.toMatchObject({
      code: 'MBOK_NON_FINITE',
      message: expect.stringMatching(/step 1: .*a gradient is not finite.*bits may have moved/),
    });
    expect(norms()).toEqual(before);
    expect(existsSync(checkpoint.folder)).toBe(false);
  });

  test('leaves the student after a whole number of steps if aborted at any moment', async () => {
    const whole = new Set<string>();
    const note = (model: Model) => JSON.stringify([...contents(model)].filter(([name]) => name.endsWith('kernels')));
    const reference = await makeStudent(teacher);
    whole.add(note(reference));
    const options = { ...small, teacher, batch: 16, microBatch: 4, steps: 10, flipRate: 0.5 };
    await finetune(reference, { ...options, onProgress: () => whole.add(note(reference)) });
    expect(whole.size).toBe(11);
    for (const delay of [0, 3, 10, 20, 35]) {
      const student = await makeStudent(teacher);
      const controller = new AbortController();
      const run = finetune(student, { ...options, signal: controller.signal }).catch((error) => error);
      await setTimeout(delay);
      controller.abort(new Error('enough'));
      const error = await run;
      if (error.code !== undefined) expect(error).toMatchObject({ code: 'MBOK_ABORTED', cause: new Error('enough') });
      expect(whole).toContain(note(student));
    }
  });

  test('stops before its start if its signal is aborted', async () => {
    const student = await makeStudent(teacher);
    const run = finetune(student, { ...small, teacher, signal: AbortSignal.abort() });
    await expect(run).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  });

  test.each(['student', 'teacher'])('says so when its %s is disposed', async (which) => {
    const own = await loadTeacher();
    const student = await makeStudent(own);
    const dispose = () => (which === 'student' ? student : own).dispose();
    const run = finetune(student, { ...small, teacher: own, onProgress: dispose });
    await expect(run).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });

  test('refuses a second run on the same student', async () => {
    const student = await makeStudent(teacher);
    const run = finetune(student, { ...small, teacher });
    await expect(finetune(student, { ...small, teacher })).rejects.toMatchObject({ code: 'MBOK_BUSY' });
    await run;
  });
});

test.each([
  ['a dense student', { student: 'teacher' }, 'MBOK_INVALID_ARGUMENT', /binarize/],
  ['an unknown option', { stepz: 3 }, 'MBOK_INVALID_ARGUMENT', /stepz/],
  ['no steps', { steps: 0 }, 'MBOK_INVALID_ARGUMENT', /'steps'/],
  ['a window beyond the limit', { window: 65 }, 'MBOK_INVALID_ARGUMENT', /'window'/],
  ['a window beyond the text', { data: [1, 2, 3] }, 'MBOK_INVALID_ARGUMENT', /3/],
  ['micro-batches that do not fill a batch', { microBatch: 3 }, 'MBOK_INVALID_ARGUMENT', /'microBatch'/],
  ['ids outside the vocabulary', { data: [...data, 160] }, 'MBOK_INVALID_ARGUMENT', /data\[4000\]/],
  ['an unknown group', { train: ['heads'] }, 'MBOK_INVALID_ARGUMENT', /'train'/],
  ['a negative learning rate', { learningRate: -1 }, 'MBOK_INVALID_ARGUMENT', /'learningRate'/],
  ['NaN as γ', { gamma: Number.NaN }, 'MBOK_INVALID_ARGUMENT', /'gamma'/],
  ['an unknown rule', { rule: 'all' }, 'MBOK_INVALID_ARGUMENT', /'rule'/],
  ['text without a tokenizer', { data: 'Once upon a time' }, 'MBOK_NO_TOKENIZER', /tokenizer/],
  ['resuming without a folder', { resume: true }, 'MBOK_INVALID_ARGUMENT', /'checkpoint'/],
  [
    'an evaluation window beyond the limit',
    { evaluation: { data, every: 1, window: 99 } },
    'MBOK_INVALID_ARGUMENT',
    /window/,
  ],
  ['something else as teacher', { teacher: {} }, 'MBOK_INVALID_ARGUMENT', /'teacher'/],
])('refuses %s', async (_, wrong, code, message) => {
  const { student: which, ...options } = wrong as Record<string, unknown>;
  const student = which === 'teacher' ? teacher : await makeStudent(teacher);
  const before = contents(student);
  const run = finetune(student, { ...small, teacher, ...options } as FinetuneOptions);
  await expect(run).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  expect(contents(student)).toEqual(before);
});

test('refuses a teacher of another shape', async () => {
  const student = await makeStudent(teacher);
  const other = await Model.load(ASSETS);
  await expect(finetune(student, { ...small, teacher: other })).rejects.toMatchObject({ code: 'MBOK_SHAPE' });
  other.dispose();
});
