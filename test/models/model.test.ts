/** The life of a model: saved and reloaded, loaded and disposed a thousand times, interrupted, in workers. */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { coreOf, Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { runTypeScript } from '../helpers/run_typescript';

const LLAMA = join(GOLDEN, 'llama');
const IDS = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 160);
const folder = temporaryFolder();

function digest(data: Float32Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Computes the logits of the model in `place` in another process. */
function reloaded(place: string): { logits: string; stderr: string } {
  const { stdout, stderr } = runTypeScript(`
    import { createHash } from 'node:crypto';
    import { Model } from './lib/model';
    Model.load(${JSON.stringify(place)}).then(async (model) => {
      const { data } = await model.logits(${JSON.stringify([...IDS])});
      console.log(createHash('sha256').update(data).digest('hex'));
    });`);
  return { logits: stdout.trim(), stderr };
}

describe('saving', () => {
  const cases: [string, string, Parameters<typeof binarize>[1] | undefined][] = [
    ['a dense model', 'llama', undefined],
    ['a dense model with biases', 'llama-bias', undefined],
    ['one kernel', 'llama', { kernels: 1, method: 'svid' }],
    ['three kernels of a tied model', 'llama-tied-rope3', { kernels: 3, method: 'refit' }],
    ['two kernels with biases', 'llama-bias', { kernels: 2, method: 'refit' }],
  ];
  test.each(cases)('%s reloads in a new process to identical logits', async (name, family, conversion) => {
    const place = join(folder, name.replace(/ /g, '-'));
    await using original = await Model.load(join(GOLDEN, family));
    await using model =
      conversion === undefined ? await Model.load(join(GOLDEN, family)) : await binarize(original, conversion);
    await model.save(place);
    const { data } = await model.logits(IDS);
    expect(reloaded(place)).toEqual({ logits: digest(data), stderr: '' });
  });

  test('a finetuned model reloads in a new process to identical logits', async () => {
    const place = join(folder, 'finetuned');
    await using teacher = await Model.load(join(GOLDEN, 'llama-bias'));
    await using model = await binarize(teacher, { kernels: 2, method: 'refit' });
    const train = ['scales', 'norms', 'embeddings', 'biases'] as const;
    await finetune(model, { teacher, data: IDS, window: 32, batch: 4, steps: 5, train, flipRate: 0.1 });
    await model.save(place);
    const { data } = await model.logits(IDS);
    expect(reloaded(place)).toEqual({ logits: digest(data), stderr: '' });
  });

  test('replaces an older model as a whole', async () => {
    const place = join(folder, 'replaced');
    await using model = await Model.load(LLAMA);
    await using other = await Model.load(join(GOLDEN, 'llama-tied-rope3'));
    await model.save(place);
    await other.save(place);
    await using reloaded = await Model.load(place);
    expect(coreOf(reloaded).config.tied).toBe(true);
  });

  test('survives a process that died between moving the old folder aside and the new one in', async () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    const place = join(folder, 'orphan');
    await using model = await Model.load(LLAMA);
    await model.save(`${place}.old-${dead}-00000000`);
    await using reloaded = await Model.load(place);
    expect(digest((await reloaded.logits(IDS)).data)).toBe(digest((await model.logits(IDS)).data));
  });
});

test('every long call reports its progress from 0 to 1', async () => {
  await using model = await Model.load(LLAMA);
  await using student = await binarize(model, { kernels: 1, method: 'svid' });
  await using tiny = await Model.load(TINY_STORIES);
  const small = { data: IDS, window: 32 } as const;
  const calls: Record<string, (onProgress: (progress: { done: number }) => void) => Promise<unknown>> = {
    load: async (onProgress) => (await Model.load(LLAMA, { onProgress })).dispose(),
    save: (onProgress) => model.save(join(folder, 'told'), { onProgress }),
    logits: (onProgress) => model.logits(IDS, { onProgress }),
    evaluate: (onProgress) => evaluatePerplexity(model, IDS, { window: 32, onProgress }),
    generate: async (onProgress) => {
      for await (const _ of tiny.generate('Once', { maxTokens: 5, onProgress }));
    },
    binarize: async (onProgress) => (await binarize(model, { kernels: 1, method: 'svid', onProgress })).dispose(),
    finetune: (onProgress) =>
      finetune(student, { ...small, steps: 2, onProgress: ({ step, steps }) => onProgress({ done: step / steps }) }),
  };
  for (const [name, call] of Object.entries(calls)) {
    const told: number[] = [];
    await call(({ done }) => told.push(done));
    expect({ name, last: told.at(-1), rising: told.every((done, i) => done >= (told[i - 1] ?? 0)) }).toEqual({
      name,
      last: 1,
      rising: true,
    });
  }
});

