/** Checkpoints: a stopped or killed run continues with the same bits as an uninterrupted one. */

import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { coreOf, type Model } from '../../lib/model';
import { type FinetuneResult, finetune } from '../../lib/train/finetune';
import type { FinetuneOptions } from '../../lib/train/finetune_options';
import { typeScriptArguments } from '../helpers/run_typescript';
import { contents, learnableIds, loadTeacher, makeStudent } from '../helpers/training_models';

const folder = mkdtempSync(join(tmpdir(), 'mbok-resume-'));
afterAll(() => rmSync(folder, { recursive: true }));
const place = (name: string) => join(folder, name);

let teacher: Model;
beforeAll(async () => {
  teacher = await loadTeacher();
});
afterAll(() => teacher.dispose());

const options = {
  data: learnableIds(4000),
  window: 32,
  batch: 4,
  steps: 9,
  learningRate: 0.02,
  train: ['scales', 'norms', 'embeddings'],
  evaluation: { data: learnableIds(200, { seed: 3 }), every: 2 },
} as const;

/** Finetunes a new student, stopping after `stop` steps if passed; returns results without timings. */
async function run(more: Partial<FinetuneOptions> = {}, stop = Number.POSITIVE_INFINITY) {
  const student = await makeStudent(teacher);
  const controller = new AbortController();
  const onProgress = ({ step }: { step: number }) => {
    if (step >= stop) controller.abort();
  };
  const result = await finetune(student, { ...options, teacher, ...more, signal: controller.signal, onProgress }).catch(
    (error): FinetuneResult | undefined => {
      if (error.code === 'MBOK_ABORTED') return undefined;
      throw error;
    },
  );
  return { weights: contents(student), history: result?.history, best: result?.best };
}

test.each([
  ['neighbor moves', {}],
  ['running statistics in f16 and micro-batches', { decay: 0.9, accumulator: 'f16', microBatch: 2 }],
  ['latent weights', { latent: true }],
  ['cross-entropy', { teacher: undefined }],
] as [string, Partial<FinetuneOptions>][])('a resumed run ends as one without interruption: %s', async (name, more) => {
  const uninterrupted = await run(more);
  const checkpoint = { folder: place(name), every: 2 };
  // stopped by abort, which saves at once, twice; then resumed once more after its end
  await run({ ...more, checkpoint }, 3);
  await run({ ...more, checkpoint, resume: true }, 6);
  expect(await run({ ...more, checkpoint, resume: true })).toEqual(uninterrupted);
  expect(await run({ ...more, checkpoint, resume: true })).toEqual(uninterrupted);
});

test('a run resumed from its last checkpoint repeats the steps that were lost', async () => {
  const uninterrupted = await run();
  const checkpoint = { folder: place('again'), every: 4 };
  const student = await makeStudent(teacher);
  const keep = ({ step }: { step: number }) => {
    if (step === 5) cpSync(checkpoint.folder, place('kept'), { recursive: true });
  };
  await finetune(student, { ...options, teacher, checkpoint, onProgress: keep });
  const kept = { folder: place('kept'), every: 4 };
  expect(await run({ checkpoint: kept, resume: true })).toEqual(uninterrupted);
});

test('the log of a resumed run has every step once', async () => {
  const log = place('log.jsonl');
  const checkpoint = { folder: place('logged'), every: 2 };
  await run({ checkpoint, log }, 5);
  writeFileSync(log, `${readFileSync(log, 'utf8')}{"step":6,"loss":1}\n{"step":7,"lo`);
  await run({ checkpoint, log, resume: true });
  const entries = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const steps = entries.filter(({ event }) => event === undefined).map(({ step }) => step);
  expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(entries.filter(({ event }) => event === 'resume')).toMatchObject([{ step: 5 }]);
});

