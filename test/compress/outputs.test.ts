/** Outputs of long calls, and what they must not touch: sources, foreign files, work of other calls. */

import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { quantizeFolder } from '../../lib/baselines/quantize_folder';
import { binarize } from '../../lib/compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import { loadDataset } from '../../lib/data/load_dataset';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { PromptCache } from '../../lib/generate/prompt_cache';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import { copyTinyStories, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { typeScriptArguments } from '../helpers/run_typescript';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
let folders = 0;
const fresh = () => at(String(++folders));

/** Reads every file below a folder. */
function contents(path: string): Record<string, string> {
  const names = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const files = names.map(({ parentPath, name }) => join(parentPath, name));
  return Object.fromEntries(files.sort().map((file) => [file, readFileSync(file).toString('base64')]));
}

/** Reads a file, or all files of a folder. */
const state = (path: string) => (statSync(path).isDirectory() ? contents(path) : readFileSync(path, 'utf8'));

const SVID = { kernels: 1, method: 'svid' } as const;
const calls = {
  binarizeFolder: (source: string, output: string, more: object = {}) =>
    binarizeFolder(source, output, { ...SVID, ...more }),
  quantizeFolder: (source: string, output: string, more: object = {}) =>
    quantizeFolder(source, output, { method: 'rtn', bits: 4, ...more }),
} as const;

/** Creates a folder with a dense model in it and foreign files beside it. */
function belongings(): string {
  const path = fresh();
  mkdirSync(join(path, 'dense'), { recursive: true });
  copyTinyStories(join(path, 'dense'));
  writeFileSync(join(path, 'dense/LICENSE'), 'precious');
  writeFileSync(join(path, 'config.json'), '{"port":8080}');
  writeFileSync(join(path, 'text.txt'), 'precious '.repeat(4000));
  return path;
}

describe.each(Object.entries(calls))('%s', (_, call) => {
  test.each<[string, (own: string) => string]>([
    ['the source', (own) => join(own, 'dense')],
    ['the source by another spelling', (own) => `${own}/dense/x/..`],
    [
      'a link to the source',
      (own) => {
        symlinkSync(join(own, 'dense'), join(own, 'link'));
        return join(own, 'link');
      },
    ],
    ['a folder that holds the source', (own) => own],
  ])('does not write over %s, whatever is asked for', async (_name, output) => {
    const own = belongings();
    const target = output(own);
    const before = contents(own);
    for (const more of [{}, { overwrite: true }, { restart: true, overwrite: true }]) {
      await expect(call(join(own, 'dense'), target, more)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
    }
    expect(contents(own)).toEqual(before);
    expect(existsSync(`${target}.partial`)).toBe(false);
  });

  test("does not write into somebody else's folder, unless to overwrite a model's files in it", async () => {
    const own = belongings();
    const app = fresh();
    mkdirSync(join(app, 'src'), { recursive: true });
    writeFileSync(join(app, 'config.json'), '{}');
    writeFileSync(join(app, 'src/main.js'), 'code');
    const before = contents(app);
    await expect(call(join(own, 'dense'), app)).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringContaining("'config.json'"),
    });
    expect(contents(app)).toEqual(before);
    await call(join(own, 'dense'), app, { overwrite: true });
    expect(readFileSync(join(app, 'src/main.js'), 'utf8')).toBe('code');
    await using model = await Model.load(app);
    expect(model.config.layers).toBe(6);
  });

  test('replaces its earlier output, and refuses one with foreign files', async () => {
    const output = fresh();
    await call(TINY_STORIES, output);
    const first = contents(output);
    await call(TINY_STORIES, output);
    expect(contents(output)).toEqual(first);
    writeFileSync(join(output, 'README.md'), 'precious');
    const refused = { code: 'MBOK_IO', message: expect.stringContaining("'README.md'") };
    await expect(call(TINY_STORIES, output)).rejects.toMatchObject(refused);
    expect(readFileSync(join(output, 'README.md'), 'utf8')).toBe('precious');
  });

  test.each([
    [
      'a folder of photos',
      (path: string) => {
        mkdirSync(join(path, 'photos'), { recursive: true });
        writeFileSync(join(path, 'photos/a.jpg'), 'precious');
      },
    ],
    [
      'a project with a conversion.json',
      (path: string) => {
        mkdirSync(path);
        writeFileSync(join(path, 'conversion.json'), '{"from":"inches"}');
        writeFileSync(join(path, 'block-0.safetensors'), 'precious');
      },
    ],
    ['a file', (path: string) => writeFileSync(path, 'precious')],
  ])('does not restart in %s', async (_name, make) => {
    const output = fresh();
    make(`${output}.partial`);
    const before = state(`${output}.partial`);
    await expect(call(TINY_STORIES, output, { restart: true })).rejects.toMatchObject({ code: 'MBOK_IO' });
    expect(state(`${output}.partial`)).toEqual(before);
    expect(existsSync(output)).toBe(false);
  });
});