test.each(['load', 'save'] as const)('%s stops between two tensors', async (which) => {
  await using model = await Model.load(LLAMA);
  const controller = new AbortController();
  let told = 0;
  const options = { signal: controller.signal, onProgress: () => ++told === 3 && controller.abort() };
  const place = join(folder, 'stopped');
  await expect(which === 'load' ? Model.load(LLAMA, options) : model.save(place, options)).rejects.toMatchObject({
    code: 'MBOK_ABORTED',
  });
  expect(told).toBe(3);
  expect(readdirSync(folder).filter((name) => name.startsWith('stopped'))).toEqual([]);
});

/** A file system that is full after 2 MB (tmpfs), or a process with a limit on file size (RLIMIT_FSIZE). */
describe('a disk that is full', () => {
  const run = (place: string, limits?: string) =>
    runTypeScript(
      `
      import { binarize } from './lib/compress/binarize';
      import { Model } from './lib/model';
      import { finetune } from './lib/train/finetune';
      const place = ${JSON.stringify(place)};
      (async () => {
        const model = await Model.load(${JSON.stringify(TINY_STORIES)});
        const small = await binarize(model, { kernels: 2, method: 'svid' });
        const data = Int32Array.from({ length: 500 }, (_, i) => i);
        const checkpoint = { folder: place + '/checkpoint', every: 1 };
        const training = finetune(small, { data, window: 32, batch: 1, steps: 3, checkpoint });
        await training.catch((error) => console.log('train', error.code, error.message));
        await model.save(place + '/model').catch((error) => console.log('save', error.code, error.message));
        const kept = await Model.load(place + '/model');
        console.log('kept', kept.kernels.size);
      })();`,
      limits === undefined ? {} : { limits },
    );

  /** Saves an old model of 1.5 MB, after which neither a checkpoint nor the dense model fits. */
  async function oldModel(place: string): Promise<void> {
    await using model = await Model.load(TINY_STORIES);
    await using small = await binarize(model, { kernels: 1, method: 'svid' });
    await small.save(join(place, 'model'));
  }
  const expected = (place: string, reason: string) =>
    new RegExp(
      `^train MBOK_IO cannot write '${place}/checkpoint[^']*': .*${reason}.*\n` +
        `save MBOK_IO cannot write '${place}/model[^']*': .*${reason}.*\nkept 42\n$`,
    );

  test('by the size limit of the process leaves the old model whole', async () => {
    const place = join(folder, 'limited');
    await oldModel(place);
    const { status, signal, stdout } = run(place, '-f 2048');
    expect({ status, signal }).toEqual({ status: 0, signal: null });
    expect(stdout).toMatch(expected(place, 'EFBIG'));
    expect(readdirSync(place)).toEqual(['model']);
  });

  test('leaves the old model whole', async () => {
    const place = join(folder, 'disk');
    mkdirSync(place);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', place]).status !== 0) {
      console.warn('skipped: mounting a tmpfs is not permitted here; the size limit above covers the same path');
      return;
    }
    try {
      await oldModel(place);
      const { status, signal, stdout } = run(place);
      expect({ status, signal }).toEqual({ status: 0, signal: null });
      expect(stdout).toMatch(expected(place, 'ENOSPC'));
      expect(readdirSync(place)).toEqual(['model']);
    } finally {
      execFileSync('umount', [place]);
    }
  });
});