describe('resuming', () => {
  const checkpoint = { folder: place('refusals'), every: 1 };
  beforeAll(() => run({ checkpoint }, 1));

  test.each([
    ['steps', { steps: 10 }],
    ['batch', { batch: 8, microBatch: 4 }],
    ['learningRate', { learningRate: 0.01 }],
    ['rule', { rule: 'lastKernel' }],
    ['accumulator', { accumulator: 'f16' }],
    ['seed', { seed: 7 }],
    ['train', { train: ['scales'] }],
    ['teacher', { teacher: undefined }],
    ['text', { data: learnableIds(4000, { seed: 2 }) }],
    ['evaluation', { evaluation: undefined }],
  ] as [string, Partial<FinetuneOptions>][])('with another %s is refused', async (name, other) => {
    await expect(run({ checkpoint, resume: true, ...other })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(`'${name}'`),
    });
  });

  test('refuses a student with other frozen weights', async () => {
    const student = await makeStudent(teacher);
    const only = { ...options, teacher, train: [], checkpoint: { folder: place('frozen'), every: 1 } };
    await finetune(student, only);
    const other = await makeStudent(teacher);
    const table = coreOf(other).parameters.get('model.embed_tokens.weight');
    table?.write((table.raw() as Float32Array).fill(0, 0, 1));
    await expect(finetune(other, { ...only, resume: true })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test('starts from the beginning without a checkpoint', async () => {
    expect(await run({ checkpoint: { folder: place('none'), every: 100 }, resume: true })).toEqual(await run());
  });

  type Json = Record<string, unknown> & { progress: { history: Record<string, unknown>[]; best: unknown } };
  const edited = (change: (json: Json) => object | undefined) => (old: Buffer) => {
    const json = JSON.parse(old.toString()) as Json;
    return JSON.stringify(change(json) ?? json);
  };
  const recorded = (changes: object) =>
    edited(({ progress }) => void Object.assign(progress.history[0] as object, changes));
  /** Sets all bytes of a tensor, which makes its numbers NaN. */
  const filled = (tensor: RegExp) => (old: Buffer) => {
    const start = 8 + Number(old.readBigUInt64LE());
    const header = JSON.parse(old.toString('utf8', 8, start)) as Record<string, { data_offsets: [number, number] }>;
    const name = Object.keys(header).find((key) => tensor.test(key)) as string;
    const [from, to] = (header[name] as { data_offsets: [number, number] }).data_offsets;
    return Buffer.from(old).fill(0xff, start + from, start + to);
  };
  const PROGRESS = 'progress.json';
  const STATE = 'state-1.safetensors';

  test.each<[string, string, (old: Buffer) => string | Uint8Array, string]>([
    ['of another version', PROGRESS, edited((json) => ({ ...json, version: 7 })), 'MBOK_UNSUPPORTED'],
    ['that is not JSON', PROGRESS, () => '{', 'MBOK_FORMAT'],
    ["that is another program's", PROGRESS, () => '{"progress":0.5}', 'MBOK_IO'],
    ['with a truncated state', STATE, (old) => old.subarray(0, old.length - 9), 'MBOK_FORMAT'],
    ['whose accumulator is not finite', STATE, filled(/accumulator/), 'MBOK_FORMAT'],
    ['whose scales are not finite', STATE, filled(/s_out/), 'MBOK_FORMAT'],
    [
      'whose state lies elsewhere',
      PROGRESS,
      edited((json) => ({ ...json, state: '../model.safetensors' })),
      'MBOK_FORMAT',
    ],
    ['of a thousand million steps', PROGRESS, edited((json) => ({ ...json, step: 1e9 })), 'MBOK_FORMAT'],
    ['of more steps than its history has', PROGRESS, edited((json) => ({ ...json, step: 9 })), 'MBOK_FORMAT'],
    ['of half a step', PROGRESS, edited((json) => ({ ...json, step: 0.5 })), 'MBOK_FORMAT'],
    ['without progress', PROGRESS, edited((json) => ({ ...json, progress: null })), 'MBOK_FORMAT'],
    [
      'whose history is no list',
      PROGRESS,
      edited((json) => ({ ...json, progress: { history: { length: 1 } } })),
      'MBOK_FORMAT',
    ],
    ['whose history has another step', PROGRESS, recorded({ step: 2 }), 'MBOK_FORMAT'],
    ['whose history has a loss of text', PROGRESS, recorded({ loss: '1' }), 'MBOK_FORMAT'],
    ['whose history has flips without number', PROGRESS, recorded({ flips: null }), 'MBOK_FORMAT'],
    ['whose history has no parts', PROGRESS, recorded({ parts: null }), 'MBOK_FORMAT'],
    [
      'whose best is a text',
      PROGRESS,
      edited((json) => ({ ...json, hasBest: true, progress: { ...json.progress, best: 'x' } })),
      'MBOK_FORMAT',
    ],
    [
      'that lacks the best it speaks of',
      PROGRESS,
      edited((json) => ({ ...json, hasBest: true, progress: { ...json.progress, best: { perplexity: 2, step: 1 } } })),
      'MBOK_FORMAT',
    ],
    [
      'whose fingerprint names a property of objects',
      PROGRESS,
      edited((json) => ({ ...json, fingerprint: { toString: 1 } })),
      'MBOK_INVALID_ARGUMENT',
    ],
  ])('refuses a checkpoint %s', async (name, file, change, code) => {
    const broken = { folder: place(name), every: 1 };
    cpSync(checkpoint.folder, broken.folder, { recursive: true });
    const kept = readFileSync(join(broken.folder, file));
    writeFileSync(join(broken.folder, file), change(kept));
    await expect(run({ checkpoint: broken, resume: true })).rejects.toMatchObject({ code });
    // the original file can be resumed: nothing else caused the refusal
    writeFileSync(join(broken.folder, file), kept);
    await run({ checkpoint: broken, resume: true }, 2);
  });
});

test("a run has its checkpoint's folder to itself, and leaves no trace of one that it did not write", async () => {
  const checkpoint = { folder: place('shared'), every: 100 };
  const other = await makeStudent(teacher);
  const student = await makeStudent(teacher);
  const attempts: Promise<unknown>[] = [];
  const onProgress = ({ step }: { step: number }) => {
    if (step === 2) attempts.push(finetune(other, { ...options, teacher, checkpoint }).catch((error) => error.code));
  };
  await finetune(student, { ...options, teacher, checkpoint, onProgress });
  expect(await Promise.all(attempts)).toEqual(['MBOK_BUSY']);
  expect(existsSync(checkpoint.folder)).toBe(false);
});

test("a folder of somebody else's is no place for checkpoints", async () => {
  const folder = place('album');
  mkdirSync(folder);
  writeFileSync(join(folder, 'photo.jpg'), 'precious');
  const attempt = run({ checkpoint: { folder, every: 1 } });
  await expect(attempt).rejects.toMatchObject({ code: 'MBOK_IO', message: expect.stringContaining("'photo.jpg'") });
  expect(readdirSync(folder)).toEqual(['photo.jpg']);
});

test.each<[string, Partial<FinetuneOptions>]>([
  ['a training log', { log: place('precious.txt') }],
  ["a teacher's predictions", { teacherCache: { file: place('precious.txt'), topK: 4 } }],
])('a file that is something else is not replaced by %s', async (what, more) => {
  writeFileSync(place('precious.txt'), 'precious');
  await expect(run(more)).rejects.toMatchObject({ code: 'MBOK_IO', message: expect.stringContaining(what) });
  expect(readFileSync(place('precious.txt'), 'utf8')).toBe('precious');
});

test('a checkpoint folder that cannot be written is an error that names it', async () => {
  writeFileSync(place('file'), '');
  const attempt = run({ checkpoint: { folder: place('file/below'), every: 1 } });
  await expect(attempt).rejects.toMatchObject({ code: 'MBOK_IO', message: expect.stringContaining('file/below') });
});

describe('a run that is killed', () => {
  /** Set MBOK_KILLS=20 for a long run. */
  const kills = Number(process.env.MBOK_KILLS ?? 3);

  test(`${kills} times resumes to the bits of one that was not`, async () => {
    const checkpoint = { folder: place('killed'), every: 1 };
    const uninterrupted = await run({ steps: 40 });
    for (let killed = 0; killed < kills; ) {
      const { signal, code, step } = await killedRun(checkpoint.folder);
      const died = signal === 'SIGKILL';
      if (died) killed++;
      else expect(code).toBe(0);
      // restart a run that is near its end, so that steps remain to resume
      if (!died || step > 37) rmSync(checkpoint.folder, { recursive: true, force: true });
    }
    expect(await run({ steps: 40, checkpoint, resume: true })).toEqual(uninterrupted);
    expect(readdirSync(folder).filter((name) => name.startsWith('killed'))).toEqual(['killed']);
  });
});

/**
 * Resumes the run of 40 steps in a separate process. Kills it during its next steps and checkpoints, unless it ends
 * before. Resolves to how it ended, and its last reported step.
 */
function killedRun(
  checkpointFolder: string,
): Promise<{ signal: NodeJS.Signals | null; code: number | null; step: number }> {
  const source = `
    const { finetune } = require('./lib/train/finetune');
    const { learnableIds, loadTeacher, makeStudent } = require('./test/helpers/training_models');
    (async () => {
      const teacher = await loadTeacher();
      const options = ${JSON.stringify({ ...options, steps: 40, checkpoint: { folder: checkpointFolder, every: 1 }, resume: true })};
      await finetune(await makeStudent(teacher), { ...options, teacher, onProgress: ({ step }) => console.log(step) });
    })();`;
  const child = spawn(process.execPath, typeScriptArguments(source), {
    cwd: join(__dirname, '../..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    if (output === '') setTimeout(() => child.kill('SIGKILL'), Math.random() * 150);
    output += chunk;
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ signal, code, step: Number(output.trim().split('\n').at(-1)) }));
  });
}
