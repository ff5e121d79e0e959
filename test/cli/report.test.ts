/** `mbok report`, end to end, for a model of one layer. Needs the compiled package (`npm run build:ts`). */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { takeLock } from '../../lib/io/lock';
import { commandEnvironment, MAIN, runMbok } from '../helpers/command_line';
import { changeConfig, copyGolden, copyTinyStories, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { CASES } from '../helpers/task_records';
import { expectWellFormed } from '../helpers/xml';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
// a name with a space, which a shell must quote
const model = at('one layer');

beforeAll(() => {
  mkdirSync(model);
  copyTinyStories(model);
  changeConfig(model, { num_hidden_layers: 1 });
  mkdirSync(join(model, 'corpus'));
  for (const name of ['train.txt', 'valid.txt']) {
    const text = readFileSync(join(TINY_STORIES, 'corpus', name), 'utf8');
    writeFileSync(join(model, 'corpus', name), text.slice(0, 20_000));
  }
});

describe('a report that is interrupted and continued', () => {
  const settings = ['--steps', '1', '--window', '16', '--windows', '2'];
  const args = ['report', model, '--out', at('report'), ...settings, '--tasks', at('tasks')];
  const results = () => (existsSync(at('report/data')) ? readdirSync(at('report/data')) : []);
  let interrupted: { readonly status: unknown; readonly kept: ReadonlyMap<string, number> };
  let finished: ReturnType<typeof runMbok>;
  let page: string;

  beforeAll(async () => {
    for (const [name, content] of Object.entries(CASES[0]?.files ?? {})) {
      mkdirSync(join(at('tasks'), name, '..'), { recursive: true });
      writeFileSync(join(at('tasks'), name), content);
    }
    const env = commandEnvironment(folder);
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, env, stdio: 'ignore' });
    const timer = setInterval(() => {
      if (results().length < 6) return;
      clearInterval(timer);
      child.kill('SIGINT');
    }, 10);
    const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
    clearInterval(timer);
    const times = results().map((name) => [name, statSync(join(at('report/data'), name)).mtimeMs] as const);
    interrupted = { status, kept: new Map(times) };
    finished = runMbok(folder, [...args, '--json']);
    page = existsSync(at('report/index.html')) ? readFileSync(at('report/index.html'), 'utf8') : '';
  }, 600_000);

  test('ends with code 130, without a page', () => {
    expect(interrupted.status).toBe(130);
    expect(interrupted.kept.size).toBeGreaterThanOrEqual(6);
  });

  test('runs no finished command again, and has no failures', () => {
    expect({ status: finished.status, stderr: finished.stderr }).toEqual({ status: 0, stderr: '' });
    const { ran, kept, failed } = JSON.parse(finished.stdout) as Record<string, string[]>;
    expect(failed).toEqual([]);
    for (const [name, time] of interrupted.kept) {
      expect(statSync(join(at('report/data'), name)).mtimeMs).toBe(time);
      expect(kept).toContain(name.slice(0, -'.json'.length));
    }
    expect((ran?.length ?? 0) + (kept?.length ?? 0)).toBe(results().length);
  });

  test('leaves only a complete page and its data', () => {
    expect(readdirSync(at('report')).sort()).toEqual(['data', 'figures', 'index.html', 'report.json']);
    expectWellFormed(page.replace('<!doctype html>\n', ''));
    expect(page).not.toMatch(/NaN|undefined|Infinity|There are no results/);
    expect(page).toContain('<td>arc_easy</td>');
    for (const [, target] of page.matchAll(/href="((?:figures|data)\/[^"]+)"/g)) {
      const json = JSON.parse(readFileSync(join(at('report'), decodeURIComponent(target as string)), 'utf8'));
      expect(json).toBeInstanceOf(Object);
    }
  });

  test('has commands that reproduce the figures in a shell', () => {
    const { result } = JSON.parse(readFileSync(at('report/data/refit-k2.perplexity.json'), 'utf8'));
    const [source, text] = [model, join(model, 'corpus/valid.txt')];
    expect(page).toContain(`SRC='${model}'`);
    expect(page).toContain('<code>mbok binarize $SRC $WORK/refit-k2 --kernels 2 --method refit</code>');
    runMbok(folder, ['binarize', source, at('typed'), '--kernels', '2', '--method', 'refit']);
    const evaluation = ['--text', text, '--window', '16', '--max-windows', '2', '--precision', 'f32'];
    const { stdout } = runMbok(folder, ['eval', 'perplexity', at('typed'), ...evaluation, '--json']);
    expect((JSON.parse(stdout) as { perplexity: number }).perplexity).toBe(result.perplexity);
  });

  test('stores the training curves, and the resources of each process', () => {
    const { training, seconds, result } = JSON.parse(
      readFileSync(at('report/data/calibrated-k2-finetuned.json'), 'utf8'),
    );
    expect(training.loss).toHaveLength(1);
    expect(Object.keys(training.flips)).toHaveLength(7);
    expect(training.evaluations).toHaveLength(1);
    expect(seconds).toBeGreaterThan(result.resources.seconds);
    expect(result.resources.peakMemory).toBeGreaterThan(10e6);
  });

  test('is quickly made again, and runs no command without training', () => {
    const { status, stdout } = runMbok(folder, [...args.slice(0, 4), '--steps', '0', ...settings.slice(2), '--json']);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ ran: [], failed: [] });
    expect(readFileSync(at('report/index.html'), 'utf8')).toContain('Nothing was finetuned');
  });
});