describe('concurrent calls', () => {
  test('give the same results as sequential calls', async () => {
    await using model = await Model.load(LLAMA);
    const alone = digest((await model.logits(IDS)).data);
    const together = await Promise.all(Array.from({ length: 6 }, () => model.logits(IDS)));
    expect(together.map(({ data }) => digest(data))).toEqual(Array(6).fill(alone));
  });

  test('a model may be disposed while it computes', async () => {
    const model = await Model.load(LLAMA);
    const running = model.logits(IDS);
    model.dispose();
    expect((await running).shape).toEqual([IDS.length, 160]);
    await expect(model.logits(IDS)).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });

  test('a student or a teacher may be disposed in the middle of a training step', async () => {
    await using dense = await Model.load(LLAMA);
    for (const which of ['student', 'teacher'] as const) {
      const teacher = await Model.load(LLAMA);
      const student = await binarize(dense, { kernels: 2, method: 'svid' });
      const training = finetune(student, { teacher, data: IDS, window: 32, batch: 4, steps: 1000 });
      setTimeout(() => ({ student, teacher })[which].dispose(), 30);
      await expect(training).rejects.toMatchObject({ name: 'MbokError', code: 'MBOK_DISPOSED' });
      student.dispose();
      teacher.dispose();
    }
  });

  test('an abort stops the one call that it is for', async () => {
    await using model = await Model.load(TINY_STORIES);
    const ids = new Int32Array(512);
    const controller = new AbortController();
    const stopped = model.logits(ids, { signal: controller.signal });
    const other = model.logits(ids);
    controller.abort();
    await expect(stopped).rejects.toMatchObject({ name: 'MbokError', code: 'MBOK_ABORTED' });
    expect((await other).shape).toEqual([512, 2048]);
  });

  test('timers fire while a run is in flight', async () => {
    await using model = await Model.load(TINY_STORIES);
    const ids = new Int32Array(512);
    await model.logits(ids);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await model.logits(ids);
    clearInterval(timer);
    // a blocked loop would give no tick; the number of ticks depends on the machine
    expect(ticks).toBeGreaterThan(2);
  });
});

describe('processes', () => {
  test('1000 load and dispose cycles leave the memory flat', () => {
    const { stdout, stderr } = runTypeScript(`
      import { Model } from './lib/model';
      async function cycles(count) {
        for (let i = 0; i < count; i++) {
          const model = await Model.load(${JSON.stringify(LLAMA)});
          if (i % 10 === 0) await model.logits([1, 2, 3]);
          model.dispose();
        }
        return process.memoryUsage.rss();
      }
      cycles(400).then(async (before) => console.log((await cycles(1000)) - before));`);
    expect(stderr).toBe('');
    // the models have 370 MB together; of these only memory that awaits collection, or the heap's, may stay
    expect(Number(stdout) / 1e6).toBeLessThan(40);
  });

  const library = JSON.stringify(join(__dirname, '../../dist/index.js'));
  /** Resolves `start` when endless work has begun. */
  const BEGIN = {
    inference: `
      const { Model } = require(${library});
      const start = Model.load(${JSON.stringify(TINY_STORIES)}).then((model) => {
        const run = () => model.logits(new Int32Array(512)).then(run);
        for (let i = 0; i < 3; i++) run();
      });`,
    training: `
      const { Model, binarize, finetune } = require(${library});
      const start = Model.load(${JSON.stringify(TINY_STORIES)}).then(async (teacher) => {
        const student = await binarize(teacher, { kernels: 1, method: 'svid' });
        const data = Int32Array.from({ length: 1000 }, (_, i) => i);
        await new Promise((onProgress) => finetune(student, { teacher, data, batch: 4, onProgress }));
      });`,
  };

  test.each(['inference', 'training'] as const)(
    'process.exit in the middle of %s ends the process with its code',
    (what) => {
      const { status, signal, stderr } = runTypeScript(`${BEGIN[what]}
      start.then(() => setTimeout(() => process.exit(7), 50));`);
      expect({ status, signal, stderr }).toEqual({ status: 7, signal: null, stderr: '' });
    },
  );

  test.each(['inference', 'training'] as const)(
    'worker.terminate in the middle of %s leaves the process alive',
    (what) => {
      const code = `${BEGIN[what]} start.then(() => require('node:worker_threads').parentPort.postMessage(0));`;
      const { status, stdout, stderr } = runTypeScript(`
      const { Worker } = require('node:worker_threads');
      const { Model } = require(${library});
      const started = (worker) => new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
      async function main() {
        const model = await Model.load(${JSON.stringify(LLAMA)});
        for (let i = 0; i < 4; i++) {
          const worker = new Worker(${JSON.stringify(code)}, { eval: true });
          await started(worker);
          const pause = new Promise((resolve) => setTimeout(resolve, 15 * i));
          await Promise.all([pause.then(() => worker.terminate()), model.logits([1, 2, 3])]);
        }
        console.log((await model.logits([1, 2, 3])).shape.join());
      }
      main();`);
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '3,160\n', stderr: '' });
    },
  );
});