test('an input text is not overwritten', async () => {
  const own = belongings();
  await using model = await Model.load(join(own, 'dense'));
  await using data = await loadDataset({ files: join(own, 'text.txt'), cache: false }, model);
  expect(data.files).toEqual([join(own, 'text.txt')]);
  rmSync(join(own, 'config.json'));
  const calibration = { data, windows: 2, length: 32 };
  const call = binarizeFolder(TINY_STORIES, own, { kernels: 1, method: 'calibrated', calibration, overwrite: true });
  await expect(call).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringContaining('text.txt'),
  });
});

describe('an unfinished conversion', () => {
  const ids = Array.from({ length: 2000 }, (_, i) => (i * i * 7 + i) % 2048);
  const calibration = { data: ids, windows: 8, length: 64, rounds: 1 };
  const options: BinarizeFolderOptions = { bits: 2, method: 'calibrated', calibration };

  /** Converts up to module number `modules`. */
  async function stopped(output: string, given: BinarizeFolderOptions, modules: number): Promise<void> {
    const controller = new AbortController();
    let seen = 0;
    const onProgress = () => {
      if (++seen === modules) controller.abort();
    };
    const call = binarizeFolder(TINY_STORIES, output, { ...given, signal: controller.signal, onProgress });
    await expect(call).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  }

  test('belongs to one call at a time: a second gets MBOK_BUSY, also with restart', async () => {
    const output = fresh();
    const attempts: Promise<unknown>[] = [];
    const again = (more: object) =>
      binarizeFolder(TINY_STORIES, output, { ...SVID, ...more }).catch((error) => error.code);
    const onProgress = () => {
      if (attempts.length === 0) attempts.push(again({}), again({ restart: true }), again({ kernels: 2 }));
    };
    await binarizeFolder(TINY_STORIES, output, { ...SVID, onProgress });
    expect(await Promise.all(attempts)).toEqual(Array(3).fill('MBOK_BUSY'));
    expect(existsSync(`${output}.partial`)).toBe(false);
  });

  test('leaves foreign files in its folder, when continued and when discarded', async () => {
    const output = fresh();
    await stopped(output, { kernels: 2 }, 10);
    writeFileSync(`${output}.partial/diary.txt`, 'precious');
    await binarizeFolder(TINY_STORIES, output, { kernels: 3, restart: true });
    expect(readdirSync(`${output}.partial`)).toEqual(['diary.txt']);
  });

  test('is not combined with blocks of another, even with the same options', async () => {
    const [first, second] = [fresh(), fresh()];
    for (const output of [first, second]) await stopped(output, { kernels: 2 }, 17);
    cpSync(`${first}.partial/block-1.json`, `${second}.partial/block-1.json`);
    const mixed = binarizeFolder(TINY_STORIES, second, { kernels: 2 });
    await expect(mixed).rejects.toMatchObject({ code: 'MBOK_FORMAT', message: expect.stringContaining('block-1') });
    expect(existsSync(second)).toBe(false);
    await binarizeFolder(TINY_STORIES, second, { kernels: 2, restart: true });
  });

  test('of a nested model is not combined with parts of another', async () => {
    const nested: BinarizeFolderOptions = { kernels: 2, nested: true, method: 'calibrated', calibration };
    const [first, second] = [fresh(), fresh()];
    for (const output of [first, second]) await stopped(output, nested, 52);
    const part = `${second}.partial/prefix-1`;
    expect(readdirSync(part)).toContain('block-0.json');
    rmSync(part, { recursive: true });
    cpSync(`${first}.partial/prefix-1`, part, { recursive: true });
    const mixed = binarizeFolder(TINY_STORIES, second, nested);
    await expect(mixed).rejects.toMatchObject({ code: 'MBOK_FORMAT', message: expect.stringContaining('prefix-1') });
  });

  /** Finds the weights file in a work folder. */
  const weightsIn = (output: string) => {
    const [name] = readdirSync(`${output}.partial`).filter((file) => file.startsWith('weights-'));
    return join(`${output}.partial`, name as string);
  };

  test('continues after a torn block in the weights, with the same bits', async () => {
    const [torn, straight] = [fresh(), fresh()];
    await stopped(torn, { kernels: 2 }, 17);
    const place = weightsIn(torn);
    await using file = await SafetensorsFile.open(place);
    const bytes = readFileSync(place);
    for (const { name, byteOffset, byteLength } of file.tensors.values()) {
      if (!/layers\.[01]\..*proj/.test(name)) bytes.fill(0xa5, byteOffset, byteOffset + byteLength);
    }
    writeFileSync(place, bytes);
    await binarizeFolder(TINY_STORIES, torn, { kernels: 2 });
    await binarizeFolder(TINY_STORIES, straight, { kernels: 2 });
    expect(Object.values(contents(torn))).toEqual(Object.values(contents(straight)));
  });

  test.each<[string, (own: string, others: string) => void]>([
    ['lost', (own) => rmSync(own)],
    ["in another's name", (own, others) => [rmSync(own), cpSync(others, join(own, '..', basename(others)))]],
    ['cut', (own) => writeFileSync(own, readFileSync(own).subarray(0, -1))],
  ])('whose weights are %s is refused', async (_, change) => {
    const [first, second] = [fresh(), fresh()];
    for (const output of [first, second]) await stopped(output, { kernels: 2 }, 10);
    change(weightsIn(second), weightsIn(first));
    const resumed = binarizeFolder(TINY_STORIES, second, { kernels: 2 });
    await expect(resumed).rejects.toMatchObject({ message: expect.stringContaining('.partial/weights-') });
    expect(existsSync(second)).toBe(false);
  });

  test('that could not be moved into place is not converted again', async () => {
    const [output, straight] = [fresh(), fresh()];
    // another program creates the output folder meanwhile
    const onProgress = () => mkdirSync(join(output, 'photos'), { recursive: true });
    const call = binarizeFolder(TINY_STORIES, output, { ...SVID, embeddings: 'int8', onProgress });
    await expect(call).rejects.toMatchObject({ code: 'MBOK_IO' });
    rmSync(output, { recursive: true });
    const seen: string[] = [];
    const report = await binarizeFolder(TINY_STORIES, output, {
      ...SVID,
      embeddings: 'int8',
      onProgress: ({ what }) => seen.push(what),
    });
    expect(seen).toEqual(['converted']);
    expect(report).toEqual(await binarizeFolder(TINY_STORIES, straight, { ...SVID, embeddings: 'int8' }));
    expect(Object.values(contents(output))).toEqual(Object.values(contents(straight)));
  });

  // only Linux counts the bytes that a process writes
  (existsSync('/proc/self/io') ? test : test.skip)('is written to the disk once', async () => {
    const output = fresh();
    const written = () => Number(/^wchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
    const before = written();
    await binarizeFolder(TINY_STORIES, output, { kernels: 4 });
    const bytes = Object.keys(contents(output)).reduce((sum, file) => sum + statSync(file).size, 0);
    expect(written() - before).toBeLessThan(1.1 * bytes);
  });

  const kernels = (count: unknown) => ({ format: 'kernels', count });
  const counts = (json: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(json).map(([name, format]) => [name, (format as { count: number }).count]));
  test.each<[string, (json: Record<string, unknown>) => unknown]>([
    ['lacks a layer', ({ 'model.layers.0.mlp.up_proj': _, ...rest }) => rest],
    ['has a layer of no model', (json) => ({ ...json, 'model.layers.9.mlp.up_proj': kernels(1) })],
    ['has nine kernels', (json) => ({ ...json, 'model.layers.0.mlp.up_proj': kernels(9) })],
    ['has half a kernel', (json) => ({ ...json, 'model.layers.0.mlp.up_proj': kernels(0.5) })],
    ['has a number as text', (json) => ({ ...json, 'model.layers.0.mlp.up_proj': kernels('2') })],
    ['has a setting of no format', (json) => ({ ...json, 'model.layers.0.mlp.up_proj': { ...kernels(2), bits: 1 } })],
    ['has an unknown format', (json) => ({ ...json, 'model.layers.0.mlp.up_proj': { kind: 'magic' } })],
    ['has numbers of kernels, as earlier versions wrote', (json) => counts(json)],
    ['breaks the budget', (json) => Object.fromEntries(Object.keys(json).map((name) => [name, kernels(8)]))],
    ['is a list', () => []],
  ])('whose allocation %s is refused', async (_, change) => {
    const output = fresh();
    await stopped(output, { ...options, allocation: 'uniform' }, 10);
    const place = `${output}.partial/allocation.json`;
    writeFileSync(place, JSON.stringify(change(JSON.parse(readFileSync(place, 'utf8')))));
    const resumed = binarizeFolder(TINY_STORIES, output, { ...options, allocation: 'uniform' });
    await expect(resumed).rejects.toMatchObject({
      code: 'MBOK_FORMAT',
      message: expect.stringContaining('allocation.json'),
    });
  });

  test.each([
    ['{"model.layers.0.mlp.up_proj":"0.3"}'],
    ['{"model.layers.0.mlp.up_proj":-1}'],
    ['{"model.layers.0.mlp.up_proj":null}'],
    ['[]'],
    ['0.3'],
  ])('whose residuals are %s is refused', async (residuals) => {
    const output = fresh();
    await stopped(output, { kernels: 2 }, 10);
    const place = `${output}.partial/block-0.json`;
    const { conversion } = JSON.parse(readFileSync(place, 'utf8'));
    writeFileSync(place, JSON.stringify({ conversion, residuals: JSON.parse(residuals) }));
    await expect(binarizeFolder(TINY_STORIES, output, { kernels: 2 })).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });
});

describe('a model that is being finetuned', () => {
  const data = Array.from({ length: 2000 }, (_, i) => (i * 13) % 150);

  test('cannot be saved, converted, measured or prompted until afterwards', async () => {
    const model = await Model.load(join(GOLDEN, 'llama'));
    const student = await binarize(model, SVID);
    const place = fresh();
    const code = (call: Promise<unknown>) =>
      call.then(
        () => 'done',
        (error) => error.code,
      );
    const answers: Promise<string>[] = [];
    const onProgress = ({ step }: { step: number }) => {
      if (step !== 2) return;
      answers.push(
        code(student.save(place)),
        code(student.logits([1, 2, 3])),
        code(binarize(student, SVID)),
        code(finetune(student, { data, steps: 1, window: 16, batch: 1 })),
        code(evaluatePerplexity(student, data, { window: 16, maxWindows: 1 })),
        code(finetune(student, { data, teacher: student, steps: 1, window: 16, batch: 1 })),
        // training reads its teacher, so the teacher cannot be trained meanwhile
        code(binarize(model, SVID).then((other) => other.dispose())),
      );
    };
    await finetune(student, { teacher: model, data, steps: 3, window: 16, batch: 2, onProgress });
    expect(await Promise.all(answers)).toEqual([...Array(6).fill('MBOK_BUSY'), 'done']);
    expect(existsSync(place)).toBe(false);
    await student.save(place);
    await using again = await Model.load(place);
    expect((await again.logits([1, 2, 3])).data).toEqual((await student.logits([1, 2, 3])).data);
    student.dispose();
    model.dispose();
  });

  test('does not wait: a running save makes finetuning MBOK_BUSY, and the file has one state', async () => {
    await using model = await Model.load(join(GOLDEN, 'llama'));
    await using student = await binarize(model, SVID);
    const before = (await student.logits([1, 2, 3])).data;
    const place = fresh();
    const saving = student.save(place);
    const options = { data, steps: 1, window: 16, batch: 1 };
    await expect(finetune(student, options)).rejects.toMatchObject({ code: 'MBOK_BUSY' });
    await saving;
    await finetune(student, options);
    await using saved = await Model.load(place);
    expect((await saved.logits([1, 2, 3])).data).toEqual(before);
  });
});

test('a text begun before finetuning ends with MBOK_BUSY, and a prompt cache starts empty', async () => {
  await using model = await Model.load(TINY_STORIES);
  await using student = await binarize(model, SVID);
  await using promptCache = new PromptCache();
  const settings = { maxTokens: 20, temperature: 0, promptCache };
  await student.generateBatch(['Once'], { maxTokens: 1 });
  for await (const _ of student.generate('Once upon', settings));
  const begun = student.generate('Once upon a time', { maxTokens: 50, temperature: 0 });
  await begun.next();
  await finetune(student, { data: 'Once upon a time there was a dog. '.repeat(40), steps: 1, window: 16, batch: 1 });
  await expect(begun.next()).rejects.toMatchObject({ code: 'MBOK_BUSY' });
  let [kept, anew] = ['', ''];
  for await (const text of student.generate('Once upon', settings)) kept += text;
  for await (const text of student.generate('Once upon', { maxTokens: 20, temperature: 0 })) anew += text;
  expect(kept).toBe(anew);
});

/** Runs the command line. */
function mbok(...args: string[]): Promise<{ code: number | null; stderr: string }> {
  const source = `require('./lib/cli/main');`;
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...typeScriptArguments(source), ...args], {
      cwd: join(__dirname, '../..'),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    child.on('close', (code) => resolve({ code, stderr }));
  });
}