test('a command does not outlive a report that is killed', async () => {
  const long = ['binarize', TINY_STORIES, at('long'), '--kernels', '8', '--rounds', '1000'];
  const program = `require(${JSON.stringify(join(MAIN, '../../report/child.js'))}).runMbok(${JSON.stringify(long)}, new AbortController().signal)`;
  const parent = spawn(process.execPath, ['-e', program], { cwd: folder, stdio: 'ignore' });
  const until = async (condition: () => boolean) => {
    const deadline = performance.now() + 30_000;
    while (!condition() && performance.now() < deadline) await setTimeout(50);
    return condition();
  };
  expect(await until(() => existsSync(at('long.partial')))).toBe(true);
  parent.kill('SIGKILL');
  const alone = () => spawnSync('pgrep', ['-f', at('long')]).status !== 0;
  expect(await until(alone)).toBe(true);
  expect(existsSync(at('long'))).toBe(false);
});

describe('mistakes are reported before anything runs', () => {
  const cases: [string, () => string[], number, RegExp][] = [
    ['no folder', () => [model], 2, /--out is needed/],
    ['no text', () => [join(TINY_STORIES, '../..'), '--out', at('a')], 2, /--text is needed/],
    [
      'negative steps',
      () => [model, '--out', at('a'), '--steps', '-1'],
      2,
      /--steps must be a whole number of at least 0/,
    ],
    ['unknown groups', () => [model, '--out', at('a'), '--train', 'bits'], 2, /--train must be a list of/],
    [
      'a text that is not there',
      () => [model, '--out', at('a'), '--text', at('nowhere.txt')],
      1,
      /nowhere\.txt.*MBOK_IO/,
    ],
    [
      'windows beyond the limit',
      () => [model, '--out', at('a'), '--window', '513'],
      1,
      /limit of 512.*MBOK_INVALID_ARGUMENT/,
    ],
    [
      'too little text',
      () => [model, '--out', at('b'), '--eval-text', at('word.txt')],
      1,
      /cannot be evaluated: .*MBOK_INVALID_ARGUMENT/,
    ],
    [
      'a folder without questions',
      () => [model, '--out', at('a'), '--tasks', at('photos')],
      1,
      /contains no task files.*MBOK_INVALID_ARGUMENT/,
    ],
    ['a Boolean model', () => [at('typed'), '--out', at('a'), ...texts()], 1, /Boolean already.*MBOK_INVALID_ARGUMENT/],
    [
      'a model without tokenizer',
      () => [at('plain'), '--out', at('a'), ...texts()],
      1,
      /no tokenizer.*MBOK_NO_TOKENIZER/,
    ],
    [
      "somebody's folder",
      () => [model, '--out', at('photos')],
      1,
      /will not work on a report in the folder .*photos.*MBOK_IO/,
    ],
    ['a report that is being made', () => [model, '--out', at('busy')], 1, /process \d+ works on a report.*MBOK_BUSY/],
    ["the model's folder", () => [model, '--out', model], 1, /will not work on a report in the folder .*MBOK_IO/],
  ];
  const texts = () => ['--text', join(model, 'corpus/train.txt'), '--eval-text', join(model, 'corpus/valid.txt')];

  let lock: AsyncDisposable | undefined;
  afterAll(() => lock?.[Symbol.asyncDispose]());

  beforeAll(async () => {
    writeFileSync(at('word.txt'), 'Once');
    mkdirSync(at('busy'));
    writeFileSync(at('busy/report.json'), '{"conditions":{}}');
    lock = await takeLock(at('busy/lock'), '');
    mkdirSync(at('photos'));
    writeFileSync(at('photos/cat.jpg'), '');
    mkdirSync(at('plain'));
    copyGolden('llama', at('plain'));
    runMbok(folder, ['binarize', model, at('typed'), '--kernels', '1', '--method', 'svid']);
  });

  test.each(cases)('%s', (_, args, expected, message) => {
    const { status, stdout, stderr } = runMbok(folder, ['report', ...args()]);
    expect({ status, stdout }).toEqual({ status: expected, stdout: '' });
    expect(stderr).toMatch(message);
    expect(existsSync(at('a/work'))).toBe(false);
  });
});