describe('the command line', () => {
  const svid = ['--kernels', '1', '--method', 'svid'];

  test('finetunes into no folder that holds its source, its teacher or its texts', async () => {
    const own = belongings();
    const small = join(own, 'small');
    await binarizeFolder(join(own, 'dense'), small, SVID);
    cpSync(join(small, 'config.json'), join(own, 'config.json'));
    const before = contents(own);
    const training = ['--steps', '1', '--batch', '1', '--window', '16', '--overwrite'];
    const elsewhere = fresh();
    await binarizeFolder(TINY_STORIES, elsewhere, SVID);
    for (const args of [
      [small, own, '--text', join(TINY_STORIES, 'corpus/valid.txt')],
      [elsewhere, own, '--text', join(own, 'text.txt')],
      [elsewhere, own, '--text', join(TINY_STORIES, 'corpus/valid.txt'), '--teacher', join(own, 'dense')],
      [elsewhere, own, '--text', join(TINY_STORIES, 'corpus/valid.txt'), '--eval-text', join(own, 'text.txt')],
    ]) {
      const { code, stderr } = await mbok('finetune', ...args, ...training);
      expect(stderr).toMatch(/the output .* must not hold the input/);
      expect(code).toBe(2);
    }
    expect(contents(own)).toEqual(before);
  });

  test('exports into no folder that holds the model', async () => {
    const own = belongings();
    await binarizeFolder(join(own, 'dense'), join(own, 'small'), SVID);
    const before = contents(own);
    expect(await mbok('export', join(own, 'small'), own, '--overwrite')).toMatchObject({ code: 2 });
    expect(await mbok('export', join(own, 'small'), join(own, 'small'), '--overwrite')).toMatchObject({ code: 2 });
    expect(contents(own)).toEqual(before);
  });

  test('overwrites if requested, and otherwise explains how', async () => {
    const app = fresh();
    mkdirSync(app);
    writeFileSync(join(app, 'main.js'), 'code');
    const refused = await mbok('binarize', TINY_STORIES, app, ...svid);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/'main\.js'.*overwriting/);
    expect(await mbok('binarize', TINY_STORIES, app, ...svid, '--overwrite')).toMatchObject({ code: 0 });
    expect(readdirSync(app)).toEqual(expect.arrayContaining(['main.js', 'mbok.json', 'model.safetensors']));
  });

  test('writes results of tasks over no other file', async () => {
    const tasks = fresh();
    mkdirSync(tasks);
    const precious = join(tasks, 'notes.json');
    writeFileSync(precious, '{"precious":true}');
    const { code, stderr } = await mbok('eval', 'tasks', TINY_STORIES, '--data', tasks, '--out', precious);
    expect(stderr).toMatch(/notes\.json.*MBOK_IO/);
    expect(code).toBe(1);
    expect(readFileSync(precious, 'utf8')).toBe('{"precious":true}');
  });

  test.each(['SIGHUP', 'SIGTERM', 'SIGINT'] as const)(
    '%s stops a conversion cleanly; it goes on later',
    async (signal) => {
      const output = fresh();
      const source = `require('./lib/cli/main');`;
      const args = ['binarize', TINY_STORIES, output, '--kernels', '4', '--method', 'refit', '--rounds', '200'];
      const child = spawn(process.execPath, [...typeScriptArguments(source), ...args], {
        cwd: join(__dirname, '../..'),
        stdio: 'ignore',
      });
      const timer = setInterval(() => {
        if (!existsSync(`${output}.partial/block-0.json`)) return;
        // only once: a signal while the process is ending would kill it
        clearInterval(timer);
        child.kill(signal);
      }, 5);
      const code = await new Promise((resolve) => child.on('close', (status, killed) => resolve(status ?? killed)));
      clearInterval(timer);
      expect(code).toBe(130);
      expect(readdirSync(`${output}.partial`)).toEqual(expect.arrayContaining(['block-0.json', 'conversion.json']));
      expect(readdirSync(`${output}.partial`).filter((name) => name.startsWith('lock'))).toEqual([]);
    },
  );
});
